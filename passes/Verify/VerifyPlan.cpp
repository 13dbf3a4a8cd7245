//===- VerifyPlan.cpp - releases and transfers are right ------------------===//

#include "compiler/Export/IR/EmitPlan.h"
#include "compiler/Schedule/IR/StepLists.h"
#include "passes/Passes.h"
#include "passes/Schedule/ScheduleCosts.h"
#include "passes/Verify/StageRules.h"

namespace moe {
#define GEN_PASS_DEF_VERIFYPLAN
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Whether every region is run, so that none is planned for nothing, and
/// overlaps know their order.
LogicalResult verifyUses(StepLists &lists) {
  DenseSet<std::pair<int64_t, schedule::Phase>> run;
  DenseSet<StringAttr> overlapped;
  for (auto [steps, ops] : llvm::zip(lists.steps.ranks, lists.ops))
    for (auto [step, op] : llvm::zip(steps, ops)) {
      if (plan::isExecution(step.kind))
        run.insert({step.stage, step.phase});
      auto overlap = dyn_cast<pipe::OverlapOp>(op);
      if (!overlap)
        continue;
      run.insert({step.second.stage, step.second.phase});
      overlapped.insert(overlap.getInterleavingAttr().getAttr());
    }
  for (auto [index, stage] : llvm::enumerate(lists.stages))
    for (pipe::Phase phase : stage.getPhases())
      if (!run.contains({index, static_cast<schedule::Phase>(phase)}))
        return stage.emitOpError() << "has a " << pipe::stringifyPhase(phase)
                                   << " region that no step runs";
  for (pipe::InterleavingOp pair : lists.interleavings) {
    if (!overlapped.contains(pair.getSymNameAttr()))
      return pair.emitOpError() << "is named by no step";
    if (!pair.getOrder())
      return pair.emitOpError() << "has no order; run pipe-interleave first";
  }
  return success();
}

struct VerifyPlan : public moe::impl::VerifyPlanBase<VerifyPlan> {
  using Base::Base;

  void runOnOperation() override {
    markAllAnalysesPreserved();
    ModuleOp module = getOperation();
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>())
      if (failed(verifyStageRules(stage)))
        return signalPassFailure();
    FailureOr<StepLists> lists = readSteps(module);
    if (failed(lists))
      return signalPassFailure();
    if (failed(verifyHandleCapacity(*lists)))
      return signalPassFailure();
    if (Status legal = schedule::verify(lists->steps); !legal) {
      module.emitError() << legal.error().message;
      return signalPassFailure();
    }
    if (failed(verifyUses(*lists)) ||
        (document && failed(verifyDocument(module))))
      signalPassFailure();
  }

  /// Makes the document, which proves itself, for its proof alone.
  LogicalResult verifyDocument(ModuleOp module) {
    FailureOr<cost::Machine> model = loadMachine(module, machine, "");
    if (failed(model))
      return failure();
    plan::Model none;
    none.name = none.architecture = "module";
    FailureOr<PlanDraft> draft =
        draftPlan(module, {.machine = *model,
                           .budgetBytes = model->memoryBytes,
                           .generator = "pipe-verify-plan",
                           .schedule = "given",
                           .model = none});
    if (failed(draft))
      return failure();
    return finishPlan(module, *model, std::move(*draft));
  }
};

} // namespace
