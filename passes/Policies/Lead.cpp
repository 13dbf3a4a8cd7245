//===- Lead.cpp - how early what an op needs is issued --------------------===//

#include "passes/Policies/Lead.h"

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

using namespace mlir;
using namespace moe;

/// The block of the model that an op is of: "layers.3" of "layers.3.moe.route".
static StringRef blockOf(Operation *op) {
  StringRef name = getOpName(op);
  size_t end = name.find('.');
  if (name.starts_with("layers.") || name.starts_with("mtp."))
    end = name.find('.', end + 1);
  return name.take_front(end);
}

static bool isCopy(Operation *op) {
  return isa<pipe::OffloadOp, pipe::ReloadOp>(op);
}

Operation *moe::firstUser(BlockArgument argument) {
  Operation *first = nullptr;
  for (Operation *user : argument.getUsers())
    if (!isa<pipe::YieldOp>(user) && (!first || user->isBeforeInBlock(first)))
      first = user;
  return first;
}

Operation *moe::pointAhead(Operation *user, const OffloadLead &lead) {
  Operation *point = user;
  int64_t left = lead.ops;
  SmallVector<StringRef, 2> passed = {blockOf(user)};
  while (Operation *before = point->getPrevNode()) {
    if (!isCopy(before)) {
      if (lead.ops > 0) {
        if (left-- == 0)
          break;
      } else if (StringRef block = blockOf(before);
                 // Replays may be issued ahead, in the turn of another block.
                 !isReplay(before) && !llvm::is_contained(passed, block)) {
        if (static_cast<int64_t>(passed.size()) > lead.layers)
          break;
        passed.push_back(block);
      }
    }
    point = before;
  }
  // Behind the copies that were issued there before.
  while (isCopy(point))
    point = point->getNextNode();
  return point;
}
