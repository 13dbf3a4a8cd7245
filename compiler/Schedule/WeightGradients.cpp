#include "compiler/Schedule/WeightGradients.h"

#include <algorithm>

namespace moe::schedule {

WeightGradFiller::WeightGradFiller(const ScheduleProblem &problem,
                                   const Costs &costs,
                                   std::vector<ActionHolding> holdings,
                                   std::vector<int64_t> limits)
    : problem(problem), limits(std::move(limits)),
      ranks(static_cast<size_t>(problem.ranks)),
      passes(static_cast<size_t>(2 * problem.stages() * problem.microbatches)),
      done(ranks.size()) {
  int64_t perStage = problem.microbatches / problem.replicas();
  for (int64_t s = 0; s < problem.stages(); ++s) {
    Stage stage;
    stage.costs = costs.stages[static_cast<size_t>(s)];
    stage.holding = holdings[static_cast<size_t>(s)];
    stage.rank = problem.rankOf(s);
    if (!problem.isFirst(s)) {
      stage.inputFrom = problem.rankOf(s - 1);
      stage.inputTransferNs =
          stage.inputFrom == stage.rank ? 0 : costs.transferNs;
    }
    if (!problem.isLast(s)) {
      stage.gradientFrom = problem.rankOf(s + 1);
      stage.gradientTransferNs =
          stage.gradientFrom == stage.rank ? 0 : costs.transferNs;
    }
    stage.firstMicrobatch = s / problem.stagesPerReplica() * perStage;
    Rank &rank = ranks[static_cast<size_t>(stage.rank)];
    rank.forwards += perStage;
    rank.allNs += perStage * (stage.costs.forwardNs + stage.costs.inputGradNs +
                              stage.costs.weightGradNs);
    stages.push_back(stage);
  }
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    auto count = static_cast<size_t>(ranks[rank].forwards);
    ranks[rank].weightGrads.reserve(count);
    done[rank].reserve(3 * count);
  }
}

bool WeightGradFiller::run(const Sequence &given, const FillRules &fillRules) {
  order = &given;
  rules = fillRules;
  longestIdleNs = lastNs = longestNs = most = 0;
  overfull = false;
  for (Stage &stage : stages)
    stage.nextForward = stage.nextBackward = stage.nextWeightGrad =
        stage.listedWeightGrad = stage.firstMicrobatch;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    Rank &state = ranks[rank];
    state.firstNs = -1;
    state.nowNs = state.idleNs = state.held = 0;
    state.forwardsLeft = state.forwards;
    state.workNs = state.allNs;
    state.weightGrads.clear();
    state.next = 0;
    done[rank].clear();
  }
  bool ended = progress.run(
      ranks.size(), [&](size_t rank) { return given[rank].size(); },
      [&](size_t rank, size_t place) { return tryEntry(rank, place); });
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    Rank &state = ranks[rank];
    while (ended && state.pending() > 0)
      runWeightGrad(rank);
    effortSoFar += static_cast<int64_t>(done[rank].size());
    lastNs = std::max(lastNs, state.nowNs);
    if (state.firstNs >= 0)
      longestNs = std::max(longestNs, state.nowNs - state.firstNs);
  }
  return ended && !overfull && lastNs <= rules.mostNs;
}

void WeightGradFiller::hold(size_t rank, int64_t bytes) {
  most = std::max(most, bytes);
  overfull = overfull || (!limits.empty() && bytes > limits[rank]);
}

void WeightGradFiller::runWeightGrad(size_t rank) {
  Rank &state = ranks[rank];
  uint32_t index = state.weightGrads[state.next++];
  Stage &stage = stages[index];
  int64_t beginNs = state.nowNs;
  state.nowNs += stage.costs.weightGradNs;
  state.workNs -= stage.costs.weightGradNs;
  hold(rank, state.held + stage.holding.backwardTransient);
  state.held -= stage.holding.weightGrad;
  done[rank].push_back({{index, Phase::weight_grad},
                        static_cast<uint32_t>(stage.nextWeightGrad++),
                        0,
                        beginNs,
                        state.nowNs});
}

bool WeightGradFiller::shouldFill(const Rank &rank, int64_t arrivalNs) const {
  int64_t gapNs = arrivalNs - rank.nowNs;
  if (gapNs <= 0 || rank.pending() == 0)
    return false;
  int64_t lengthNs = stages[rank.weightGrads[rank.next]].costs.weightGradNs;
  auto lateNs =
      static_cast<int64_t>(rules.overrun * static_cast<double>(lengthNs));
  if (gapNs + lateNs >= lengthNs)
    return true;
  return rules.catchesUp && rank.idleNs + gapNs > longestIdleNs;
}

