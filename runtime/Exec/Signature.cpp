#include "runtime/Exec/Signature.h"

namespace moe::exec {

const Signature *findSignature(std::string_view kind) {
  static const std::map<std::string_view, Signature> table = [] {
    std::map<std::string_view, Signature> entries;
    for (auto part : {denseSignatures(), attentionSignatures(),
                      expertSignatures(), copySignatures()})
      for (Signature &signature : part)
        entries.emplace(signature.kind, signature);
    return entries;
  }();
  auto found = table.find(kind);
  return found == table.end() ? nullptr : &found->second;
}

} // namespace moe::exec
