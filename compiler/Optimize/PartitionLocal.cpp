#include "compiler/Optimize/PartitionCosts.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <utility>

namespace moe::optimize {

namespace {

/// What a cut comes to; where that is no less than the second argument,
/// something in between may be the answer.
using Measure =
    std::function<CutValue(const std::vector<int64_t> &, const CutValue &)>;

constexpr CutValue kWorst = {.mostExcess = std::numeric_limits<int64_t>::max()};

/// Beyond this many, to look further takes longer than it is worth.
constexpr int64_t kFewStages = 8, kFewNodes = 2000;

/// Runs of a stage with a microbatch, in all the steps that are timed.
constexpr int64_t kMostTimedRuns = 1'000'000;

class LocalSearch {
public:
  LocalSearch(const PartitionProblem &problem, Measure measure)
      : problem(problem), measure(std::move(measure)) {}

  /// Goes to a better neighbour as long as there is one.
  std::vector<int64_t> descend(std::vector<int64_t> counts) const {
    CutValue value = measure(counts, kWorst);
    while (true) {
      bool isBetter = false;
      for (std::vector<int64_t> &moved : neighbours(counts)) {
        CutValue other = measure(moved, value);
        if (!(other < value))
          continue;
        value = other;
        counts = std::move(moved);
        isBetter = true;
      }
      if (!isBetter)
        return counts;
    }
  }

  /// Goes on from every neighbour of where that ends, as long as that helps.
  std::vector<int64_t> search(const std::vector<int64_t> &start) const {
    std::vector<int64_t> counts = descend(start);
    while (std::ssize(counts) <= kFewStages) {
      std::vector<int64_t> best = counts;
      for (const std::vector<int64_t> &moved : neighbours(counts)) {
        std::vector<int64_t> found = descend(moved);
        const CutValue value = measure(best, kWorst);
        if (measure(found, value) < value)
          best = std::move(found);
      }
      if (best == counts)
        break;
      counts = std::move(best);
    }
    return counts;
  }

private:
  /// The cuts that differ in one block, moved from a stage to another, all
  /// between them handing one on.
  std::vector<std::vector<int64_t>>
  neighbours(const std::vector<int64_t> &counts) const {
    std::vector<std::vector<int64_t>> cuts;
    for (size_t from = 0; from < counts.size(); ++from)
      for (size_t to = 0; to < counts.size(); ++to) {
        if (from == to)
          continue;
        std::vector<int64_t> moved = counts;
        --moved[from];
        ++moved[to];
        if (isLegal(problem, moved))
          cuts.push_back(std::move(moved));
      }
    return cuts;
  }

  const PartitionProblem &problem;
  Measure measure;
};

/// Times the steps of cuts, each once, until that was enough.
class TimedCuts {
public:
  TimedCuts(const PartitionProblem &problem, RankCosts &costs)
      : problem(problem), costs(costs), runsLeft(kMostTimedRuns) {}

  CutValue operator()(const std::vector<int64_t> &counts,
                      const CutValue &worth) {
    auto known = values.find(counts);
    if (known != values.end())
      return known->second;
    CutValue least = valueOf(problem, costs, counts);
    least.objective = 0;
    if (least > worth)
      return least;
    least.objective =
        problem.steps->leastNs(counts, longerOf(problem, costs, counts));
    if (least >= worth)
      return least;
    if (runsLeft <= 0)
      return kWorst;
    runsLeft -= problem.stages() * problem.microbatches;
    least.objective =
        problem.steps->ns(counts, longerOf(problem, costs, counts));
    return values[counts] = least;
  }

private:
  const PartitionProblem &problem;
  RankCosts &costs;
  int64_t runsLeft;
  std::map<std::vector<int64_t>, CutValue> values;
};

} // namespace

std::vector<std::vector<int64_t>> localCuts(const PartitionProblem &problem,
                                            RankCosts &costs,
                                            const std::vector<int64_t> &start,
                                            RankFronts *fronts) {
  PartitionProblem unlimited = problem;
  for (int64_t &capacity : unlimited.capacityBytes)
    capacity = std::numeric_limits<int64_t>::max();
  RankCosts quickest(unlimited, Effort::fast, fronts);
  auto objective = [&](const std::vector<int64_t> &counts, const CutValue &) {
    return valueOf(problem, costs, counts);
  };
  auto freeObjective = [&](const std::vector<int64_t> &counts,
                           const CutValue &) {
    return valueOf(unlimited, quickest, counts);
  };
  const LocalSearch byObjective(problem, objective);
  const std::vector<int64_t> free =
      LocalSearch(unlimited, freeObjective).descend(start);
  std::vector<std::vector<int64_t>> cuts = {byObjective.search(start),
                                            byObjective.search(free)};
  const bool fits = std::any_of(cuts.begin(), cuts.end(),
                                [&](const std::vector<int64_t> &cut) {
                                  return valueOf(problem, costs, cut).fits();
                                });
  if (!fits && problem.stages() <= kFewStages)
    cuts.push_back(
        enumerateCuts(problem, costs, cuts.back(), kFewNodes).counts);
  return cuts;
}

void addTimedCuts(const PartitionProblem &problem, RankCosts &costs,
                  Effort effort, std::vector<std::vector<int64_t>> &cuts) {
  TimedCuts timed(problem, costs);
  const LocalSearch byTime(problem, std::ref(timed));
  std::sort(cuts.begin(), cuts.end(), [&](const auto &a, const auto &b) {
    return std::pair(timed(a, kWorst), a) < std::pair(timed(b, kWorst), b);
  });
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  const size_t starts = effort == Effort::brief ? 1 : cuts.size();
  for (size_t i = 0; i < starts; ++i)
    cuts.push_back(byTime.search(cuts[i]));
}

} // namespace moe::optimize