/// Executes what the order lists, or returns the rank that it has to wait for.
int64_t WeightGradFiller::tryEntry(size_t rank, size_t place) {
  Entry entry = (*order)[rank][place];
  Stage &stage = stages[entry.stage()];
  Rank &state = ranks[rank];
  if (entry.phase() == Phase::weight_grad) {
    // Listed in the order of microbatches: the next that has not run.
    int64_t microbatch = stage.listedWeightGrad++;
    while (state.forwardsLeft > 0 && state.pending() > 0 &&
           stage.nextWeightGrad <= microbatch)
      runWeightGrad(rank);
    return Progress::kDone;
  }
  bool forward = entry.phase() == Phase::forward;
  int64_t microbatch = forward ? stage.nextForward : stage.nextBackward;
  // A rank that waits for itself gets stuck.
  int64_t arrivalNs = 0, own = stage.rank;
  if (forward ? stage.inputFrom >= 0 : stage.gradientFrom >= 0) {
    size_t source = entry.stage() + (forward ? -1 : 1);
    const Stage &from = stages[source];
    if ((forward ? from.nextForward : from.nextBackward) <= microbatch)
      return from.rank;
    arrivalNs = passes[passOf(source, microbatch, forward)].endNs +
                (forward ? stage.inputTransferNs : stage.gradientTransferNs);
  } else if (!forward && stage.nextForward <= microbatch) {
    return own;
  }
  if (!forward && rules.keepsToBuffers && stage.inputFrom >= 0) {
    int64_t earlier = microbatch - kGradientBuffers;
    const Stage &before = stages[entry.stage() - 1];
    if (before.nextBackward <= earlier)
      return before.rank;
    if (earlier >= stage.firstMicrobatch)
      arrivalNs = std::max(
          arrivalNs, passes[passOf(entry.stage() - 1, earlier, false)].beginNs);
  }
  int64_t needed = forward
                       ? stage.holding.saved + stage.holding.forwardTransient
                       : stage.holding.backwardTransient;
  if (!limits.empty() && needed > 0) {
    while (state.held + needed > limits[rank] && state.pending() > 0)
      runWeightGrad(rank);
    if (state.held + needed > limits[rank])
      return Progress::kStop;
  }
  while (state.pending() > rules.mostPending || shouldFill(state, arrivalNs))
    runWeightGrad(rank);
  int64_t beginNs = std::max(state.nowNs, arrivalNs);
  if (state.firstNs < 0) {
    state.firstNs = beginNs;
  } else {
    state.idleNs += beginNs - state.nowNs;
    longestIdleNs = std::max(longestIdleNs, state.idleNs);
  }
  if (overfull || beginNs + state.workNs > rules.mostNs)
    return Progress::kStop;
  int64_t lengthNs = forward ? stage.costs.forwardNs : stage.costs.inputGradNs;
  state.nowNs = beginNs + lengthNs;
  state.workNs -= lengthNs;
  passes[passOf(entry.stage(), microbatch, forward)] = {beginNs, state.nowNs,
                                                        done[rank].size()};
  done[rank].push_back({entry, static_cast<uint32_t>(microbatch),
                        static_cast<uint32_t>(place), beginNs, state.nowNs});
  if (forward) {
    ++stage.nextForward;
    --state.forwardsLeft;
    hold(rank, state.held + needed);
    state.held += stage.holding.saved;
  } else {
    ++stage.nextBackward;
    hold(rank, state.held + needed);
    state.held += stage.holding.weightGrad - stage.holding.saved;
    state.weightGrads.push_back(static_cast<uint32_t>(entry.stage()));
  }
  return Progress::kDone;
}

std::vector<std::vector<Action>> WeightGradFiller::actions() const {
  std::vector<std::vector<Action>> result(done.size());
  for (size_t rank = 0; rank < done.size(); ++rank) {
    result[rank].reserve(done[rank].size());
    for (const ActionRun &run : done[rank])
      result[rank].push_back({run.entry.phase(),
                              static_cast<int64_t>(run.entry.stage()),
                              run.microbatch});
  }
  return result;
}

std::pair<size_t, size_t> WeightGradFiller::sourceOf(size_t rank,
                                                     size_t index) const {
  const ActionRun &run = done[rank][index];
  size_t source = run.entry.stage();
  const Stage &stage = stages[source];
  bool forward = run.entry.phase() == Phase::forward;
  if (run.entry.phase() == Phase::weight_grad ||
      (forward ? stage.inputFrom < 0 : stage.gradientFrom < 0))
    return {rank, index};
  source += forward ? -1 : 1;
  return {static_cast<size_t>(stages[source].rank),
          passes[passOf(source, run.microbatch, forward)].place};
}

} // namespace moe::schedule
