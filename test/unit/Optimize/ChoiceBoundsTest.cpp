#include "compiler/Optimize/ChoiceBounds.h"

#include "test/unit/Optimize/RandomChoices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <tuple>

namespace moe::optimize {
namespace {

/// Choices for all layers, one after the other, and what they come to.
struct Whole {
  std::vector<int64_t> options;
  PolicyOutcome outcome;
};

std::vector<Whole> allChoices(const PolicyProblem &problem) {
  std::vector<const std::vector<LayerOption> *> layers;
  int64_t count = 1;
  for (const std::vector<int64_t> &stage : problem.stages)
    for (int64_t kind : stage) {
      layers.push_back(&problem.kinds[static_cast<size_t>(kind)]);
      count *= std::ssize(*layers.back());
    }
  std::vector<Whole> all;
  for (int64_t number = 0; number < count; ++number) {
    Whole whole;
    int64_t left = number;
    for (const auto *options : layers) {
      whole.options.push_back(left % std::ssize(*options));
      left /= std::ssize(*options);
    }
    Choices choices;
    auto next = whole.options.begin();
    for (const std::vector<int64_t> &stage : problem.stages) {
      auto end = next + std::ssize(stage);
      choices.emplace_back(next, end);
      next = end;
    }
    whole.outcome = evaluate(problem, choices);
    all.push_back(std::move(whole));
  }
  return all;
}

/// By stages of the rank, and precision.
class Bounds : public testing::TestWithParam<std::tuple<int64_t, Precision>> {};
INSTANTIATE_TEST_SUITE_P(Stages, Bounds,
                         testing::Combine(testing::Values(1, 2, 3),
                                          testing::Values(Precision::quick,
                                                          Precision::fine)));

} // namespace

// All choices of 60 ranks, and some for the first few of their layers: whatever
// fits and begins with these may fit, and takes no less than any bound says.
// Bounds say more than what has been taken, at all moments of a search.
TEST_P(Bounds, AreNeverAboveWhatChoicesLeadTo) {
  const auto [stages, precision] = GetParam();
  Random random(11);
  int64_t judged = 0, raised = 0;
  for (int trial = 0; trial < 60; ++trial) {
    const PolicyProblem problem = randomRank(random, stages, 4);
    const std::vector<Whole> all = allChoices(problem);
    auto fewer = [](const Whole &a, const Whole &b) {
      return a.outcome.peakBytes < b.outcome.peakBytes;
    };
    const auto [least, most] =
        std::minmax_element(all.begin(), all.end(), fewer);
    const int64_t capacity =
        random(least->outcome.peakBytes, most->outcome.peakBytes);
    const ChoiceBounds bounds(problem, capacity, precision);
    for (const Whole &whole : all)
      if (whole.outcome.peakBytes <= capacity &&
          whole.outcome.hostBytes <= problem.hostCapacityBytes)
        EXPECT_LE(bounds.leastNs(), whole.outcome.extraNs) << "trial " << trial;
    for (int begin = 0; begin < 20; ++begin) {
      FinishedStages below = bounds.none();
      StageSums sums;
      std::vector<int64_t> chosen;
      for (size_t layer = 0; layer < bounds.layers().size(); ++layer) {
        const RankLayer &at = bounds.layers()[layer];
        chosen.push_back(random(0, std::ssize(*at.options) - 1));
        sums.add((*at.options)[static_cast<size_t>(chosen.back())],
                 problem.hostBytesPerNs);
        int64_t quickest = std::numeric_limits<int64_t>::max();
        for (const Whole &whole : all)
          if (whole.outcome.peakBytes <= capacity &&
              whole.outcome.hostBytes <= problem.hostCapacityBytes &&
              std::equal(chosen.begin(), chosen.end(), whole.options.begin()))
            quickest = std::min(quickest, whole.outcome.extraNs);
        if (quickest == std::numeric_limits<int64_t>::max())
          break;
        EXPECT_TRUE(bounds.mayFit(below, sums, layer)) << "trial " << trial;
        const auto taken =
            static_cast<double>(bounds.takenNs(below, sums, layer));
        for (auto which :
             {ChoiceBounds::Which::strongest, ChoiceBounds::Which::others}) {
          const double bound =
              bounds.raised(bounds.boundsAt(which, layer), taken,
                            std::numeric_limits<double>::max(), below, sums);
          EXPECT_LE(bound, static_cast<double>(quickest) + 1e-3)
              << "trial " << trial << ", layer " << layer;
          raised += bound > taken;
        }
        ++judged;
        if (!at.isLast)
          continue;
        below = bounds.finished(below, sums, layer);
        sums = {};
      }
    }
  }
  EXPECT_GT(judged, 1000);
  EXPECT_GT(raised, judged / 2);
}

} // namespace moe::optimize
