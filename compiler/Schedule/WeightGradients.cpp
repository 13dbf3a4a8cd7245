#include "compiler/Schedule/WeightGradients.h"

#include "compiler/Schedule/Progress.h"

#include <algorithm>

namespace moe::schedule {

namespace {

constexpr int64_t kNotYet = -1;

class Inserter {
public:
  Inserter(const Schedule &order, const Costs &costs,
           const WeightGradOptions &options)
      : order(order), problem(order.problem), options(options),
        ranks(order.ranks.size()) {
    result.name = order.name;
    result.problem = problem;
    result.ranks.resize(ranks.size());
    int64_t perStage = problem.microbatches / problem.replicas();
    for (int64_t s = 0; s < problem.stages(); ++s) {
      StageState stage;
      stage.costs = costs.stages[static_cast<size_t>(s)];
      stage.holding = options.holdings[static_cast<size_t>(s)];
      int64_t rank = problem.rankOf(s);
      if (!problem.isFirst(s)) {
        stage.inputFrom = problem.rankOf(s - 1);
        stage.inputTransferNs = stage.inputFrom == rank ? 0 : costs.transferNs;
      }
      if (!problem.isLast(s)) {
        stage.gradientFrom = problem.rankOf(s + 1);
        stage.gradientTransferNs =
            stage.gradientFrom == rank ? 0 : costs.transferNs;
      }
      stage.nextWeightGrad = s / problem.stagesPerReplica() * perStage;
      RankState &state = ranks[static_cast<size_t>(rank)];
      state.forwardsLeft += perStage;
      state.workNs +=
          perStage * (stage.costs.forwardNs + stage.costs.inputGradNs +
                      stage.costs.weightGradNs);
      stages.push_back(stage);
    }
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      ranks[rank].weightGrads.reserve(order.ranks[rank].size() / 2);
      if (options.withActions)
        result.ranks[rank].reserve(2 * order.ranks[rank].size());
    }
    endNs.assign(
        static_cast<size_t>(2 * problem.stages() * problem.microbatches),
        kNotYet);
  }

  std::optional<Filled> run() {
    std::vector<size_t> counts;
    for (const auto &actions : order.ranks)
      counts.push_back(actions.size());
    Status status = runToEnd(
        counts,
        [&](size_t rank, size_t index) { return tryAction(rank, index); },
        [](size_t, size_t) { return std::string(); });
    if (!status || givenUp)
      return std::nullopt;
    Filled filled;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      while (hasWeightGrad(rank))
        runWeightGrad(rank);
      const RankState &state = ranks[rank];
      filled.makespanNs = std::max(filled.makespanNs, state.nowNs);
      filled.spanNs = std::max(filled.spanNs, state.nowNs - state.firstNs);
    }
    filled.schedule = std::move(result);
    return filled;
  }

private:
  struct StageState {
    StageCosts costs;
    Holding holding;
    int64_t inputFrom = -1, gradientFrom = -1; ///< ranks
    int64_t inputTransferNs = 0, gradientTransferNs = 0;
    int64_t nextWeightGrad = 0; ///< microbatch
  };
  struct RankState {
    bool begun = false;
    int64_t firstNs = 0, nowNs = 0, idleNs = 0, held = 0;
    int64_t forwardsLeft = 0, workNs = 0; ///< of all that has not run
    std::vector<size_t> weightGrads;      ///< stages, in the order of backwards
    size_t next = 0;                      ///< of those
  };

  size_t endOf(int64_t stage, int64_t microbatch, bool forward) const {
    return static_cast<size_t>(2 * (stage * problem.microbatches + microbatch) +
                               (forward ? 0 : 1));
  }

  bool hasWeightGrad(size_t rank) const {
    return ranks[rank].next < ranks[rank].weightGrads.size();
  }

  int64_t weightGradNs(size_t rank) const {
    return stages[ranks[rank].weightGrads[ranks[rank].next]].costs.weightGradNs;
  }

