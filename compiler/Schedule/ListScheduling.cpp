#include "compiler/Schedule/ListScheduling.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <queue>
#include <tuple>

namespace moe::schedule {

namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// How a rank that is free chooses among what is possible.
struct ListRules {
  enum class WeightGrad : uint8_t {
    whenIdle, ///< when nothing else is possible
    whenFits, ///< that, and it is done before the next input known to come
    inTurn,   ///< as its place among the others says, while there are forwards
  } weightGrad = WeightGrad::whenIdle;
  /// Waits for an input that comes within this share of the time of what else
  /// it would start.
  double patience = 0;
};

class Scheduler {
public:
  Scheduler(std::string_view name, const ListProblem &list, ListRules rules,
            int64_t mostNs)
      : list(list), problem(list.problem), rules(rules), mostNs(mostNs),
        stages(static_cast<size_t>(problem.stages())),
        ranks(static_cast<size_t>(problem.ranks)) {
    result.name = name;
    result.problem = problem;
    result.ranks.resize(ranks.size());
    auto count = static_cast<size_t>(problem.microbatches);
    for (int64_t stage = 0; stage < problem.stages(); ++stage) {
      StageState &state = stages[static_cast<size_t>(stage)];
      state.inputNs.assign(count, problem.isFirst(stage) ? 0 : kNever);
      state.gradientNs.assign(count, kNever);
      state.rank = static_cast<size_t>(problem.rankOf(stage));
      RankState &rank = ranks[state.rank];
      rank.stages.push_back(stage);
      const StageCosts &costs = costsOf(stage);
      rank.workNs += problem.microbatches *
                     (costs.forwardNs + costs.inputGradNs + costs.weightGradNs);
    }
    for (auto &actions : result.ranks)
      actions.reserve(3 * count * static_cast<size_t>(problem.stagesPerRank));
  }

  /// Nothing when it would take longer than `mostNs`.
  std::optional<Schedule> run() {
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      events.push({0, rank});
    while (!events.empty()) {
      auto [nowNs, rank] = events.top();
      events.pop();
      if (ranks[rank].freeNs > nowNs)
        continue;
      if (nowNs + ranks[rank].workNs > mostNs)
        return std::nullopt;
      decide(rank, nowNs);
    }
    return std::move(result);
  }

  int64_t makespanNs() const {
    int64_t ns = 0;
    for (const RankState &rank : ranks)
      ns = std::max(ns, rank.freeNs);
    return ns;
  }

private:
  struct StageState {
    size_t rank = 0;
    std::vector<int64_t> inputNs, gradientNs; ///< arrival, by microbatch
    size_t forwards = 0, backwards = 0;       ///< done
    int64_t held() const { return static_cast<int64_t>(forwards - backwards); }
  };
  struct RankState {
    std::vector<int64_t> stages;
    int64_t freeNs = 0, held = 0;
    int64_t workNs = 0; ///< of all that has not run
    std::vector<Action> weightGrads;
    size_t nextWeightGrad = 0;
  };

  StageState &stageOf(int64_t stage) {
    return stages[static_cast<size_t>(stage)];
  }
  const StageCosts &costsOf(int64_t stage) const {
    return list.costs.stages[static_cast<size_t>(stage)];
  }

  /// When the stage's next forward or backward could begin, kNever if its input
  /// is not on the way.
  int64_t arrivalNs(int64_t stage, bool forward) {
    const StageState &state = stageOf(stage);
    size_t next = forward ? state.forwards : state.backwards;
    const auto &times = forward ? state.inputNs : state.gradientNs;
    return next < times.size() ? times[next] : kNever;
  }

  /// What the rank could start, and when.
  struct Candidate {
    int64_t stage = -1;
    bool forward = false;
    int64_t due = kNever, beginNs = kNever;
  };

  int64_t dueOf(int64_t stage, bool forward) {
    const StageTurns &turns = list.turns[static_cast<size_t>(stage)];
    const StageState &state = stageOf(stage);
    return forward ? turns.forward +
                         list.interval * static_cast<int64_t>(state.forwards)
                   : turns.backward +
                         list.interval * static_cast<int64_t>(state.backwards);
  }

  /// The first in turn of what is possible by `untilNs`.
  Candidate choose(size_t rank, int64_t untilNs) {
    Candidate best;
    for (int64_t stage : ranks[rank].stages)
      for (bool forward : {false, true}) {
        int64_t ns = arrivalNs(stage, forward);
        if (ns > untilNs ||
            (forward && (stageOf(stage).held() >=
                             list.stageLimits[static_cast<size_t>(stage)] ||
                         !hasRoom(rank))))
          continue;
        int64_t due = dueOf(stage, forward);
        if (due < best.due)
          best = {stage, forward, due, ns};
      }
    return best;
  }

  bool hasWeightGrad(size_t rank) const {
    return ranks[rank].nextWeightGrad < ranks[rank].weightGrads.size();
  }

  /// Whether the rank can hold another microbatch, when weight gradients that
  /// it can run are run first.
  bool hasRoom(size_t rank) const {
    const RankState &state = ranks[rank];
    auto pending =
        static_cast<int64_t>(state.weightGrads.size() - state.nextWeightGrad);
    return state.held - pending < list.rankLimits[rank];
  }

  int64_t lengthNs(const Candidate &candidate) const {
    const StageCosts &costs = costsOf(candidate.stage);
    return candidate.forward ? costs.forwardNs : costs.inputGradNs;
  }

