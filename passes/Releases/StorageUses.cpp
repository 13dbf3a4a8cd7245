//===- StorageUses.cpp - until when an op needs what it reads -------------===//

#include "passes/Releases/StorageUses.h"

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

using namespace mlir;

static Operation *getEndOfUse(Operation *user, moe::IsBefore isBefore) {
  if (!moe::isExchange(user))
    return user;
  Operation *waiter = nullptr;
  for (Operation *consumer : user->getUsers()) {
    if (isa<moe::pipe::ReleaseOp>(consumer))
      continue;
    Operation *end = getEndOfUse(consumer, isBefore);
    if (!waiter || isBefore(end, waiter))
      waiter = end;
  }
  return waiter ? waiter : user->getBlock()->getTerminator();
}

static bool isBeforeInBlock(Operation *a, Operation *b) {
  return a->isBeforeInBlock(b);
}

Operation *moe::getEndOfUse(Operation *user) {
  return ::getEndOfUse(user, isBeforeInBlock);
}

Operation *moe::getOverwriter(Value value) {
  for (OpOperand &use : value.getUses())
    if (getAliasedOperand(use.getOwner(), 0) == use.getOperandNumber())
      return use.getOwner();
  return nullptr;
}

bool moe::isTransferred(Value value) {
  Region *region = value.getParentRegion();
  auto stage = cast<pipe::StageOp>(region->getParentOp());
  auto yieldOf = [](Region &region) {
    return cast<pipe::YieldOp>(region.front().getTerminator());
  };
  if (llvm::is_contained(yieldOf(*region).getResults(), value))
    return true;
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument)
    return false;
  if (region == &stage.getForward())
    return true;
  // Arguments stand for what enters, then for what an earlier region kept.
  bool isLast = region == &stage.getWeightGrad();
  unsigned entering = isLast ? 0 : stage.getNumHiddenOutputs();
  if (argument.getArgNumber() < entering)
    return true;
  Region &earlier = isLast ? stage.getBackwardInput() : stage.getForward();
  return isTransferred(
      yieldOf(earlier).getKept()[argument.getArgNumber() - entering]);
}

Operation *moe::getEndOfUses(Value value, IsBefore isBefore) {
  Operation *last = value.getDefiningOp();
  if (last)
    last = ::getEndOfUse(last, isBefore);
  for (Operation *user : value.getUsers()) {
    if (isa<pipe::ReleaseOp>(user))
      continue;
    Operation *end = ::getEndOfUse(user, isBefore);
    if (!last || isBefore(last, end))
      last = end;
  }
  return last;
}

Operation *moe::getEndOfUses(Value value) {
  return getEndOfUses(value, isBeforeInBlock);
}
