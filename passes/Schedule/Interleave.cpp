//===- Interleave.cpp - in what order overlapping regions are issued ------===//

#include "compiler/Schedule/Interleave.h"
#include "compiler/Export/IR/StagePrograms.h"
#include "passes/Passes.h"
#include "passes/Schedule/ScheduleCosts.h"

#include "mlir/IR/Builders.h"

#include <memory>
#include <utility>

namespace moe {
#define GEN_PASS_DEF_INTERLEAVE
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

struct Interleave : public moe::impl::InterleaveBase<Interleave> {
  using Base::Base;

  explicit Interleave(
      const InterleaveOptions &options,
      std::shared_ptr<schedule::KnownInterleavings> known = nullptr)
      : Base(options), known(std::move(known)) {}

  void runOnOperation() override {
    if (failed(interleave(getOperation())))
      signalPassFailure();
  }

  LogicalResult interleave(ModuleOp module) {
    if (module.getOps<pipe::InterleavingOp>().empty())
      return success();
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    FailureOr<cost::Machine> model = loadMachine(module, machine, profile);
    if (failed(model))
      return failure();
    TimingInputs timing{*model, imbalance, layout.getExpertRanks()};
    SymbolTable symbols(module);
    llvm::StringMap<plan::Stage> built;
    auto programOf =
        [&](pipe::InterleavingOp pair, FlatSymbolRefAttr name,
            pipe::Phase phase) -> FailureOr<const plan::Program *> {
      auto [entry, isNew] = built.try_emplace(name.getValue());
      if (isNew) {
        FailureOr<plan::Stage> stage =
            buildStagePrograms(symbols.lookup<pipe::StageOp>(name.getValue()),
                               timing, StageDetail::figures);
        if (failed(stage))
          return failure();
        entry->second = std::move(*stage);
      }
      for (const plan::Program &program : entry->second.programs)
        if (program.phase == static_cast<plan::Phase>(phase))
          return &program;
      return pair.emitOpError()
             << "names the " << pipe::stringifyPhase(phase) << " region of "
             << name
             << ", which is empty; run pipe-fuse-weight-gradients first";
    };
    schedule::KnownInterleavings own;
    for (pipe::InterleavingOp pair : module.getOps<pipe::InterleavingOp>()) {
      auto first = programOf(pair, pair.getFirstAttr(), pair.getFirstPhase());
      auto second =
          programOf(pair, pair.getSecondAttr(), pair.getSecondPhase());
      if (failed(first) || failed(second))
        return failure();
      pair.setOrder((known ? *known : own).orderOf(**first, **second));
    }
    return success();
  }

  std::shared_ptr<schedule::KnownInterleavings> known; ///< null: none
};

} // namespace

std::unique_ptr<Pass>
moe::createInterleave(const InterleaveOptions &options,
                      std::shared_ptr<schedule::KnownInterleavings> known) {
  return std::make_unique<Interleave>(options, std::move(known));
}
