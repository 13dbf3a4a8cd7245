// Zero bubble schedules with one stage a rank (arXiv 2401.10241).
#include "compiler/Schedule/GeneratorSupport.h"

#include <algorithm>
#include <utility>

namespace moe::schedule {

namespace {

/// On every rank `warmUp` forwards, then forwards and input gradients in turn;
/// the weight gradients begin after `delay` pairs and go on one a pair.
Schedule handcrafted(std::string_view name, const ScheduleProblem &problem,
                     int64_t inFlightPerLaterRank) {
  Schedule schedule = emptySchedule(name, problem);
  int64_t count = problem.microbatches;
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    actions.reserve(static_cast<size_t>(3 * count));
    int64_t warmUp =
        std::min(count, inFlightPerLaterRank * (problem.ranks - rank - 1));
    int64_t delay = inFlightPerLaterRank * rank;
    for (int64_t m = 0; m < warmUp; ++m)
      actions.push_back({Phase::forward, rank, m});
    int64_t weights = 0;
    for (int64_t m = 0; m < count; ++m) {
      if (warmUp + m < count)
        actions.push_back({Phase::forward, rank, warmUp + m});
      actions.push_back({Phase::backward_input, rank, m});
      if (m >= delay)
        actions.push_back({Phase::weight_grad, rank, weights++});
    }
    while (weights < count)
      actions.push_back({Phase::weight_grad, rank, weights++});
  }
  return schedule;
}

/// How many forwards each rank runs before its first input gradient: as many as
/// fit into the wait for it and into memory (`most`, by rank), with `extra` one
/// more; always one more than the next rank where memory allows.
std::vector<int64_t> warmUps(const ScheduleProblem &problem, const Costs &costs,
                             const std::vector<int64_t> &most, bool extra) {
  auto ranks = static_cast<size_t>(problem.ranks);
  // When each forward ends if ranks run nothing else.
  std::vector<std::vector<int64_t>> endNs(ranks);
  for (size_t rank = 0; rank < ranks; ++rank)
    for (int64_t m = 0; m < most[rank]; ++m) {
      int64_t beginNs = m > 0 ? endNs[rank].back() : 0;
      if (rank > 0) {
        // A rank that holds less than the one after it keeps it waiting.
        auto before = static_cast<size_t>(std::min(m, most[rank - 1] - 1));
        beginNs = std::max(beginNs, endNs[rank - 1][before] + costs.transferNs);
      }
      endNs[rank].push_back(beginNs + costs.stages[rank].forwardNs);
    }
  std::vector<int64_t> counts(ranks, 1);
  int64_t arrivalNs = endNs[ranks - 1][0];
  for (size_t i = 0; i < ranks; ++i) {
    size_t rank = ranks - 1 - i;
    int64_t &count = counts[rank];
    if (i > 0)
      count = std::min(counts[rank + 1] + 1, most[rank]);
    while (count < most[rank] &&
           endNs[rank][static_cast<size_t>(count)] <= arrivalNs)
      ++count;
    if (extra && i > 0)
      count = std::min(count + 1, most[rank]);
    int64_t beginNs =
        std::max(arrivalNs, endNs[rank][static_cast<size_t>(count - 1)]);
    arrivalNs = beginNs + costs.stages[rank].inputGradNs + costs.transferNs;
  }
  for (size_t rank = 1; rank < ranks; ++rank)
    counts[rank] =
        std::max<int64_t>(1, std::min(counts[rank], counts[rank - 1] - 1));
  return counts;
}

/// The cost-driven heuristic under a limit of `units` microbatches.
Result<Schedule> fromCosts(std::string_view name,
                           const ScheduleProblem &problem,
                           const GeneratorOptions &options, int64_t units) {
  MOE_RETURN_IF_ERROR(checkShape(name, problem, Placement::loop, 1));
  Result<Costs> costs = costsOf(problem, options);
  if (!costs)
    return costs.error();
  Room room;
  std::vector<int64_t> most;
  for (size_t rank = 0; rank < costs->stages.size(); ++rank) {
    const StageCosts &stage = costs->stages[rank];
    room.holdings.push_back({stage.savedBytes, stage.weightGradBytes,
                             stage.forwardTransientBytes,
                             stage.backwardTransientBytes});
    int64_t limit = units * stage.savedBytes;
    if (!costs->limitBytes.empty())
      limit = std::min(limit, costs->limitBytes[rank] - stage.transientBytes());
    if (limit < stage.savedBytes)
      return Error{"schedule " + std::string(name) + " needs " +
                   std::to_string(stage.savedBytes) +
                   " bytes for one microbatch on rank " + std::to_string(rank) +
                   ", whose limit is " + std::to_string(limit)};
    room.limits.push_back(limit + stage.transientBytes());
    most.push_back(std::min(problem.microbatches, stage.savedBytes > 0
                                                      ? limit / stage.savedBytes
                                                      : problem.microbatches));
  }
  std::vector<Sequence> orders;
  for (bool extra : {false, true}) {
    std::vector<int64_t> counts = warmUps(problem, *costs, most, extra);
    Sequence &order = orders.emplace_back(counts.size());
    for (size_t rank = 0; rank < counts.size(); ++rank) {
      Entry forward(static_cast<int64_t>(rank), Phase::forward);
      Entry backward(static_cast<int64_t>(rank), Phase::backward_input);
      auto &entries = order[rank];
      entries.assign(static_cast<size_t>(counts[rank]), forward);
      for (int64_t m = 0; m < problem.microbatches; ++m) {
        entries.push_back(backward);
        if (counts[rank] + m < problem.microbatches)
          entries.push_back(forward);
      }
    }
  }
  // What the paper minimizes: the time of the longest stage.
  return fillWithWeightGrads(name, problem, orders, *costs, std::move(room),
                             Aim::span, options.mostPending);
}

} // namespace

Result<Schedule> zeroBubbleH1(const ScheduleProblem &problem,
                              const GeneratorOptions &) {
  MOE_RETURN_IF_ERROR(checkShape("zb-h1", problem, Placement::loop, 1));
  return handcrafted("zb-h1", problem, 1);
}

Result<Schedule> zeroBubbleH2(const ScheduleProblem &problem,
                              const GeneratorOptions &) {
  MOE_RETURN_IF_ERROR(checkShape("zb-h2", problem, Placement::loop, 1));
  return handcrafted("zb-h2", problem, 2);
}

Result<Schedule> zeroBubble1p(const ScheduleProblem &problem,
                              const GeneratorOptions &options) {
  return fromCosts("zb-1p", problem, options, problem.ranks);
}

Result<Schedule> zeroBubble2p(const ScheduleProblem &problem,
                              const GeneratorOptions &options) {
  return fromCosts("zb-2p", problem, options, 2 * problem.ranks);
}

} // namespace moe::schedule
