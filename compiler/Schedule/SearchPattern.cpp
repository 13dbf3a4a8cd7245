#include "compiler/Schedule/SearchPattern.h"

#include <algorithm>
#include <tuple>

namespace moe::schedule::search {

int64_t leastPeriodNs(const Instance &instance) {
  int64_t most = 1;
  for (const InstanceRank &rank : instance.ranks) {
    int64_t sum = 0;
    for (size_t s : rank.stages) {
      const StageCosts &costs = instance.stages[s].costs;
      sum += costs.forwardNs + costs.inputGradNs + costs.weightGradNs;
    }
    most = std::max(most, sum);
  }
  return most;
}

namespace {

/// When a rank works, modulo the period.
class Circle {
public:
  explicit Circle(int64_t periodNs) : periodNs(periodNs) {}

  /// The earliest begin from `fromNs` on where `lengthNs` are free; takes them.
  /// -1: none.
  int64_t take(int64_t fromNs, int64_t lengthNs) {
    int64_t beginNs = fromNs;
    // Each refusal moves behind one taken interval; after as many as there are,
    // twice around, there is no gap.
    for (size_t tries = 0; tries <= 2 * taken.size(); ++tries) {
      int64_t conflictNs = conflict(beginNs % periodNs, lengthNs);
      if (conflictNs < 0) {
        taken.emplace_back(beginNs % periodNs, lengthNs);
        return beginNs;
      }
      beginNs += conflictNs;
    }
    return -1;
  }

private:
  /// How far to move to come behind an interval in the way; -1: none is.
  int64_t conflict(int64_t beginNs, int64_t lengthNs) const {
    if (lengthNs > periodNs)
      return periodNs;
    for (auto [otherNs, otherLengthNs] : taken) {
      int64_t aheadNs = (otherNs - beginNs + periodNs) % periodNs;
      int64_t behindNs = (beginNs - otherNs + periodNs) % periodNs;
      if (behindNs < otherLengthNs)
        return otherLengthNs - behindNs;
      if (aheadNs < lengthNs)
        return aheadNs + otherLengthNs;
    }
    return -1;
  }

  int64_t periodNs;
  std::vector<std::pair<int64_t, int64_t>> taken;
};

} // namespace

bool placePattern(const Instance &instance, const PatternShape &shape,
                  Pattern &pattern) {
  size_t stages = instance.stages.size();
  auto ranks = static_cast<size_t>(instance.problem.ranks);
  std::vector<Circle> circles(ranks, Circle(shape.periodNs));
  std::vector<int64_t> &forwardNs = pattern.forwardNs;
  std::vector<int64_t> &backwardNs = pattern.backwardNs;
  forwardNs.assign(stages, 0);
  backwardNs.assign(stages, 0);
  auto stretched = [&](const std::array<double, 2> &stretch, size_t stage,
                       int64_t ns) {
    auto pass = static_cast<size_t>(instance.stages[stage].position) / ranks;
    return static_cast<int64_t>(stretch[std::min<size_t>(pass, 1)] *
                                static_cast<double>(ns));
  };
  int64_t shareNs = std::max<int64_t>(
      1, shape.periodNs / (3 * instance.problem.stagesPerRank));
  auto placedNs = [&](int64_t ns) { return shape.even ? shareNs : ns; };
  int64_t nowNs = 0;
  for (size_t s = 0; s < stages; ++s) {
    const InstanceStage &stage = instance.stages[s];
    if (stage.previous < 0)
      nowNs = 0;
    nowNs += shape.even ? 0 : stage.inputTransferNs;
    forwardNs[s] = circles[static_cast<size_t>(stage.rank)].take(
        nowNs, placedNs(stage.costs.forwardNs));
    if (forwardNs[s] < 0)
      return false;
    // The turn at the end of a copy is not stretched.
    nowNs = forwardNs[s] + (stage.next < 0
                                ? placedNs(stage.costs.forwardNs)
                                : stretched(shape.forwardStretch, s,
                                            placedNs(stage.costs.forwardNs)));
    if (stage.next >= 0)
      continue;
    for (size_t b = s + 1; b-- > 0;) {
      const InstanceStage &back = instance.stages[b];
      if (b != s)
        nowNs += shape.even ? 0 : back.gradientTransferNs;
      backwardNs[b] = circles[static_cast<size_t>(back.rank)].take(
          nowNs, placedNs(back.costs.inputGradNs));
      if (backwardNs[b] < 0)
        return false;
      nowNs = backwardNs[b] + stretched(shape.backwardStretch, b,
                                        placedNs(back.costs.inputGradNs));
      if (back.previous < 0)
        break;
    }
  }
  return true;
}

Sequence repeat(const Instance &instance, const Pattern &pattern,
                int64_t periodNs) {
  size_t ranks = instance.ranks.size();
  Sequence sequence(ranks);
  // Of simultaneous ones (they take no time) the one further along goes first,
  // but a forward before its own backward.
  // Begin, microbatch, code.
  std::vector<std::tuple<int64_t, int64_t, uint32_t>> entries;
  for (size_t r = 0; r < ranks; ++r) {
    entries.clear();
    for (size_t s : instance.ranks[r].stages)
      for (int64_t m = 0; m < instance.stages[s].microbatches; ++m)
        for (bool backward : {false, true}) {
          int64_t beginNs =
              (backward ? pattern.backwardNs[s] : pattern.forwardNs[s]) +
              m * periodNs;
          Entry entry(static_cast<int64_t>(s),
                      backward ? Phase::backward_input : Phase::forward);
          entries.emplace_back(beginNs, m, entry.code);
        }
    std::sort(entries.begin(), entries.end());
    sequence[r].reserve(entries.size());
    for (const auto &[beginNs, m, code] : entries)
      sequence[r].emplace_back().code = code;
  }
  return sequence;
}

} // namespace moe::schedule::search
