//===- ReplayClosure.cpp - what has to run again --------------------------===//

#include "passes/Recompute/ReplayClosure.h"

#include "dialects/MoE/IR/MoE.h"
#include "runtime/Plan/Plan.h"

using namespace mlir;
using namespace moe;

bool moe::isReplayable(Operation *op) {
  auto recomputable = dyn_cast<RecomputableOpInterface>(op);
  return recomputable && recomputable.isReplayable();
}

bool moe::isKeptWithHandle(OpResult result) {
  auto dispatch = dyn_cast<DispatchOp>(result.getOwner());
  return dispatch && result != dispatch.getRows();
}

SmallVector<Value> moe::getReplayOperands(Operation *op,
                                          const Replays &replays) {
  if (!replays.alongHandle.contains(op))
    return SmallVector<Value>(op->getOperands());
  auto dispatch = cast<DispatchOp>(op);
  return {dispatch.getX(), dispatch.getHandle()};
}

namespace {

/// A value is worth keeping rather than making again when its op moves this
/// many times its bytes through memory: the key columns that all heads of
/// latent attention share are the case in point (docs/recompute.md).
constexpr int64_t kTrafficWorthKeeping = 32;

int64_t bytesOf(Value value) {
  return plan::alignUp(getByteSize(value.getType()));
}

class ReplayFinder {
public:
  ReplayFinder(pipe::StageOp stage, ArrayRef<Value> dropped,
               const ReplayOptions &options)
      : stage(stage), dropped(dropped.begin(), dropped.end()),
        kept(yieldOf(stage.getForward()).getKept()),
        keptAtFirst(kept.begin(), kept.end()) {
    for (auto dispatch : stage.getForward().front().getOps<DispatchOp>())
      if (options.keepHandles || staysButForRows(dispatch))
        found.alongHandle.insert(dispatch);
  }

  Replays run() {
    collectDemands();
    keepSmallHalves();
    // What has to be kept besides is known when nothing is added any more:
    // every value that is kept makes replays smaller.
    size_t known = 0;
    do {
      known = found.added.size() + found.staying.size();
      found.backward = closure(fusedDemand);
      splitClosures();
    } while (found.added.size() + found.staying.size() != known);
    attribute();
    return std::move(found);
  }

private:
  using Ops = Replays::Ops;
  using Values = Replays::Values;

  static pipe::YieldOp yieldOf(Region &region) {
    return cast<pipe::YieldOp>(region.front().getTerminator());
  }

  /// Which dropped values the ops of each region read.
  void collectDemands() {
    unsigned entering = stage.getNumHiddenOutputs();
    auto usedBy = [&](Region &region, Values &demand) {
      for (auto [value, argument] :
           llvm::zip(kept, region.getArguments().drop_front(entering))) {
        bool isRead = llvm::any_of(argument.getUsers(), [](Operation *user) {
          return !user->hasTrait<OpTrait::IsTerminator>();
        });
        if (dropped.contains(value) && isRead)
          demand.insert(value);
        standsFor[argument] = value;
      }
    };
    if (!stage.getBackward().empty())
      usedBy(stage.getBackward(), fusedDemand);
    if (stage.getBackwardInput().empty())
      return;
    usedBy(stage.getBackwardInput(), inputDemand);
    for (auto [value, argument] :
         llvm::zip(yieldOf(stage.getBackwardInput()).getKept(),
                   stage.getWeightGrad().getArguments())) {
      Value forward = standsFor.lookup(value);
      if (forward && !argument.use_empty())
        (dropped.contains(forward) ? weightDemand : carried).insert(forward);
    }
  }

  /// A small result that backward_input reads stays kept where the op's other
  /// ones are for weight_grad: it would make the op run early, and they would
  /// live from one half to the other. The inverse of a norm is the case in
  /// point.
  void keepSmallHalves() {
    for (Value value : inputDemand) {
      Operation *op = value.getDefiningOp();
      if (!op || !isSmall(value))
        continue;
      bool others = llvm::any_of(op->getResults(), [&](Value result) {
        return weightDemand.contains(result) && !inputDemand.contains(result);
      });
      if (others && llvm::none_of(op->getResults(), [&](Value result) {
            return inputDemand.contains(result) && !isSmall(result);
          }))
        found.staying.insert(value);
    }
  }

