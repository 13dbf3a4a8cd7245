#include "compiler/Optimize/PartitionCosts.h"

#include <algorithm>

namespace moe::optimize {

namespace {

/// Depth first, stage by stage. A rank counts with a bound of its policies
/// as soon as all its stages are known, before that with its work.
class Enumeration {
public:
  Enumeration(const PartitionProblem &problem, RankCosts &costs,
              const std::vector<int64_t> &known, int64_t mostNodes)
      : problem(problem), costs(costs), mostNodes(mostNodes),
        best(valueOf(problem, costs, known)), found{known, false},
        counts(known.size(), 0), rankNs(problem.moments.size(), 0),
        lastStage(problem.moments.size(), -1) {
    for (size_t stage = 0; stage < counts.size(); ++stage)
      lastStage[static_cast<size_t>(problem.rankOf[stage])] =
          static_cast<int64_t>(stage);
    for (int64_t kind : problem.blocks)
      sumNs += workNs(kind);
  }

  CutEnumeration run() {
    isComplete = true;
    extend(0, 0);
    found.isComplete = isComplete && best.fits() && costs.areExact();
    return found;
  }

private:
  /// What some seconds allow.
  static constexpr size_t kMostFronts = 4096;

  int64_t workNs(int64_t kind) const {
    return problem.kinds[static_cast<size_t>(kind)].workNs();
  }

  /// Whether ranks that take no less than what is known could be better than
  /// the best.
  bool mayBeBetter() const {
    if (!best.fits())
      return true;
    int64_t ranks = problem.ranks();
    int64_t slowest = (sumNs + ranks - 1) / ranks;
    for (int64_t ns : rankNs)
      slowest = std::max(slowest, ns);
    return (problem.microbatches - 1) * slowest + sumNs < best.objective;
  }

  /// Of a rank that has all its stages, with this work; -1: nothing fits. As
  /// long as no cut fits, times do not matter.
  int64_t leastNs(size_t rank, int64_t work) {
    const auto number = static_cast<int64_t>(rank);
    if (!best.fits())
      return costs.mayFit(number, counts) ? work : -1;
    return costs.leastNs(number, counts);
  }

  void extend(int64_t stage, int64_t begin) {
    if (stage == problem.stages()) {
      reach();
      return;
    }
    auto s = static_cast<size_t>(stage);
    auto rank = static_cast<size_t>(problem.rankOf[s]);
    auto blocks = static_cast<int64_t>(problem.blocks.size());
    int64_t before = rankNs[rank], sumBefore = sumNs, work = before;
    for (int64_t end = begin + 1; end <= blocks && isComplete; ++end) {
      work += workNs(problem.blocks[static_cast<size_t>(end - 1)]);
      rankNs[rank] = work;
      if (!mayBeBetter()) // nor with more blocks
        break;
      if (!mayHold(problem, stage, begin, end))
        continue;
      isComplete &= ++nodes <= mostNodes;
      counts[s] = end - begin;
      const int64_t least =
          lastStage[rank] == stage ? leastNs(rank, work) : work;
      if (least >= 0) {
        rankNs[rank] = least;
        sumNs += least - work;
        if (mayBeBetter())
          extend(stage + 1, end);
      }
      sumNs = sumBefore;
    }
    counts[s] = 0;
    rankNs[rank] = before;
  }

  void reach() {
    isComplete &= costs.size() < kMostFronts;
    if (!isComplete)
      return;
    CutValue value = valueOf(problem, costs, counts);
    if (value < best) {
      best = value;
      found.counts = counts;
    }
  }

  const PartitionProblem &problem;
  RankCosts &costs;
  int64_t mostNodes;
  CutValue best;
  CutEnumeration found;
  std::vector<int64_t> counts; ///< of the stages so far, 0 behind them
  std::vector<int64_t> rankNs; ///< no rank takes less
  std::vector<int64_t> lastStage;
  int64_t sumNs = 0; ///< all ranks take no less together
  int64_t nodes = 0;
  bool isComplete = false;
};

} // namespace

CutEnumeration enumerateCuts(const PartitionProblem &problem, RankCosts &costs,
                             const std::vector<int64_t> &known,
                             int64_t mostNodes) {
  return Enumeration(problem, costs, known, mostNodes).run();
}

} // namespace moe::optimize
