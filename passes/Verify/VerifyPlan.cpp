//===- VerifyPlan.cpp - releases and transfers are right ------------------===//

#include "compiler/Schedule/IR/StepLists.h"
#include "passes/Passes.h"
#include "passes/Releases/StorageUses.h"

namespace moe {
#define GEN_PASS_DEF_VERIFYPLAN
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Whether bytes could be given to another value at `release` although their
/// use lasts until `end`. Nothing waits for a use that lasts until the end of
/// its region, so no op but other releases may stand in between.
bool isTooEarly(pipe::ReleaseOp release, Operation *end) {
  if (!end->hasTrait<OpTrait::IsTerminator>())
    return release->isBeforeInBlock(end);
  Operation *next = release->getNextNode();
  while (isa<pipe::ReleaseOp>(next))
    next = next->getNextNode();
  return next != end;
}

/// Checks the life of one value in its block.
LogicalResult verifyStorage(Value value, StringRef what) {
  Block *block = value.getParentBlock();
  pipe::ReleaseOp release;
  bool yielded = false;
  for (Operation *user : value.getUsers()) {
    yielded |= user == block->getTerminator();
    auto another = dyn_cast<pipe::ReleaseOp>(user);
    if (!another)
      continue;
    if (release) {
      if (another->isBeforeInBlock(release))
        std::swap(release, another);
      return (another.emitOpError() << what << " is released twice")
                 .attachNote(release.getLoc())
             << "the other release";
    }
    release = another;
  }
  if (release && yielded)
    return (release.emitOpError() << what << " is released but also yielded")
               .attachNote(block->getTerminator()->getLoc())
           << "yielded here";
  if (yielded)
    return success();
  if (!release)
    return emitError(value.getLoc())
           << what << " of type " << value.getType()
           << " leaks: it is neither released nor yielded";

  SmallVector<Operation *> users;
  if (Operation *producer = value.getDefiningOp())
    users.push_back(producer);
  llvm::append_range(users, value.getUsers());
  for (Operation *user : users) {
    if (user == release)
      continue;
    if (release->isBeforeInBlock(user))
      return (user->emitOpError() << "uses " << what << " after its release")
                 .attachNote(release.getLoc())
             << "released here";
    Operation *end = getEndOfUse(user);
    if (end != user && isTooEarly(release, end)) {
      InFlightDiagnostic error =
          release.emitOpError()
          << what << " is released while an exchange may still use it";
      error.attachNote(user->getLoc()) << "the exchange";
      error.attachNote(end->getLoc()) << "the first op that waits for it";
      return error;
    }
  }
  return success();
}

LogicalResult verifyStage(pipe::StageOp stage) {
  for (pipe::Phase phase : stage.getPhases()) {
    Block &block = stage.getRegion(phase).front();
    for (BlockArgument argument : block.getArguments())
      if (failed(verifyStorage(
              argument, "argument " + std::to_string(argument.getArgNumber()))))
        return failure();
    for (Operation &op : block)
      for (OpResult result : op.getResults())
        if (failed(verifyStorage(
                result, "result " + std::to_string(result.getResultNumber()))))
          return failure();
  }
  return success();
}

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
  void runOnOperation() override {
    markAllAnalysesPreserved();
    ModuleOp module = getOperation();
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>())
      if (failed(verifyStage(stage)))
        return signalPassFailure();
    FailureOr<StepLists> lists = readSteps(module);
    if (failed(lists))
      return signalPassFailure();
    if (Status legal = schedule::verify(lists->steps); !legal) {
      module.emitError() << legal.error().message;
      return signalPassFailure();
    }
    if (failed(verifyUses(*lists)))
      signalPassFailure();
  }
};

} // namespace
