//===- FuseWeightGradients.cpp - the backward regions that are run --------===//

#include "passes/Passes.h"
#include "passes/Schedule/FusedBackward.h"

namespace moe {
#define GEN_PASS_DEF_FUSEWEIGHTGRADIENTS
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Which backward regions of a stage some step runs.
struct Uses {
  bool fused = false, split = false;
};

struct FuseWeightGradients
    : public moe::impl::FuseWeightGradientsBase<FuseWeightGradients> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (module.getOps<pipe::RankOp>().empty()) {
      module.emitError() << "the module holds no schedule, which says what "
                            "backwards are run; run pipe-build-schedule first";
      return signalPassFailure();
    }
    llvm::StringMap<Uses> uses;
    auto note = [&](StringRef stage, pipe::Phase phase) {
      uses[stage].fused |= phase == pipe::Phase::Backward;
      uses[stage].split |= phase == pipe::Phase::BackwardInput ||
                           phase == pipe::Phase::WeightGrad;
    };
    for (pipe::InterleavingOp pair : module.getOps<pipe::InterleavingOp>())
      note(pair.getSecond(), pair.getSecondPhase());
    module.walk([&](pipe::RunOp run) { note(run.getStage(), run.getPhase()); });
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>())
      choose(stage, uses.lookup(stage.getSymName()));
  }

  /// Makes the regions that are used and erases the others.
  static void choose(pipe::StageOp stage, Uses used) {
    if (!used.fused && !used.split)
      return;
    if (used.fused && stage.getBackward().empty() &&
        !stage.getBackwardInput().empty())
      addFusedBackward(stage);
    if (!used.fused) {
      stage.getBackward().dropAllReferences();
      stage.getBackward().getBlocks().clear();
    }
    if (!used.split)
      dropSplitBackward(stage);
  }
};

} // namespace