  bool hasForwards(size_t rank) {
    for (int64_t stage : ranks[rank].stages)
      if (stageOf(stage).forwards < stageOf(stage).inputNs.size())
        return true;
    return false;
  }

  void decide(size_t rank, int64_t nowNs) {
    RankState &state = ranks[rank];
    Candidate best = choose(rank, nowNs);
    if (best.stage >= 0 && rules.patience > 0) {
      auto waitNs = static_cast<int64_t>(rules.patience *
                                         static_cast<double>(lengthNs(best)));
      Candidate later = choose(rank, nowNs + waitNs);
      if (later.due < best.due)
        return; // its arrival is an event
    }
    if (hasWeightGrad(rank)) {
      const Action &action = state.weightGrads[state.nextWeightGrad];
      int64_t due = list.turns[static_cast<size_t>(action.stage)].weightGrad +
                    list.interval * action.microbatch;
      bool inTurn = rules.weightGrad == ListRules::WeightGrad::inTurn &&
                    due < best.due && hasForwards(rank);
      bool forced = best.stage >= 0 && best.forward &&
                    state.held >= list.rankLimits[rank];
      bool idle = best.stage < 0 &&
                  (rules.weightGrad != ListRules::WeightGrad::whenFits ||
                   fits(rank, nowNs));
      if (inTurn || forced || idle)
        return runWeightGrad(rank, nowNs);
    }
    if (best.stage >= 0)
      best.forward ? runForward(rank, best.stage, nowNs)
                   : runBackward(rank, best.stage, nowNs);
  }

  /// Whether the next weight gradient is done before an input comes.
  bool fits(size_t rank, int64_t nowNs) {
    const RankState &state = ranks[rank];
    int64_t nextNs = kNever;
    for (int64_t stage : state.stages)
      for (bool forward : {false, true})
        if (int64_t ns = arrivalNs(stage, forward); ns > nowNs)
          nextNs = std::min(nextNs, ns);
    const Action &action = state.weightGrads[state.nextWeightGrad];
    return nowNs + costsOf(action.stage).weightGradNs <= nextNs;
  }

  void occupy(size_t rank, const Action &action, int64_t nowNs,
              int64_t lengthNs) {
    result.ranks[rank].push_back(action);
    ranks[rank].freeNs = nowNs + lengthNs;
    ranks[rank].workNs -= lengthNs;
    events.push({nowNs + lengthNs, rank});
  }

  void deliver(std::vector<int64_t> &times, int64_t microbatch, int64_t stage,
               size_t from, int64_t endNs) {
    size_t to = stageOf(stage).rank;
    int64_t ns = endNs + (to == from ? 0 : list.costs.transferNs);
    times[static_cast<size_t>(microbatch)] = ns;
    // A rank that is busy looks again when it is free.
    if (ns >= ranks[to].freeNs)
      events.push({ns, to});
  }

  void runForward(size_t rank, int64_t stage, int64_t nowNs) {
    auto microbatch = static_cast<int64_t>(stageOf(stage).forwards++);
    int64_t lengthNs = costsOf(stage).forwardNs;
    ++ranks[rank].held;
    occupy(rank, {Phase::forward, stage, microbatch}, nowNs, lengthNs);
    if (problem.isLast(stage))
      deliver(stageOf(stage).gradientNs, microbatch, stage, rank,
              nowNs + lengthNs);
    else
      deliver(stageOf(stage + 1).inputNs, microbatch, stage + 1, rank,
              nowNs + lengthNs);
  }

  void runBackward(size_t rank, int64_t stage, int64_t nowNs) {
    auto microbatch = static_cast<int64_t>(stageOf(stage).backwards++);
    int64_t lengthNs = costsOf(stage).inputGradNs;
    occupy(rank, {Phase::backward_input, stage, microbatch}, nowNs, lengthNs);
    ranks[rank].weightGrads.push_back({Phase::weight_grad, stage, microbatch});
    if (!problem.isFirst(stage))
      deliver(stageOf(stage - 1).gradientNs, microbatch, stage - 1, rank,
              nowNs + lengthNs);
  }

  void runWeightGrad(size_t rank, int64_t nowNs) {
    RankState &state = ranks[rank];
    Action action = state.weightGrads[state.nextWeightGrad++];
    --state.held;
    occupy(rank, action, nowNs, costsOf(action.stage).weightGradNs);
  }

  const ListProblem &list;
  const ScheduleProblem &problem;
  ListRules rules;
  int64_t mostNs;
  Schedule result;
  std::vector<StageState> stages;
  std::vector<RankState> ranks;
  /// When a rank should look what it can do: time, rank.
  using Event = std::pair<int64_t, size_t>;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
};

} // namespace

std::vector<Schedule> listSchedules(std::string_view name,
                                    const ListProblem &problem,
                                    int64_t &shortestNs) {
  std::vector<Schedule> schedules;
  using enum ListRules::WeightGrad;
  for (ListRules::WeightGrad weightGrad : {whenIdle, whenFits, inTurn})
    for (double patience : {0.0, 0.25, 0.75}) {
      int64_t mostNs =
          shortestNs < kNever ? shortestNs + shortestNs / 20 : kNever;
      Scheduler scheduler(name, problem, {weightGrad, patience}, mostNs);
      std::optional<Schedule> schedule = scheduler.run();
      if (!schedule)
        continue;
      shortestNs = std::min(shortestNs, scheduler.makespanNs());
      schedules.push_back(std::move(*schedule));
    }
  return schedules;
}

} // namespace moe::schedule
