#include "compiler/Schedule/Evaluate.h"

#include "compiler/Schedule/Progress.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace moe::schedule {

Status Costs::check(const ScheduleProblem &problem) const {
  auto fail = [](const std::string &what) -> Status {
    return Error{"schedule costs: " + what};
  };
  if (static_cast<int64_t>(stages.size()) != problem.stages())
    return fail("given for " + std::to_string(stages.size()) +
                " stages, the schedule has " +
                std::to_string(problem.stages()));
  if (!limitBytes.empty() &&
      static_cast<int64_t>(limitBytes.size()) != problem.ranks)
    return fail("limits are given for " + std::to_string(limitBytes.size()) +
                " ranks, the schedule has " + std::to_string(problem.ranks));
  // The longest chain visits every action and a transfer between any two.
  double totalNs = 0, totalBytes = 0;
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageCosts &stage = stages[i];
    if (std::min({stage.forwardNs, stage.inputGradNs, stage.weightGradNs,
                  stage.savedBytes, stage.weightGradBytes,
                  stage.forwardTransientBytes, stage.backwardTransientBytes}) <
        0)
      return fail("of stage " + std::to_string(i) + " are negative");
    if (stage.weightGradBytes > stage.savedBytes)
      return fail("stage " + std::to_string(i) +
                  " holds more for its weight gradient than it saved");
    totalNs += static_cast<double>(stage.forwardNs) +
               static_cast<double>(stage.inputGradNs) +
               static_cast<double>(stage.weightGradNs) +
               3.0 * static_cast<double>(transferNs);
    totalBytes += static_cast<double>(stage.savedBytes) +
                  static_cast<double>(stage.forwardTransientBytes) +
                  static_cast<double>(stage.backwardTransientBytes);
  }
  if (transferNs < 0)
    return fail("the transfer time is negative");
  for (const OverlapCost &overlap : overlaps) {
    if (overlap.forwardStage < 0 || overlap.forwardStage >= problem.stages() ||
        overlap.backwardStage < 0 || overlap.backwardStage >= problem.stages())
      return fail("an overlap names a stage that does not exist");
    if (overlap.ns < 0)
      return fail("an overlap takes negative time");
    totalNs += static_cast<double>(overlap.ns);
  }
  auto times = static_cast<double>(problem.microbatches);
  if (totalNs * times > 0x1p61 || totalBytes * times > 0x1p61)
    return fail("their sum over all microbatches does not fit 62 bits");
  return {};
}

int64_t Costs::actionNs(const Action &action) const {
  const StageCosts &stage = stages[static_cast<size_t>(action.stage)];
  switch (action.phase) {
  case Phase::forward:
    return stage.forwardNs;
  case Phase::backward:
    return stage.inputGradNs + stage.weightGradNs;
  case Phase::backward_input:
    return stage.inputGradNs;
  case Phase::weight_grad:
    return stage.weightGradNs;
  }
  return 0;
}

int64_t Costs::pairNs(int64_t forwardStage, int64_t backwardStage,
                      bool isWhole) const {
  const std::pair stagesOfPair(forwardStage, backwardStage);
  auto known = std::lower_bound(
      overlaps.begin(), overlaps.end(), stagesOfPair,
      [](const OverlapCost &overlap, const std::pair<int64_t, int64_t> &key) {
        return std::pair(overlap.forwardStage, overlap.backwardStage) < key;
      });
  if (known != overlaps.end() &&
      std::pair(known->forwardStage, known->backwardStage) == stagesOfPair)
    return known->ns;
  const StageCosts &forward = stages[static_cast<size_t>(forwardStage)];
  const StageCosts &backward = stages[static_cast<size_t>(backwardStage)];
  return forward.forwardNs + backward.inputGradNs +
         (isWhole ? backward.weightGradNs : 0);
}

