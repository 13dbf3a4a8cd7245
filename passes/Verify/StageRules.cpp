//===- StageRules.cpp - the rules that stages keep ------------------------===//

#include "passes/Verify/StageRules.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Releases/StorageUses.h"

using namespace mlir;
using namespace moe;

namespace {

bool isReplay(Operation *op) {
  return op && getOpName(op).ends_with(".replay");
}

/// "result 3" or "argument 0".
std::string describe(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    return "argument " + std::to_string(argument.getArgNumber());
  return "result " + std::to_string(cast<OpResult>(value).getResultNumber());
}

/// The rule that ownership of `value` is about; empty but for handles.
StringRef ownership(Value value) {
  if (!isa<HandleType>(value.getType()))
    return "";
  return isReplay(value.getDefiningOp()) ? rule::kReplayHandle
                                         : rule::kLinearHandle;
}

/// Notes along the life of a handle: maker, users, end of the region. Other
/// values show where they were made by the error itself.
void attachLife(InFlightDiagnostic &error, Value value) {
  if (!isa<HandleType>(value.getType()))
    return;
  if (Operation *maker = value.getDefiningOp())
    error.attachNote(maker->getLoc()) << "made here";
  Operation *end = value.getParentBlock()->getTerminator();
  SmallVector<Operation *> users;
  for (Operation *user : value.getUsers())
    if (!isa<pipe::ReleaseOp>(user) && user != end)
      users.push_back(user);
  llvm::sort(users, [](Operation *a, Operation *b) {
    return a != b && a->isBeforeInBlock(b);
  });
  users.erase(llvm::unique(users), users.end());
  for (Operation *user : users)
    error.attachNote(user->getLoc()) << "used here";
  error.attachNote(end->getLoc()) << "the region ends here";
}

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

/// Who ends the life of a value.
struct Owner {
  pipe::ReleaseOp release;
  Operation *overwriter = nullptr; ///< hands its bytes on to a result
  bool yielded = false;
};

/// R1: what is overwritten has no other owner, and is no buffer of a transfer.
LogicalResult verifyOverwriter(Value value, const Owner &owner) {
  std::string what = describe(value);
  Operation *overwriter = owner.overwriter;
  for (OpOperand &use : value.getUses()) {
    Operation *first = overwriter, *second = use.getOwner();
    if (second == first ||
        getAliasedOperand(second, 0) != use.getOperandNumber())
      continue;
    if (second->isBeforeInBlock(first))
      std::swap(first, second);
    return (second->emitOpError()
            << "overwrites " << what << ", which another op overwrites"
            << rule::kLinearHandle)
               .attachNote(first->getLoc())
           << "the other op";
  }
  if (owner.release)
    return (owner.release->emitOpError()
            << what << " is released but also overwritten; its bytes are "
            << "released with the result" << rule::kLinearHandle)
               .attachNote(overwriter->getLoc())
           << "overwritten here";
  if (owner.yielded)
    return (overwriter->emitOpError()
            << "overwrites " << what << ", which the region yields"
            << rule::kLinearHandle)
               .attachNote(value.getParentBlock()->getTerminator()->getLoc())
           << "yielded here";
  if (isTransferred(value) || isTransferred(overwriter->getResult(0)))
    return overwriter->emitOpError()
           << "overwrites " << what
           << ", but the bytes belong to a transfer between stages"
           << rule::kLinearHandle;
  return success();
}

/// R1, R2: one release, one op that overwrites it, or one place in the yield.
FailureOr<Owner> findOwner(Value value) {
  Operation *terminator = value.getParentBlock()->getTerminator();
  std::string what = describe(value);
  Owner owner;
  for (OpOperand &use : value.getUses()) {
    if (use.getOwner() == terminator) {
      if (owner.yielded && isa<HandleType>(value.getType())) {
        InFlightDiagnostic error = terminator->emitOpError()
                                   << "passes on " << what
                                   << " twice: it would have two owners"
                                   << ownership(value);
        attachLife(error, value);
        return error;
      }
      owner.yielded = true;
    }
    auto another = dyn_cast<pipe::ReleaseOp>(use.getOwner());
    if (!another)
      continue;
    if (owner.release) {
      if (another->isBeforeInBlock(owner.release))
        std::swap(owner.release, another);
      InFlightDiagnostic error = another.emitOpError()
                                 << what << " is released twice"
                                 << ownership(value);
      error.attachNote(owner.release.getLoc()) << "the other release";
      attachLife(error, value);
      return error;
    }
    owner.release = another;
  }
  owner.overwriter = getOverwriter(value);
  if (owner.overwriter) {
    if (failed(verifyOverwriter(value, owner)))
      return failure();
    return owner;
  }
  if (owner.release && owner.yielded) {
    InFlightDiagnostic error = owner.release.emitOpError()
                               << what << " is released but also yielded"
                               << ownership(value);
    error.attachNote(terminator->getLoc()) << "yielded here";
    return error;
  }
  if (owner.yielded && isa<HandleType>(value.getType()) &&
      isReplay(value.getDefiningOp())) {
    InFlightDiagnostic error =
        terminator->emitOpError()
        << "passes on the handle of a replayed dispatch, whose region has to "
           "end it"
        << ownership(value);
    attachLife(error, value);
    return error;
  }
  if (!owner.release && !owner.yielded) {
    InFlightDiagnostic error = emitError(value.getLoc())
                               << what << " of type " << value.getType()
                               << " leaks: it is neither released nor yielded"
                               << ownership(value);
    attachLife(error, value);
    return error;
  }
  return owner;
}

/// R3: the release stands behind the end of every use.
LogicalResult verifyLastUse(Value value, pipe::ReleaseOp release) {
  std::string what = describe(value);
  SmallVector<Operation *> users;
  if (Operation *producer = value.getDefiningOp())
    users.push_back(producer);
  llvm::append_range(users, value.getUsers());
  for (Operation *user : users) {
    if (user == release)
      continue;
    if (release->isBeforeInBlock(user))
      return (user->emitOpError()
              << "uses " << what << " after its release" << rule::kLastUse)
                 .attachNote(release.getLoc())
             << "released here";
    Operation *end = getEndOfUse(user);
    if (end != user && isTooEarly(release, end)) {
      InFlightDiagnostic error =
          release.emitOpError()
          << what << " is released while an exchange may still use it"
          << rule::kLastUse;
      error.attachNote(user->getLoc()) << "the exchange";
      error.attachNote(end->getLoc()) << "the first op that waits for it";
      return error;
    }
  }
  return success();
}

/// R3: nothing needs what is overwritten any more.
LogicalResult verifyOverwritten(Value value, Operation *overwriter) {
  std::string what = describe(value);
  SmallVector<Operation *> users(value.getUsers());
  if (Operation *producer = value.getDefiningOp())
    users.push_back(producer);
  for (Operation *user : users) {
    if (user == overwriter)
      continue;
    if (overwriter->isBeforeInBlock(user))
      return (user->emitOpError()
              << "uses " << what << " after it was overwritten"
              << rule::kLastUse)
                 .attachNote(overwriter->getLoc())
             << "overwritten here";
    if (Operation *end = getEndOfUse(user); overwriter->isBeforeInBlock(end)) {
      InFlightDiagnostic error = overwriter->emitOpError()
                                 << "overwrites " << what
                                 << ", which an exchange may still use"
                                 << rule::kLastUse;
      error.attachNote(user->getLoc()) << "the exchange";
      error.attachNote(end->getLoc()) << "the first op that waits for it";
      return error;
    }
  }
  return success();
}

LogicalResult verifyValue(Value value) {
  FailureOr<Owner> owner = findOwner(value);
  if (failed(owner))
    return failure();
  if (owner->overwriter)
    return verifyOverwritten(value, owner->overwriter);
  return owner->release ? verifyLastUse(value, owner->release) : success();
}

/// The dispatch in the region that rows come from, or null.
DispatchOp dispatchOf(Value rows) {
  while (Operation *maker = rows.getDefiningOp()) {
    if (auto dispatch = dyn_cast<DispatchOp>(maker))
      return dispatch;
    Value next;
    for (Value operand : maker->getOperands())
      if (auto type = dyn_cast<RankedTensorType>(operand.getType());
          type && getRows(type) && type.getRank() == 2)
        next = operand;
    if (!next)
      return nullptr;
    rows = next;
  }
  return nullptr;
}

/// R2: rows go back along the handle of the dispatch that they came from.
LogicalResult verifyHandleOfRows(CombineOp combine) {
  DispatchOp dispatch = dispatchOf(combine.getRows());
  if (!dispatch || combine.getHandle() == dispatch.getHandle())
    return success();
  return (combine.emitOpError()
          << "takes rows of one dispatch and the handle of another"
          << rule::kReplayHandle)
             .attachNote(dispatch.getLoc())
         << "the dispatch that the rows come from";
}

/// R5, R6, R8: what an op does, and whether it may do it again.
LogicalResult verifyOp(Operation *op) {
  if (!isa<KernelOpInterface>(op) ||
      (!isa<MemoryEffectOpInterface>(op) && !isMemoryEffectFree(op)))
    return op->emitOpError()
           << "does not declare what it does to memory, links and gradients"
           << rule::kEffects;
  if (auto combine = dyn_cast<CombineOp>(op))
    if (failed(verifyHandleOfRows(combine)))
      return failure();
  if (!isReplay(op))
    return success();
  if (op->getNumResults() == 0)
    return op->emitOpError()
           << "adds to state, and a replay would add again" << rule::kOnce;
  auto recomputable = dyn_cast<RecomputableOpInterface>(op);
  if (!recomputable || !recomputable.isReplayable())
    return op->emitOpError() << "takes a decision that a replay could take "
                                "differently; its results have to be kept"
                             << rule::kReplayable;
  return success();
}

/// R8: no two ops add the same to the same state.
LogicalResult verifyAdditions(Block &block) {
  SmallVector<Operation *> additions;
  for (Operation &op : block.without_terminator()) {
    if (op.getNumResults() != 0 || isa<pipe::ReleaseOp>(op))
      continue;
    for (Operation *before : additions)
      if (OperationEquivalence::isEquivalentTo(
              before, &op, OperationEquivalence::IgnoreLocations))
        return (op.emitOpError() << "adds what was added before" << rule::kOnce)
                   .attachNote(before->getLoc())
               << "the first time";
    additions.push_back(&op);
  }
  return success();
}

/// Whether something reads what stands for a kept value in a later region.
bool isRead(pipe::StageOp stage, pipe::Phase phase, unsigned argument) {
  Region &region = stage.getRegion(phase);
  if (region.empty())
    return false;
  Block &block = region.front();
  auto yield = cast<pipe::YieldOp>(block.getTerminator());
  for (OpOperand &use : block.getArgument(argument).getUses()) {
    if (isa<pipe::ReleaseOp>(use.getOwner()))
      continue;
    if (use.getOwner() != yield)
      return true;
    unsigned number = use.getOperandNumber();
    unsigned results = yield.getResults().size();
    if (number < results ||
        isRead(stage, pipe::Phase::WeightGrad, number - results))
      return true;
  }
  return false;
}

/// R4: what forward keeps is read by a backward.
LogicalResult verifyKept(pipe::StageOp stage) {
  auto yield = cast<pipe::YieldOp>(stage.getForward().front().getTerminator());
  unsigned entering = stage.getNumHiddenOutputs();
  for (auto [index, value] : llvm::enumerate(yield.getKept()))
    if (!isRead(stage, pipe::Phase::Backward, entering + index) &&
        !isRead(stage, pipe::Phase::BackwardInput, entering + index))
      return (yield.emitOpError()
              << "keeps " << describe(value) << " of type " << value.getType()
              << ", which no backward reads" << rule::kNeeded)
                 .attachNote(value.getLoc())
             << "made here";
  return success();
}

} // namespace

