#include "compiler/Schedule/ListScheduling.h"

#include "compiler/Schedule/RankClock.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace moe::schedule {

namespace {

constexpr int64_t kNever = RankClock::kNever;

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
  Scheduler(const ListProblem &list, ListRules rules, int64_t mostNs)
      : list(list), problem(list.problem), rules(rules), mostNs(mostNs),
        order(static_cast<size_t>(problem.ranks)),
        stages(static_cast<size_t>(problem.stages())), ranks(order.size()),
        clock(ranks.size()) {
    auto count = static_cast<size_t>(problem.microbatches);
    for (int64_t stage = 0; stage < problem.stages(); ++stage) {
      StageState &state = stages[static_cast<size_t>(stage)];
      state.inputNs.assign(count, problem.isFirst(stage) ? 0 : kNever);
      state.gradientNs.assign(count, kNever);
      state.rank = static_cast<size_t>(problem.rankOf(stage));
      const StageTurns &turns = list.turns[static_cast<size_t>(stage)];
      state.forwardDue = turns.forward;
      state.backwardDue = turns.backward;
      state.limit = list.stageLimits[static_cast<size_t>(stage)];
      RankState &rank = ranks[state.rank];
      rank.stages.push_back(stage);
      const StageCosts &costs = costsOf(stage);
      rank.workNs += problem.microbatches *
                     (costs.forwardNs + costs.inputGradNs + costs.weightGradNs);
    }
    for (auto &entries : order)
      entries.reserve(3 * count * static_cast<size_t>(problem.stagesPerRank));
  }

  /// Nothing when it would take longer than `mostNs`.
  std::optional<Sequence> run() {
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      clock.set(rank, 0);
    while (clock.hasNext()) {
      size_t rank = clock.next();
      int64_t nowNs = clock[rank];
      clock.set(rank, kNever);
      if (nowNs + ranks[rank].workNs > mostNs)
        return std::nullopt;
      if (!decide(rank, nowNs))
        wake(rank, nextArrivalNs(rank, nowNs));
    }
    return std::move(order);
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
    int64_t forwardDue = 0, backwardDue = 0;  ///< of the next
    int64_t limit = 0;                        ///< of what is held
    int64_t held() const { return static_cast<int64_t>(forwards - backwards); }
  };
  struct WeightGrad {
    int64_t stage = 0, microbatch = 0;
  };
  struct RankState {
    std::vector<int64_t> stages;
    int64_t freeNs = 0, held = 0;
    int64_t workNs = 0; ///< of all that has not run
    std::vector<WeightGrad> weightGrads;
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

  /// What the rank could start.
  struct Candidate {
    int64_t stage = -1;
    bool forward = false;
    int64_t due = kNever;
  };