Costs Costs::uniform(const ScheduleProblem &problem, int64_t forwardNs,
                     int64_t inputGradNs, int64_t weightGradNs,
                     int64_t transferNs) {
  // A rank holds its share of the model in every copy; each microbatch passes
  // through one.
  int64_t parts = problem.stagesPerReplica() / problem.ranks;
  auto share = [&](int64_t whole) { return (whole + parts - 1) / parts; };
  StageCosts stage{share(forwardNs), share(inputGradNs), share(weightGradNs),
                   share(1000), share(1000)};
  Costs costs;
  costs.stages.assign(static_cast<size_t>(problem.stages()), stage);
  costs.transferNs = transferNs;
  return costs;
}

namespace {

constexpr int64_t kNotYet = -1;

class Evaluator {
public:
  Evaluator(const Schedule &schedule, const Costs &costs,
            const Transfers *transfers)
      : schedule(schedule), problem(schedule.problem), costs(costs),
        transfers(transfers) {}

  Result<Evaluation> run() {
    MOE_RETURN_IF_ERROR(problem.check());
    MOE_RETURN_IF_ERROR(costs.check(problem));
    MOE_RETURN_IF_ERROR(checkActions());
    auto instances =
        static_cast<size_t>(problem.stages() * problem.microbatches);
    forwardEndNs.assign(instances, kNotYet);
    backwardEndNs.assign(instances, kNotYet);
    std::vector<size_t> counts;
    for (const auto &actions : schedule.ranks) {
      counts.push_back(actions.size());
      result.ranks.emplace_back().times.resize(actions.size());
    }
    freeNs.assign(schedule.ranks.size(), 0);
    executed.assign(schedule.ranks.size(), 0);
    Status status = runToEnd(
        counts,
        [&](size_t rank, size_t index) { return tryAction(rank, index); },
        [&](size_t rank, size_t index) {
          const Action &action = schedule.ranks[rank][index];
          return std::string(name(action.phase)) + " of stage " +
                 std::to_string(action.stage) + ", microbatch " +
                 std::to_string(action.microbatch);
        });
    if (!status)
      return Error{"schedule: " + status.error().message};
    addUp();
    return std::move(result);
  }

private:
  Status checkActions() const {
    if (schedule.ranks.size() != static_cast<size_t>(problem.ranks))
      return Error{"schedule: has " + std::to_string(schedule.ranks.size()) +
                   " ranks, the problem " + std::to_string(problem.ranks)};
    for (const auto &actions : schedule.ranks)
      for (size_t i = 0; i < actions.size(); ++i) {
        const Action &action = actions[i];
        if (action.stage < 0 || action.stage >= problem.stages() ||
            action.microbatch < 0 || action.microbatch >= problem.microbatches)
          return Error{"schedule: an action names a stage or microbatch that "
                       "does not exist"};
        if (action.overlapsNext &&
            (i + 1 == actions.size() || actions[i + 1].overlapsNext))
          return Error{"schedule: an action overlaps no other"};
      }
    return {};
  }

  size_t instance(int64_t stage, int64_t microbatch) const {
    return static_cast<size_t>(stage * problem.microbatches + microbatch);
  }

  /// When the input of an action is on its rank; kNotYet when what makes it has
  /// not run, on rank `blocker`.
  int64_t inputNs(size_t rank, size_t index, int64_t &blocker) const {
    const Action &action = schedule.ranks[rank][index];
    int64_t source = action.stage;
    const std::vector<int64_t> *ends = &forwardEndNs;
    if (action.phase == Phase::forward) {
      if (problem.isFirst(action.stage))
        return 0;
      --source;
    } else if (action.phase == Phase::weight_grad) {
      return 0;
    } else if (!problem.isLast(action.stage)) {
      ++source;
      ends = &backwardEndNs;
    }
    int64_t endNs = (*ends)[instance(source, action.microbatch)];
    blocker = problem.rankOf(source);
    if (endNs == kNotYet)
      return kNotYet;
    if (blocker == problem.rankOf(action.stage))
      return endNs;
    return std::max(endNs, postedNs({rank, index})) + costs.transferNs;
  }

