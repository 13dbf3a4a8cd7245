#include "compiler/Schedule/LowerBound.h"

#include "compiler/Schedule/SearchGreedy.h"

#include <algorithm>
#include <numeric>

namespace moe::schedule {

using search::Instance;
using search::InstanceRank;
using search::InstanceStage;

namespace {

/// Bytes times nanoseconds: of 62 bits each.
__extension__ using Product = __int128;

class Bounds {
public:
  explicit Bounds(const Instance &instance) : instance(instance) {}

  LowerBound run() {
    for (size_t rank = 0; rank < instance.ranks.size(); ++rank) {
      work(rank);
      memoryArea(rank);
    }
    for (size_t stage = 0; stage < instance.stages.size(); ++stage) {
      path(stage);
      memoryRounds(stage);
    }
    return std::move(best);
  }

private:
  void take(int64_t makespanNs, const std::string &reason, int64_t of) {
    if (makespanNs > best.makespanNs)
      best = {makespanNs, reason + std::to_string(of)};
  }

  const InstanceStage &stageAt(size_t index) const {
    return instance.stages[index];
  }

  /// The earliest begin of any action of the rank, and the least time from its
  /// last backward_input to the end of the step.
  int64_t headNs(const InstanceRank &rank) const {
    int64_t least = search::kNoLimit;
    for (size_t s : rank.stages)
      least = std::min(least, stageAt(s).headNs);
    return least;
  }
  int64_t tailNs(const InstanceRank &rank) const {
    int64_t least = search::kNoLimit;
    for (size_t s : rank.stages)
      least = std::min(least, stageAt(s).tailNs);
    return least;
  }

  /// The most that overlapping can save on a rank: a forward is in one pair at
  /// most, and so is a backward.
  int64_t savingNs(const InstanceRank &rank) const {
    if (instance.pairNs.empty())
      return 0;
    auto most = [&](bool byForward) {
      int64_t sum = 0;
      for (size_t one : rank.stages) {
        int64_t saving = 0;
        for (size_t other : rank.stages) {
          size_t f = byForward ? one : other, b = byForward ? other : one;
          int64_t ns = instance.overlapNs(f, b);
          const StageCosts &backward = stageAt(b).costs;
          if (ns >= 0)
            saving = std::max(saving, stageAt(f).costs.forwardNs +
                                          backward.inputGradNs +
                                          backward.weightGradNs - ns);
        }
        sum += saving * stageAt(one).microbatches;
      }
      return sum;
    };
    return std::min(most(true), most(false));
  }

  void work(size_t index) {
    const InstanceRank &rank = instance.ranks[index];
    int64_t weightNs = 0;
    for (size_t s : rank.stages)
      weightNs += stageAt(s).costs.weightGradNs * stageAt(s).microbatches;
    int64_t busyNs = headNs(rank) + rank.workNs - savingNs(rank);
    auto of = static_cast<int64_t>(index);
    take(busyNs, "work of rank ", of);
    take(busyNs - weightNs + tailNs(rank), "work of rank ", of);
  }

  /// The microbatch that a stage takes last, and the one that it takes first,
  /// run through the whole copy; the others through this stage only.
  void path(size_t index) {
    const InstanceStage &stage = stageAt(index);
    int64_t others = stage.microbatches - 1;
    auto of = static_cast<int64_t>(index);
    // All forwards of the stage come before the last one's return, all
    // backwards after the first one's.
    int64_t chainNs = stage.headNs + stage.roundTripNs + stage.tailNs;
    // Forwards in pairs with backwards could count twice, once each.
    int64_t forwardsNs = others * stage.leastForwardNs;
    int64_t backwardsNs = others * stage.leastInputGradNs;
    take(chainNs + std::max(forwardsNs, backwardsNs), "path through stage ",
         of);
  }

  void memoryArea(size_t index) {
    const InstanceRank &rank = instance.ranks[index];
    if (rank.limitBytes >= search::kNoLimit || rank.limitBytes <= 0)
      return;
    auto of = static_cast<int64_t>(index);
    // Byte-nanoseconds until the backward_input, and until the weight_grad.
    Product saved = 0, whole = 0;
    for (size_t s : rank.stages) {
      const InstanceStage &stage = stageAt(s);
      saved += static_cast<Product>(stage.costs.savedBytes) *
               stage.roundTripNs * stage.microbatches;
      whole += static_cast<Product>(stage.costs.weightGradBytes) *
               stage.leastWeightGradNs * stage.microbatches;
    }
    whole += saved;
    // What is held is a sum of these.
    int64_t unit = 0;
    for (size_t s : rank.stages)
      unit = std::gcd(std::gcd(unit, stageAt(s).costs.savedBytes),
                      stageAt(s).costs.weightGradBytes);
    if (unit == 0)
      return;
    // What is held grows with forwards, which hold more while they run.
    int64_t transientBytes = search::kNoLimit;
    for (size_t s : rank.stages)
      transientBytes =
          std::min(transientBytes, stageAt(s).costs.forwardTransientBytes);
    int64_t limit = (rank.limitBytes - transientBytes) / unit * unit;
    if (limit <= 0)
      return;
    auto timeNs = [&](Product area) {
      return static_cast<int64_t>((area + limit - 1) / limit);
    };
    take(headNs(rank) + timeNs(whole), "memory of rank ", of);
    take(headNs(rank) + timeNs(saved) + tailNs(rank), "memory of rank ", of);
  }

  void memoryRounds(size_t index) {
    const InstanceStage &stage = stageAt(index);
    const InstanceRank &rank = instance.ranks[static_cast<size_t>(stage.rank)];
    if (rank.limitBytes >= search::kNoLimit || stage.costs.savedBytes == 0)
      return;
    // Beside what a forward holds while it runs.
    int64_t limitBytes = rank.limitBytes - stage.costs.forwardTransientBytes;
    int64_t fit = limitBytes / stage.costs.savedBytes;
    if (fit < 1 || fit >= stage.microbatches)
      return;
    // Whether one more fits while nothing but weight gradients of the fit
    // before it are left to run.
    bool weightToo =
        stage.costs.savedBytes + fit * stage.costs.weightGradBytes > limitBytes;
    int64_t cycleNs =
        stage.roundTripNs + (weightToo ? stage.leastWeightGradNs : 0);
    int64_t rounds = (stage.microbatches - 1) / fit;
    int64_t rest = stage.microbatches - 1 - rounds * fit;
    take(stage.headNs + rounds * cycleNs + stage.roundTripNs +
             rest * stage.leastInputGradNs + stage.tailNs,
         "memory of stage ", static_cast<int64_t>(index));
  }

  const Instance &instance;
  LowerBound best;
};

} // namespace

Result<LowerBound> lowerBound(const ScheduleProblem &problem,
                              const Costs &costs) {
  MOE_RETURN_IF_ERROR(problem.check());
  MOE_RETURN_IF_ERROR(costs.check(problem));
  Instance instance(problem, costs);
  for (size_t rank = 0; rank < instance.ranks.size(); ++rank) {
    int64_t least = search::leastPeakBytes(instance, rank);
    if (least > instance.ranks[rank].limitBytes)
      return Error{"schedule: rank " + std::to_string(rank) + " may hold " +
                   std::to_string(instance.ranks[rank].limitBytes) +
                   " bytes of activations, every schedule needs at least " +
                   std::to_string(least) +
                   " there; raise the limit, take smaller microbatches or "
                   "more ranks"};
  }
  return Bounds(instance).run();
}

} // namespace moe::schedule
