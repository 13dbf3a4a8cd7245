//===- OverlapReplays.cpp - run replays while rows travel -----------------===//

#include "passes/Recompute/OverlapReplays.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Releases/LiveBytes.h"
#include "passes/Releases/StorageUses.h"

using namespace mlir;
using namespace moe;

namespace {

class Overlapper {
public:
  explicit Overlapper(Block &block) : block(block), live(block) {}

  /// In program order, so that what a replay needs has moved before it.
  void run() {
    Operation *waiter = nullptr; ///< of the latest exchange that was waited for
    SmallVector<Operation *> waiters;
    for (Operation &op : block)
      if (isExchange(&op))
        waiters.push_back(getEndOfUse(&op));
    auto next = waiters.begin();
    for (Operation *op = &block.front(); op;) {
      // Moving an op must not lose the way on.
      Operation *following = op->getNextNode();
      while (next != waiters.end() &&
             (*next == op || (*next)->isBeforeInBlock(op)))
        waiter = *next++;
      if (waiter && waiter != op && isReplay(op) && !isExchange(op))
        tryMove(op, waiter);
      op = following;
    }
  }

private:
  void tryMove(Operation *op, Operation *waiter) {
    for (Value operand : op->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        if (!producer->isBeforeInBlock(waiter) ||
            isLastExchange(producer, waiter))
          return;
    int64_t results = 0;
    for (Value result : op->getResults())
      results += getStorageBytes(result);
    // Operands are there at the waiter anyway: they are used behind it.
    if (live[waiter] + results + getScratchBytes(op) > live.peak())
      return;
    for (Operation *each = waiter; each != op; each = each->getNextNode())
      if (live.at(each) + results > live.peak())
        return;
    live.add(results, waiter, op->getPrevNode());
    live[op] = live[waiter];
    op->moveBefore(waiter);
  }

  /// Whether `producer` is the exchange that rows travel for at `waiter`: what
  /// reads its results cannot run meanwhile. Earlier ones are done by then.
  static bool isLastExchange(Operation *producer, Operation *waiter) {
    if (!isExchange(producer))
      return false;
    for (Operation *op = producer->getNextNode(); op != waiter;
         op = op->getNextNode())
      if (isExchange(op))
        return false;
    return true;
  }

  Block &block;
  LiveBytes live;
};

} // namespace

void moe::overlapReplays(Block &block) { Overlapper(block).run(); }