  /// When the receive of an action's input is posted, kNotYet before that.
  int64_t postedNs(ActionPlace action) const {
    if (!transfers)
      return 0;
    const size_t ended = (*transfers)[action.rank][action.index].postedBehind;
    if (ended == 0)
      return 0;
    return ended <= executed[action.rank]
               ? result.ranks[action.rank].times[ended - 1].endNs
               : kNotYet;
  }

  /// When the message has arrived for which an action waits; kNotYet when its
  /// receive is not posted, on rank `blocker`.
  int64_t awaitedNs(size_t rank, size_t index, int64_t &blocker) const {
    const std::optional<ActionPlace> awaited =
        transfers ? (*transfers)[rank][index].awaited : std::nullopt;
    if (!awaited || awaited->rank == rank)
      return 0;
    const int64_t posted = postedNs(*awaited);
    blocker = static_cast<int64_t>(awaited->rank);
    if (posted == kNotYet)
      return kNotYet;
    int64_t maker = -1;
    return inputNs(awaited->rank, awaited->index, maker);
  }

  /// When all is there that an action waits for but its rank.
  int64_t readyNs(size_t rank, size_t index, int64_t &blocker) const {
    const int64_t input = inputNs(rank, index, blocker);
    if (input == kNotYet)
      return kNotYet;
    const int64_t awaited = awaitedNs(rank, index, blocker);
    return awaited == kNotYet ? kNotYet : std::max(input, awaited);
  }

  void finish(const Action &action, int64_t endNs) {
    if (action.phase == Phase::weight_grad)
      return;
    auto &ends = action.phase == Phase::forward ? forwardEndNs : backwardEndNs;
    ends[instance(action.stage, action.microbatch)] = endNs;
  }

  /// Executes the action, or returns the rank that it has to wait for. The
  /// first of an overlapping pair executes both.
  int64_t tryAction(size_t rank, size_t index) {
    const auto &actions = schedule.ranks[rank];
    if (index > 0 && actions[index - 1].overlapsNext)
      return -1;
    const Action &action = actions[index];
    int64_t blocker = -1;
    int64_t beginNs = readyNs(rank, index, blocker);
    if (beginNs == kNotYet)
      return blocker;
    int64_t lengthNs = costs.actionNs(action);
    if (action.overlapsNext) {
      int64_t secondNs = readyNs(rank, index + 1, blocker);
      if (secondNs == kNotYet)
        return blocker;
      beginNs = std::max(beginNs, secondNs);
      lengthNs = costs.pairNs(action.stage, actions[index + 1].stage,
                              actions[index + 1].phase == Phase::backward);
    }
    beginNs = std::max(beginNs, freeNs[rank]);
    int64_t endNs = beginNs + lengthNs;
    for (size_t i = index; i <= index + (action.overlapsNext ? 1 : 0); ++i) {
      finish(actions[i], endNs);
      result.ranks[rank].times[i] = {beginNs, endNs};
      executed[rank] = i + 1;
    }
    result.ranks[rank].busyNs += lengthNs;
    freeNs[rank] = endNs;
    return -1;
  }

  void addUp() {
    int64_t busiestNs = 0, longestNs = 0;
    for (size_t rank = 0; rank < result.ranks.size(); ++rank) {
      RankEvaluation &evaluation = result.ranks[rank];
      evaluation.peakBytes = peakBytes(schedule.ranks[rank]);
      result.peakBytes = std::max(result.peakBytes, evaluation.peakBytes);
      busiestNs = std::max(busiestNs, evaluation.busyNs);
      if (evaluation.times.empty())
        continue;
      int64_t endNs = evaluation.times.back().endNs;
      result.makespanNs = std::max(result.makespanNs, endNs);
      longestNs = std::max(longestNs, endNs - evaluation.times.front().beginNs);
    }
    auto bubble = [&](int64_t ns) {
      return ns > 0
                 ? 1 - static_cast<double>(busiestNs) / static_cast<double>(ns)
                 : 0.0;
    };
    result.bubble = bubble(result.makespanNs);
    result.spanBubble = bubble(longestNs);
  }

