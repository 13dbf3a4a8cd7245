//===- ReplayRewriter.cpp - put replays into backward regions -------------===//

#include "passes/Recompute/ReplayRewriter.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Policies/Lead.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace moe;

namespace {

pipe::YieldOp yieldOf(Block &block) {
  return cast<pipe::YieldOp>(block.getTerminator());
}

/// While a stage is rewritten, its backward regions use the values of the
/// forward region themselves instead of the arguments that stand for them.
class ReplayRewriter {
public:
  using OnCopy = llvm::function_ref<void(Operation *, Operation *)>;
  ReplayRewriter(pipe::StageOp stage, const Replays &replays, OnCopy onCopy)
      : stage(stage), forward(stage.getForward().front()), replays(replays),
        onCopy(onCopy) {}

  void run() {
    SmallVector<Value> kept;
    for (Value value : yieldOf(forward).getKept())
      if (!replays.dropped.count(value))
        kept.push_back(value);
    llvm::append_range(kept, replays.added);
    isKept.insert_range(kept);

    SmallVector<Block *> backwards;
    for (Region *region : {&stage.getBackward(), &stage.getBackwardInput()})
      if (!region->empty())
        backwards.push_back(&region->front());
    for (Block *block : backwards)
      useForwardValues(*block, stage.getNumHiddenOutputs(),
                       yieldOf(forward).getKept());
    if (!stage.getWeightGrad().empty())
      splitCarried();
    if (!stage.getBackward().empty())
      place(replays.backward, stage.getBackward().front());
    if (!stage.getBackwardInput().empty())
      place(replays.backwardInput, stage.getBackwardInput().front());

    yieldOf(forward).getKeptMutable().assign(kept);
    for (Block *block : backwards)
      takeArguments(*block, stage.getNumHiddenOutputs(), kept);
  }

private:
  /// Replaces arguments of `block` from number `first` on by `values`, null
  /// where one stays.
  static void useForwardValues(Block &block, unsigned first,
                               ValueRange values) {
    for (auto [argument, value] :
         llvm::zip(block.getArguments().drop_front(first), values))
      if (value)
        argument.replaceAllUsesWith(value);
  }

  /// Gives `block` one argument for each of `values` from number `first` on,
  /// instead of those that it has there.
  static void takeArguments(Block &block, unsigned first, ValueRange values) {
    block.eraseArguments(first, block.getNumArguments() - first);
    for (Value value : values) {
      Value argument = block.addArgument(value.getType(), value.getLoc());
      replaceIn(block, value, argument);
    }
  }

  static void replaceIn(Block &block, Value value, Value by) {
    value.replaceUsesWithIf(by, [&](OpOperand &use) {
      return use.getOwner()->getBlock() == &block;
    });
  }

  bool isOfForward(Value value) const {
    return value.getParentBlock() == &forward;
  }

  /// Places the replays of weight_grad, and makes backward_input hand on what
  /// that region needs then.
  void splitCarried() {
    Block &input = stage.getBackwardInput().front();
    Block &weight = stage.getWeightGrad().front();
    SmallVector<Value> handedOn(yieldOf(input).getKept());
    SmallVector<Value> forwardOnes =
        llvm::map_to_vector(handedOn, [&](Value value) {
          return isOfForward(value) ? value : Value();
        });
    useForwardValues(weight, 0, forwardOnes);
    place(replays.weightGrad, weight);

    llvm::SmallSetVector<Value, 16> needed;
    for (Operation &op : weight)
      for (Value operand : op.getOperands())
        if (isOfForward(operand))
          needed.insert(operand);
    SmallVector<Value> now;
    llvm::BitVector gone(handedOn.size());
    for (auto [number, value] : llvm::enumerate(handedOn)) {
      if (!isOfForward(value) || needed.remove(value))
        now.push_back(value);
      else
        gone.set(number);
    }
    weight.eraseArguments(gone);
    llvm::append_range(now, needed);
    yieldOf(input).getKeptMutable().assign(now);
    for (Value value : needed)
      weight.addArgument(value.getType(), value.getLoc());
    for (auto [value, argument] : llvm::zip(now, weight.getArguments()))
      if (isOfForward(value))
        replaceIn(weight, value, argument);
  }