  /// Whether the value's op moves so many bytes that keeping it is better than
  /// running the op for its sake.
  static bool isSmall(Value value) {
    auto costs = dyn_cast<CostOpInterface>(value.getDefiningOp());
    return costs &&
           costs.getCost().bytes / kTrafficWorthKeeping >= bytesOf(value);
  }

  bool staysButForRows(DispatchOp dispatch) const {
    return isKept(dispatch.getHandle()) &&
           llvm::none_of(dispatch->getResults(), [&](OpResult result) {
             return isKeptWithHandle(result) && dropped.contains(result);
           });
  }

  bool isKept(Value value) const {
    if (found.added.contains(value) || found.staying.contains(value))
      return true;
    return keptAtFirst.contains(value) && !dropped.contains(value);
  }

  /// Whether the value has to be kept, or is better kept, than made again.
  bool mustKeep(Value value) const {
    Operation *op = value.getDefiningOp();
    if (!op || !isReplayable(op) ||
        (found.alongHandle.contains(op) &&
         isKeptWithHandle(cast<OpResult>(value))))
      return true;
    return !keptAtFirst.contains(value) && isSmall(value);
  }

  /// The op that makes `value` again, or null where it is kept, which is noted
  /// where it is new.
  Operation *replayOf(Value value) {
    if (isKept(value))
      return nullptr;
    if (mustKeep(value)) {
      (keptAtFirst.contains(value) ? found.staying : found.added).insert(value);
      return nullptr;
    }
    return value.getDefiningOp();
  }

  /// Adds to `ops` what makes `value` again.
  void need(Value value, Ops &ops) {
    Operation *op = replayOf(value);
    if (!op || !ops.insert(op))
      return;
    for (Value operand : getReplayOperands(op, found))
      need(operand, ops);
  }

  Ops closure(const Values &demand) {
    Ops ops;
    for (Value value : demand)
      need(value, ops);
    return ops;
  }

  /// Distributes replays over backward_input and weight_grad.
  void splitClosures() {
    Values early = inputDemand;
    for (bool settled = false; !settled;) {
      found.backwardInput = closure(early);
      found.weightGrad.clear();
      settled = true;
      // What crosses from one half to the other in any case.
      Values crossing = carried;
      for (Value value : weightDemand)
        if (isMadeEarly(value) || isKept(value))
          crossing.insert(value);
      for (Value value : weightDemand) {
        if (crossing.contains(value))
          continue;
        Ops ops = found.weightGrad;
        Values more = crossing;
        int64_t extra = 0;
        needLate(value, ops, more, extra);
        if (extra >= bytesOf(value)) {
          early.insert(value);
          settled = false;
          break;
        }
        found.weightGrad = std::move(ops);
        crossing = std::move(more);
      }
    }
  }

  bool isMadeEarly(Value value) const {
    Operation *op = value.getDefiningOp();
    return op && found.backwardInput.contains(op);
  }

  /// As `need`, for weight_grad: what backward_input makes or has crosses to
  /// it, for `extra` bytes where it did not before.
  void needLate(Value value, Ops &ops, Values &crossing, int64_t &extra) {
    Operation *op = isMadeEarly(value) ? nullptr : replayOf(value);
    if (!op) {
      if (crossing.insert(value))
        extra += bytesOf(value);
      return;
    }
    if (!ops.insert(op))
      return;
    for (Value operand : getReplayOperands(op, found))
      needLate(operand, ops, crossing, extra);
  }

  /// Says for which dropped value each op runs again.
  void attribute() {
    Ops running = found.backward.empty() ? found.backwardInput : found.backward;
    if (found.backward.empty())
      running.insert_range(found.weightGrad);
    Ops given;
    for (Value value : kept)
      if (dropped.contains(value) && !found.staying.contains(value)) {
        size_t first = given.size();
        need(value, given);
        SmallVector<Operation *> &own = found.dropped[value];
        for (Operation *op : ArrayRef(given.getArrayRef()).drop_front(first))
          if (running.contains(op))
            own.push_back(op);
      }
  }

  pipe::StageOp stage;
  Values dropped;
  OperandRange kept;
  DenseSet<Value> keptAtFirst;
  DenseMap<Value, Value> standsFor; ///< argument of a backward -> kept value
  Values fusedDemand, inputDemand, weightDemand;
  /// What backward_input hands on to weight_grad of what is not dropped.
  Values carried;
  Replays found;
};

} // namespace

Replays moe::findReplays(pipe::StageOp stage, ArrayRef<Value> dropped,
                         const ReplayOptions &options) {
  return ReplayFinder(stage, dropped, options).run();
}
