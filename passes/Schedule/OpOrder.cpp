#include "passes/Schedule/OpOrder.h"

#include "mlir/IR/Operation.h"

#include <algorithm>

using namespace mlir;
using namespace moe;

/// Between ops that have not moved, and behind one that has: so that some
/// thousand find room one behind the other, and some between each two of these.
static constexpr int64_t kGap = int64_t{1} << 32, kStep = int64_t{1} << 16;

OpOrder::OpOrder(Block &block) : block(block) { renumber(); }

void OpOrder::renumber() {
  int64_t number = 0;
  for (Operation &op : block)
    numbers[&op] = number += kGap;
}

void OpOrder::moveBehind(Operation *op, Operation *before) {
  if (before)
    op->moveAfter(before);
  else
    op->moveBefore(&block, block.begin());
  Operation *next = op->getNextNode();
  int64_t low = before ? numbers.lookup(before) : 0;
  int64_t high = next ? numbers.lookup(next) : low + kGap;
  int64_t number = low + std::min(kStep, (high - low) / 2);
  if (number == low)
    renumber();
  else
    numbers[op] = number;
}