  /// Puts copies of `ops` into `block`, the last op first, so that what uses a
  /// copy is there when its place is looked for.
  void place(const Replays::Ops &ops, Block &block) {
    SmallVector<Operation *> ordered(ops.begin(), ops.end());
    llvm::sort(ordered, [](Operation *a, Operation *b) {
      return a->isBeforeInBlock(b);
    });
    llvm::SmallPtrSet<Operation *, 8> early;
    for (Operation *op : llvm::reverse(ordered)) {
      OpBuilder builder(stage.getContext());
      Operation *place = placeOf(op, block);
      const bool isEarly = runsByItself(op, ops, block);
      if (isEarly)
        place = pointAhead(place, OffloadLead());
      // The last layer's own, and what is needed sooner, come first.
      while (isEarly && early.contains(place))
        place = place->getNextNode();
      builder.setInsertionPoint(place);
      copy(op, block, builder);
      if (isEarly)
        early.insert(&*std::prev(builder.getInsertionPoint()));
    }
  }

  /// Whether nothing in the block decides when a copy of `op` runs but its
  /// place: an exchange for weight gradients, where there are no others, of
  /// what was kept. A layer earlier than what needs it, computing hides it.
  bool runsByItself(Operation *op, const Replays::Ops &ops, Block &block) {
    auto onStream = dyn_cast<StreamOpInterface>(op);
    return onStream && onStream.getStreamKind() != StreamKind::compute &&
           block.getParent() == &stage.getWeightGrad() &&
           llvm::none_of(op->getOperands(), [&](Value operand) {
             Operation *maker = operand.getDefiningOp();
             return maker && ops.contains(maker);
           });
  }

  /// The op of `block` before which a copy of `op` has to stand: the first that
  /// uses a result. What is only handed on to weight_grad is made when the
  /// largest of its operands is there for the last time.
  Operation *placeOf(Operation *op, Block &block) const {
    auto usersIn = [&](Value value) {
      return llvm::make_filter_range(value.getUsers(), [&](Operation *user) {
        return user->getBlock() == &block;
      });
    };
    Operation *first = block.getTerminator();
    for (OpResult result : op->getResults())
      if (!isKept.contains(result))
        for (Operation *user : usersIn(result))
          if (user->isBeforeInBlock(first))
            first = user;
    if (first != block.getTerminator())
      return first;
    SmallVector<Value> operands = getReplayOperands(op, replays);
    Value largest = *llvm::max_element(operands, [](Value a, Value b) {
      return getByteSize(a.getType()) < getByteSize(b.getType());
    });
    Operation *last = nullptr;
    for (Operation *user : usersIn(largest))
      if (user != first && (!last || last->isBeforeInBlock(user)))
        last = user;
    return last ? last->getNextNode() : first;
  }

  void copy(Operation *op, Block &block, OpBuilder &builder) {
    Location loc = nameLoc(op->getContext(), getOpName(op) + kReplaySuffix);
    if (replays.alongHandle.contains(op)) {
      auto dispatch = cast<DispatchOp>(op);
      // What sends rows along a handle is the gradient of its way back.
      auto rows = CombineInputGradOp::create(
          builder, loc, dispatch.getRows().getType(), dispatch.getX(),
          dispatch.getHandle(), dispatch.getTopKAttr(),
          dispatch.getExpertsAttr(), dispatch.getRanksAttr(),
          dispatch.getCapacityAttr(), dispatch.getGroupsAttr(),
          dispatch.getTopGroupsAttr());
      replaceIn(block, dispatch.getRows(), rows.getDRows());
      return;
    }
    Operation *made = builder.clone(*op);
    made->setLoc(loc);
    if (onCopy)
      onCopy(op, made);
    for (auto [original, replayed] :
         llvm::zip(op->getResults(), made->getResults()))
      if (!isKept.contains(original))
        replaceIn(block, original, replayed);
  }

  pipe::StageOp stage;
  Block &forward;
  const Replays &replays;
  OnCopy onCopy;
  DenseSet<Value> isKept; ///< forward values that are kept from now on
};

} // namespace

void moe::insertReplays(pipe::StageOp stage, const Replays &replays,
                        ReplayRewriter::OnCopy onCopy) {
  ReplayRewriter(stage, replays, onCopy).run();
}