  void runWeightGrad(size_t rank) {
    RankState &state = ranks[rank];
    size_t index = state.weightGrads[state.next++];
    StageState &stage = stages[index];
    state.nowNs += stage.costs.weightGradNs;
    state.workNs -= stage.costs.weightGradNs;
    state.held -= stage.holding.weightGrad;
    int64_t microbatch = stage.nextWeightGrad++;
    if (options.withActions)
      result.ranks[rank].push_back(
          {Phase::weight_grad, static_cast<int64_t>(index), microbatch});
  }

  bool shouldFill(size_t rank, int64_t arrivalNs) const {
    int64_t gapNs = arrivalNs - ranks[rank].nowNs;
    if (gapNs <= 0 || !hasWeightGrad(rank))
      return false;
    if (gapNs >= weightGradNs(rank) || options.policy == IdlePolicy::always)
      return true;
    return options.policy == IdlePolicy::catchesUp &&
           ranks[rank].idleNs + gapNs > longestIdleNs;
  }

  /// Executes the action, or returns the rank that it has to wait for.
  int64_t tryAction(size_t rank, size_t index) {
    if (givenUp)
      return -1;
    const Action &action = order.ranks[rank][index];
    StageState &stage = stages[static_cast<size_t>(action.stage)];
    RankState &state = ranks[rank];
    if (action.phase == Phase::weight_grad) {
      while (state.forwardsLeft > 0 &&
             stage.nextWeightGrad <= action.microbatch)
        runWeightGrad(rank);
      return -1;
    }
    bool forward = action.phase == Phase::forward;
    int64_t arrivalNs = 0;
    if (int64_t sender = forward ? stage.inputFrom : stage.gradientFrom;
        sender >= 0) {
      int64_t source = action.stage + (forward ? -1 : 1);
      arrivalNs = endNs[endOf(source, action.microbatch, forward)];
      if (arrivalNs == kNotYet)
        return sender;
      arrivalNs += forward ? stage.inputTransferNs : stage.gradientTransferNs;
    }
    if (forward && !options.limits.empty()) {
      while (state.held + stage.holding.saved > options.limits[rank] &&
             hasWeightGrad(rank))
        runWeightGrad(rank);
      givenUp =
          givenUp || state.held + stage.holding.saved > options.limits[rank];
    }
    while (shouldFill(rank, arrivalNs))
      runWeightGrad(rank);
    int64_t beginNs = std::max(state.nowNs, arrivalNs);
    if (!state.begun) {
      state.begun = true;
      state.firstNs = beginNs;
    } else {
      state.idleNs += beginNs - state.nowNs;
      longestIdleNs = std::max(longestIdleNs, state.idleNs);
    }
    givenUp = givenUp || beginNs + state.workNs > options.mostNs;
    int64_t lengthNs =
        forward ? stage.costs.forwardNs : stage.costs.inputGradNs;
    state.nowNs = beginNs + lengthNs;
    state.workNs -= lengthNs;
    endNs[endOf(action.stage, action.microbatch, forward)] = state.nowNs;
    if (options.withActions)
      result.ranks[rank].push_back(action);
    state.forwardsLeft -= forward ? 1 : 0;
    state.held += forward ? stage.holding.saved
                          : stage.holding.weightGrad - stage.holding.saved;
    if (!forward)
      state.weightGrads.push_back(static_cast<size_t>(action.stage));
    return -1;
  }

  const Schedule &order;
  const ScheduleProblem &problem;
  const WeightGradOptions &options;
  Schedule result;
  std::vector<StageState> stages;
  std::vector<RankState> ranks;
  std::vector<int64_t> endNs; ///< by stage, microbatch, direction
  int64_t longestIdleNs = 0;  ///< of any rank
  bool givenUp = false;
};

} // namespace

std::optional<Filled> insertWeightGrads(const Schedule &order,
                                        const Costs &costs,
                                        const WeightGradOptions &options) {
  return Inserter(order, costs, options).run();
}

} // namespace moe::schedule
