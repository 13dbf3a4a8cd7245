//===- FusedBackward.cpp - gradients of inputs and weights in one ---------===//

#include "passes/Schedule/FusedBackward.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Releases/StorageUses.h"
#include "passes/Schedule/OpOrder.h"
#include "runtime/Plan/Plan.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

#include <vector>

using namespace mlir;
using namespace moe;

namespace {

/// The parameters whose gradients `op` adds to.
SmallVector<StringAttr, 2> parametersOf(Operation *op) {
  SmallVector<StringAttr, 2> parameters;
  if (auto kernel = dyn_cast<KernelOpInterface>(op))
    for (const ParameterUse &use : kernel.getParameters())
      if (use.symbol)
        parameters.push_back(use.symbol.getAttr());
  return parameters;
}

/// Puts ops into a block, each behind the definition of the last of its
/// operands there and behind those placed before that add to one of its
/// parameters, or at the front when there is neither. Ops of the same place
/// keep the order in which they are put.
class OpPlacer {
public:
  explicit OpPlacer(OpOrder &order) : order(order) {}

  void place(Operation *op) {
    Operation *last = nullptr;
    auto follow = [&](Operation *before) {
      if (before && (!last || order.isBefore(last, before)))
        last = before;
    };
    for (Value operand : op->getOperands())
      follow(operand.getDefiningOp());
    for (StringAttr parameter : parametersOf(op)) {
      Operation *&newest = newestOf[parameter];
      follow(newest);
      newest = op;
    }
    Operation *&newest = newestBehind[last];
    order.moveBehind(op, newest ? newest : last);
    newest = op;
  }

private:
  OpOrder &order;
  /// What an op has to follow (null: the front) -> op placed there last.
  DenseMap<Operation *, Operation *> newestBehind;
  /// Parameter -> op placed last that adds to its gradient.
  DenseMap<StringAttr, Operation *> newestOf;
};

int64_t bytesOf(Value value) {
  return plan::alignUp(getByteSize(value.getType()));
}

int64_t scratchOf(Operation *op) {
  auto scratch = dyn_cast<ScratchOpInterface>(op);
  return scratch ? plan::alignUp(scratch.getScratch().bytes) : 0;
}

/// Moves weight gradients behind exchanges, so that the compute stream has work
/// while rows travel. What they read lives longer then; a move that would need
/// more bytes than the region does anyway is not made.
class Deferral {
public:
  Deferral(Block &block, OpOrder &order) : block(block), order(order) {
    // By place, how the live bytes change there.
    std::vector<int64_t> changes;
    DenseMap<Operation *, size_t> placeOf;
    for (Operation &op : block) {
      placeOf[&op] = placeOf.size();
      if (isExchange(&op))
        lastExchange = &op;
    }
    changes.resize(placeOf.size() + 1);
    auto addLife = [&](Value value, size_t first) {
      if (Operation *end = endOfUses(value)) {
        changes[first] += bytesOf(value);
        changes[placeOf.lookup(end) + 1] -= bytesOf(value);
      }
    };
    for (BlockArgument argument : block.getArguments())
      addLife(argument, 0);
    for (auto [place, op] : llvm::enumerate(block))
      for (Value result : op.getResults())
        addLife(result, place);
    int64_t bytes = 0;
    for (auto [place, op] : llvm::enumerate(block)) {
      live[&op] = bytes += changes[place];
      peak = std::max(peak, bytes + scratchOf(&op));
    }
  }

  /// `ops` without results, in the order of the block. The last is moved first:
  /// it has the shortest way.
  void run(ArrayRef<Operation *> ops) {
    for (Operation *op : llvm::reverse(ops))
      if (Operation *exchange = nextExchange(op))
        tryMove(op, exchange);
  }

private:
  Operation *endOfUses(Value value) const {
    return getEndOfUses(value, [&](Operation *a, Operation *b) {
      return order.isBefore(a, b);
    });
  }

  /// The first exchange behind `op`, or null when there is none or an op in
  /// between adds to one of its parameters.
  Operation *nextExchange(Operation *op) const {
    if (!lastExchange || !order.isBefore(op, lastExchange))
      return nullptr;
    SmallVector<StringAttr, 2> own = parametersOf(op);
    for (Operation *next = op->getNextNode(); next;
         next = next->getNextNode()) {
      if (isExchange(next))
        return next;
      if (llvm::any_of(parametersOf(next), [&](StringAttr parameter) {
            return llvm::is_contained(own, parameter) && !next->getNumResults();
          }))
        return nullptr;
    }
    return nullptr;
  }