  /// The first in turn of what is possible by `untilNs`.
  Candidate choose(size_t rank, int64_t untilNs) {
    Candidate best;
    bool room = hasRoom(rank);
    for (int64_t stage : ranks[rank].stages) {
      const StageState &state = stageOf(stage);
      if (state.backwardDue < best.due && arrivalNs(stage, false) <= untilNs)
        best = {stage, false, state.backwardDue};
      if (state.forwardDue < best.due && room && state.held() < state.limit &&
          arrivalNs(stage, true) <= untilNs)
        best = {stage, true, state.forwardDue};
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

  /// Runs something, or not: false.
  bool decide(size_t rank, int64_t nowNs) {
    RankState &state = ranks[rank];
    Candidate best = choose(rank, nowNs);
    if (best.stage >= 0 && rules.patience > 0) {
      auto waitNs = static_cast<int64_t>(rules.patience *
                                         static_cast<double>(lengthNs(best)));
      Candidate later = choose(rank, nowNs + waitNs);
      if (later.due < best.due)
        return false;
    }
    if (hasWeightGrad(rank)) {
      const WeightGrad &next = state.weightGrads[state.nextWeightGrad];
      int64_t due = list.turns[static_cast<size_t>(next.stage)].weightGrad +
                    list.interval * next.microbatch;
      bool inTurn = rules.weightGrad == ListRules::WeightGrad::inTurn &&
                    due < best.due && hasForwards(rank);
      bool forced = best.stage >= 0 && best.forward &&
                    state.held >= list.rankLimits[rank];
      bool idle = best.stage < 0 &&
                  (rules.weightGrad != ListRules::WeightGrad::whenFits ||
                   fits(rank, nowNs));
      if (inTurn || forced || idle) {
        runWeightGrad(rank, nowNs);
        return true;
      }
    }
    if (best.stage < 0)
      return false;
    best.forward ? runForward(rank, best.stage, nowNs)
                 : runBackward(rank, best.stage, nowNs);
    return true;
  }

  /// Of the inputs known to come.
  int64_t nextArrivalNs(size_t rank, int64_t nowNs) {
    int64_t nextNs = kNever;
    for (int64_t stage : ranks[rank].stages)
      for (bool forward : {false, true})
        if (int64_t ns = arrivalNs(stage, forward); ns > nowNs)
          nextNs = std::min(nextNs, ns);
    return nextNs;
  }

  /// Whether the next weight gradient is done before an input comes.
  bool fits(size_t rank, int64_t nowNs) {
    const RankState &state = ranks[rank];
    int64_t stage = state.weightGrads[state.nextWeightGrad].stage;
    return nowNs + costsOf(stage).weightGradNs <= nextArrivalNs(rank, nowNs);
  }

  void wake(size_t rank, int64_t ns) {
    ns = std::max(ns, ranks[rank].freeNs);
    if (ns < clock[rank])
      clock.set(rank, ns);
  }

  void occupy(size_t rank, Entry entry, int64_t nowNs, int64_t lengthNs) {
    order[rank].push_back(entry);
    ranks[rank].freeNs = nowNs + lengthNs;
    ranks[rank].workNs -= lengthNs;
    clock.set(rank, nowNs + lengthNs);
  }

  void deliver(std::vector<int64_t> &times, int64_t microbatch, int64_t stage,
               size_t from, int64_t endNs) {
    size_t to = stageOf(stage).rank;
    int64_t ns = endNs + (to == from ? 0 : list.costs.transferNs);
    times[static_cast<size_t>(microbatch)] = ns;
    wake(to, ns);
  }

  void runForward(size_t rank, int64_t stage, int64_t nowNs) {
    auto microbatch = static_cast<int64_t>(stageOf(stage).forwards++);
    stageOf(stage).forwardDue += list.interval;
    int64_t lengthNs = costsOf(stage).forwardNs;
    ++ranks[rank].held;
    occupy(rank, {stage, Phase::forward}, nowNs, lengthNs);
    if (problem.isLast(stage))
      deliver(stageOf(stage).gradientNs, microbatch, stage, rank,
              nowNs + lengthNs);
    else
      deliver(stageOf(stage + 1).inputNs, microbatch, stage + 1, rank,
              nowNs + lengthNs);
  }

  void runBackward(size_t rank, int64_t stage, int64_t nowNs) {
    auto microbatch = static_cast<int64_t>(stageOf(stage).backwards++);
    stageOf(stage).backwardDue += list.interval;
    int64_t lengthNs = costsOf(stage).inputGradNs;
    occupy(rank, {stage, Phase::backward_input}, nowNs, lengthNs);
    ranks[rank].weightGrads.push_back({stage, microbatch});
    if (!problem.isFirst(stage))
      deliver(stageOf(stage - 1).gradientNs, microbatch, stage - 1, rank,
              nowNs + lengthNs);
  }

  void runWeightGrad(size_t rank, int64_t nowNs) {
    RankState &state = ranks[rank];
    int64_t stage = state.weightGrads[state.nextWeightGrad++].stage;
    --state.held;
    occupy(rank, {stage, Phase::weight_grad}, nowNs,
           costsOf(stage).weightGradNs);
  }

  const ListProblem &list;
  const ScheduleProblem &problem;
  ListRules rules;
  int64_t mostNs;
  Sequence order;
  std::vector<StageState> stages;
  std::vector<RankState> ranks;
  RankClock clock; ///< when a rank should look what it can do
};

} // namespace

std::vector<Sequence> listSchedules(const ListProblem &problem,
                                    int64_t &shortestNs) {
  std::vector<Sequence> orders;
  using enum ListRules::WeightGrad;
  for (ListRules::WeightGrad weightGrad : {whenIdle, whenFits, inTurn})
    for (double patience : {0.0, 0.25, 0.75}) {
      int64_t mostNs =
          shortestNs < kNever ? shortestNs + shortestNs / 20 : kNever;
      Scheduler scheduler(problem, {weightGrad, patience}, mostNs);
      std::optional<Sequence> order = scheduler.run();
      if (!order)
        continue;
      shortestNs = std::min(shortestNs, scheduler.makespanNs());
      orders.push_back(std::move(*order));
    }
  return orders;
}

} // namespace moe::schedule
