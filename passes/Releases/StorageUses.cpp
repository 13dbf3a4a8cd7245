//===- StorageUses.cpp - until when an op needs what it reads -------------===//

#include "passes/Releases/StorageUses.h"

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

using namespace mlir;

static bool isExchange(Operation *op) {
  auto stream = dyn_cast<moe::StreamOpInterface>(op);
  return stream &&
         stream.getStreamKind() == moe::StreamKind::expert_communication;
}

Operation *moe::getEndOfUse(Operation *user) {
  if (!isExchange(user))
    return user;
  Operation *waiter = nullptr;
  for (Operation *consumer : user->getUsers()) {
    if (isa<pipe::ReleaseOp>(consumer))
      continue;
    Operation *end = getEndOfUse(consumer);
    if (!waiter || end->isBeforeInBlock(waiter))
      waiter = end;
  }
  return waiter ? waiter : user->getBlock()->getTerminator();
}

Operation *moe::getEndOfUses(Value value) {
  Operation *last = value.getDefiningOp();
  if (last)
    last = getEndOfUse(last);
  for (Operation *user : value.getUsers()) {
    if (isa<pipe::ReleaseOp>(user))
      continue;
    Operation *end = getEndOfUse(user);
    if (!last || last->isBeforeInBlock(end))
      last = end;
  }
  return last;
}