  int64_t peakBytes(const std::vector<Action> &actions) const {
    int64_t held = 0, peak = 0;
    // Of an overlap: freed when both are done, held while both run.
    int64_t freedByFirst = 0, transient = 0;
    for (const Action &action : actions) {
      const StageCosts &stage = costs.stages[static_cast<size_t>(action.stage)];
      int64_t freed = 0;
      switch (action.phase) {
      case Phase::forward:
        held += stage.savedBytes;
        break;
      case Phase::backward:
        freed = stage.savedBytes;
        break;
      case Phase::backward_input:
        freed = stage.savedBytes - stage.weightGradBytes;
        break;
      case Phase::weight_grad:
        freed = stage.weightGradBytes;
        break;
      }
      transient += action.phase == Phase::forward
                       ? stage.forwardTransientBytes
                       : stage.backwardTransientBytes;
      peak = std::max(peak, held + transient);
      freedByFirst += freed;
      if (action.overlapsNext)
        continue;
      held -= freedByFirst;
      freedByFirst = transient = 0;
    }
    return peak;
  }

  const Schedule &schedule;
  const ScheduleProblem &problem;
  const Costs &costs;
  const Transfers *transfers;
  std::vector<size_t> executed; ///< actions of each rank
  Evaluation result;
  std::vector<int64_t> forwardEndNs, backwardEndNs; ///< by stage, microbatch
  std::vector<int64_t> freeNs;                      ///< by rank
};

} // namespace

Transfers transfersOf(const Schedule &schedule, const StepSchedule &steps) {
  // What messages go to: by stage, microbatch, and whether it goes forward.
  using Message = std::tuple<int64_t, int64_t, bool>;
  std::map<Message, ActionPlace> takers;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
    for (size_t i = 0; i < schedule.ranks[rank].size(); ++i)
      if (const Action &action = schedule.ranks[rank][i];
          action.phase != Phase::weight_grad)
        takers[{action.stage, action.microbatch,
                action.phase == Phase::forward}] = {rank, i};
  Transfers transfers;
  for (const auto &actions : schedule.ranks)
    transfers.emplace_back(actions.size());
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    size_t next = 0;              // action
    std::vector<Message> awaited; // before it
    for (const Step &step : steps.ranks[rank]) {
      const bool isForward = step.phase == Phase::forward;
      if (step.kind == plan::StepKind::receive) {
        const ActionPlace taker =
            takers.at({step.stage, step.microbatch, isForward});
        transfers[taker.rank][taker.index].postedBehind = next;
      } else if (step.kind == plan::StepKind::wait_send) {
        awaited.push_back(
            {step.stage + (isForward ? 1 : -1), step.microbatch, isForward});
      } else if (plan::isExecution(step.kind)) {
        const size_t end =
            next + (step.kind == plan::StepKind::overlap ? 2 : 1);
        // One for each of a pair, which begin together.
        for (size_t i = 0; i < awaited.size() && next + i < end; ++i)
          transfers[rank][next + i].awaited = takers.at(awaited[i]);
        awaited.clear();
        next = end;
      }
    }
  }
  return transfers;
}

Result<Evaluation> evaluate(const Schedule &schedule, const Costs &costs,
                            const Transfers *transfers) {
  return Evaluator(schedule, costs, transfers).run();
}

Status withinLimits(const Evaluation &evaluation, const Costs &costs) {
  for (size_t rank = 0; rank < costs.limitBytes.size(); ++rank) {
    int64_t peak = evaluation.ranks[rank].peakBytes;
    if (peak > costs.limitBytes[rank])
      return Error{"schedule: rank " + std::to_string(rank) + " holds " +
                   std::to_string(peak) + " bytes at once, " +
                   std::to_string(peak - costs.limitBytes[rank]) +
                   " more than its limit"};
  }
  return {};
}

} // namespace moe::schedule