  void tryMove(Operation *op, Operation *exchange) {
    // The lives that may change: of what the op reads, and of what an exchange
    // touches that the op is the first to wait for.
    llvm::SmallSetVector<Value, 8> values;
    for (Value operand : op->getOperands()) {
      values.insert(operand);
      Operation *producer = operand.getDefiningOp();
      if (!producer || !isExchange(producer))
        continue;
      values.insert_range(producer->getOperands());
      values.insert_range(producer->getResults());
    }
    SmallVector<Operation *> ends;
    for (Value value : values)
      ends.push_back(endOfUses(value));
    // Live bytes are counted at the other ops, so that moving one shifts none.
    Operation *next = op->getNextNode();
    Operation *previous = op->getPrevNode();
    int64_t before = live[op];
    order.moveBehind(op, exchange);

    struct Change {
      int64_t bytes;
      Operation *first, *last;
    };
    SmallVector<Change> changes;
    for (auto [value, end] : llvm::zip(values, ends)) {
      Operation *now = endOfUses(value);
      Operation *behindOld = end == op ? next : behind(end, op);
      Operation *behindNew = behind(now, op);
      if (behindOld == behindNew)
        continue;
      if (!behindNew || (behindOld && order.isBefore(behindOld, behindNew)))
        changes.push_back({bytesOf(value), behindOld, upTo(behindNew, op)});
      else
        changes.push_back({-bytesOf(value), behindNew, upTo(behindOld, op)});
    }
    for (const Change &change : changes)
      addBesides(op, change.bytes, change.first, change.last);
    // Everything that the op reads is live at the exchange before it.
    live[op] = live[exchange];
    bool fits = live[op] + scratchOf(op) <= peak;
    for (const Change &change : changes)
      for (Operation *each = change.first; fits && each;
           each = each == change.last ? nullptr : each->getNextNode())
        fits = live[each] + scratchOf(each) <= peak;
    if (fits)
      return;
    for (const Change &change : changes)
      addBesides(op, -change.bytes, change.first, change.last);
    order.moveBehind(op, previous);
    live[op] = before;
  }

  /// The op behind `op` that is not `moved`; null behind the terminator.
  static Operation *behind(Operation *op, Operation *moved) {
    Operation *next = op->getNextNode();
    return next == moved ? next->getNextNode() : next;
  }
  /// The op before `op` (null: the end of the block) that is not `moved`.
  Operation *upTo(Operation *op, Operation *moved) {
    Operation *previous = op ? op->getPrevNode() : &block.back();
    return previous == moved ? previous->getPrevNode() : previous;
  }

  void addBesides(Operation *moved, int64_t bytes, Operation *first,
                  Operation *last) {
    for (Operation *op = first;; op = op->getNextNode()) {
      if (op != moved)
        live[op] += bytes;
      if (op == last)
        return;
    }
  }

  Block &block;
  OpOrder &order;
  Operation *lastExchange = nullptr; ///< null: there is none
  /// Bytes of values that live while an op runs, its results included.
  DenseMap<Operation *, int64_t> live;
  int64_t peak = 0;
};

} // namespace

void moe::addFusedBackward(pipe::StageOp stage) {
  IRMapping mapping;
  stage.getBackwardInput().cloneInto(&stage.getBackward(), mapping);
  Block &target = stage.getBackward().front();
  auto yield = cast<pipe::YieldOp>(target.getTerminator());
  Block &weightGrad = stage.getWeightGrad().front();
  for (auto [argument, value] :
       llvm::zip(weightGrad.getArguments(), yield.getKept()))
    mapping.map(argument, value);
  yield.getKeptMutable().clear();

  SmallVector<Operation *> copies;
  OpBuilder builder(yield);
  for (Operation &op : weightGrad.without_terminator())
    copies.push_back(builder.clone(op, mapping));
  OpOrder order(target);
  OpPlacer placer(order);
  llvm::SmallDenseSet<Operation *> placed;
  for (Operation *copy : copies) {
    placer.place(copy);
    if (copy->getNumResults() == 0)
      placed.insert(copy);
  }

  SmallVector<Operation *> ordered;
  for (Operation &op : target)
    if (placed.contains(&op))
      ordered.push_back(&op);
  Deferral(target, order).run(ordered);
}

void moe::dropSplitBackward(pipe::StageOp stage) {
  for (Region *region : {&stage.getBackwardInput(), &stage.getWeightGrad()}) {
    region->dropAllReferences();
    region->getBlocks().clear();
  }
}
