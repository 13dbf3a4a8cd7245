#include "compiler/Schedule/CbcLibrary.h"

#include <dlfcn.h>
#include <optional>
#include <type_traits>

namespace moe::schedule {

static std::optional<CbcLibrary> load() {
  void *library = dlopen(MOE_CBC_SONAME, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return std::nullopt;
  CbcLibrary cbc;
  bool isWhole = true;
  auto find = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
        dlsym(library, name));
    isWhole &= function != nullptr;
  };
  find(cbc.newModel, "Cbc_newModel");
  find(cbc.deleteModel, "Cbc_deleteModel");
  find(cbc.loadProblem, "Cbc_loadProblem");
  find(cbc.setInteger, "Cbc_setInteger");
  find(cbc.setParameter, "Cbc_setParameter");
  find(cbc.solve, "Cbc_solve");
  find(cbc.getNodeCount, "Cbc_getNodeCount");
  find(cbc.isProvenOptimal, "Cbc_isProvenOptimal");
  find(cbc.isProvenInfeasible, "Cbc_isProvenInfeasible");
  find(cbc.bestSolution, "Cbc_bestSolution");
  find(cbc.getObjValue, "Cbc_getObjValue");
  find(cbc.getBestPossibleObjValue, "Cbc_getBestPossibleObjValue");
  return isWhole ? std::optional(cbc) : std::nullopt;
}

const CbcLibrary *CbcLibrary::get() {
  static const std::optional<CbcLibrary> library = load();
  return library ? &*library : nullptr;
}

} // namespace moe::schedule