LogicalResult moe::verifyStageRules(pipe::StageOp stage) {
  for (pipe::Phase phase : stage.getPhases()) {
    Block &block = stage.getRegion(phase).front();
    for (Operation &op : block.without_terminator())
      if (!isa<pipe::ReleaseOp>(op) && failed(verifyOp(&op)))
        return failure();
    for (BlockArgument argument : block.getArguments())
      if (failed(verifyValue(argument)))
        return failure();
    for (Operation &op : block)
      for (OpResult result : op.getResults())
        if (failed(verifyValue(result)))
          return failure();
    if (failed(verifyAdditions(block)))
      return failure();
  }
  return verifyKept(stage);
}

LogicalResult moe::verifyHandleCapacity(StepLists &lists) {
  auto handlesIn = [](ValueRange values) {
    return llvm::count_if(
        values, [](Value value) { return isa<HandleType>(value.getType()); });
  };
  auto yieldOf = [&](int64_t stage, schedule::Phase phase) {
    Region &region =
        lists.stages[stage].getRegion(static_cast<pipe::Phase>(phase));
    return cast<pipe::YieldOp>(region.front().getTerminator());
  };
  SmallVector<int64_t> live(lists.stages.size()), inFlight(lists.stages.size());
  SmallVector<int64_t> dispatches;
  for (pipe::StageOp stage : lists.stages)
    dispatches.push_back(
        llvm::range_size(stage.getForward().front().getOps<DispatchOp>()));
  auto run = [&](Operation *op, int64_t stage,
                 schedule::Phase phase) -> LogicalResult {
    Block &block = *yieldOf(stage, phase)->getBlock();
    live[stage] += handlesIn(yieldOf(stage, phase).getKept());
    if (phase == schedule::Phase::forward)
      ++inFlight[stage];
    else
      live[stage] -= handlesIn(block.getArguments());
    if (live[stage] > inFlight[stage] * dispatches[stage])
      return (op->emitOpError()
              << "leaves " << live[stage] << " handles live on its stage, with "
              << inFlight[stage] << " microbatches in flight and "
              << dispatches[stage] << " dispatches" << rule::kCapacity)
                 .attachNote(lists.stages[stage].getLoc())
             << "the stage";
    if (phase == schedule::Phase::backward ||
        phase == schedule::Phase::weight_grad)
      --inFlight[stage];
    return success();
  };
  for (auto [steps, ops] : llvm::zip(lists.steps.ranks, lists.ops))
    for (auto [step, op] : llvm::zip(steps, ops)) {
      if (plan::isExecution(step.kind) &&
          failed(run(op, step.stage, step.phase)))
        return failure();
      if (step.kind == plan::StepKind::overlap &&
          failed(run(op, step.second.stage, step.second.phase)))
        return failure();
    }
  for (auto [stage, count] : llvm::zip(lists.stages, live))
    if (count != 0)
      return stage.emitOpError()
             << "has " << count << " handles live at the end of the step"
             << rule::kCapacity;
  return success();
}
