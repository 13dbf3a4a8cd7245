#include "compiler/Optimize/ChoiceSearch.h"

#include "test/unit/Optimize/RandomChoices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace moe::optimize {

/// By stages of the rank.
class ChoiceSearch : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Stages, ChoiceSearch, testing::Values(1, 2, 3));

// Against the exact fronts of 100 to 200 ranks at six budgets each: nothing is
// quicker than the optimum, and what is found is next to it, by far closer than
// what the thinned front says; the exact search finds it, and that nothing fits
// less than what the front begins with. With three stages, the fast search
// misses what just fits of a hundredth at most and finds the others within 2 %,
// and for a hundredth the exact one has too many states. Bounds are never above
// the optimum, mostly it; with a tolerance what is certain is within it.
TEST_P(ChoiceSearch, FindsNextToTheOptimum) {
  Random random(7);
  int64_t judged = 0, optimal = 0, missed = 0, uncertain = 0, tight = 0;
  double longest = 1;
  for (int trial = 0; trial < 400 / (1 + GetParam()); ++trial) {
    const PolicyProblem problem = randomRank(random, GetParam(), 12);
    ASSERT_TRUE(problem.check().ok()) << problem.check().error().message;
    const PolicyFront exact(problem, Effort::exact);
    if (!exact.isExact())
      continue;
    double work = 0;
    for (const std::vector<int64_t> &stage : problem.stages)
      work += static_cast<double>(stage.size() * 3000);
    for (size_t step = 0; step < 6; ++step) {
      const PolicyFront::Point &best =
          exact.points()[step * (exact.points().size() - 1) / 5];
      const QuickerChoices found = quickerChoices(
          problem, best.peakBytes, int64_t{1} << 60, Effort::fast);
      ++judged;
      missed += !found.choices;
      if (!found.choices)
        continue;
      const PolicyOutcome outcome = evaluate(problem, *found.choices);
      EXPECT_LE(outcome.peakBytes, best.peakBytes);
      EXPECT_LE(outcome.hostBytes, problem.hostCapacityBytes);
      EXPECT_GE(outcome.extraNs, best.extraNs);
      longest =
          std::max(longest, (work + static_cast<double>(outcome.extraNs)) /
                                (work + static_cast<double>(best.extraNs)));
      optimal += outcome.extraNs == best.extraNs;
      if (found.isCertain)
        EXPECT_EQ(outcome.extraNs, best.extraNs);
      EXPECT_LE(found.leastNs, best.extraNs);
      // Bounds that are told what some take, and not.
      const int64_t bound =
          narrowSearch(problem, best.peakBytes, outcome.extraNs, 512).leastNs;
      EXPECT_LE(bound, best.extraNs);
      for (size_t states : {2, 4, 16, 64})
        EXPECT_LE(narrowSearch(problem, best.peakBytes,
                               std::numeric_limits<int64_t>::max(), states)
                      .leastNs,
                  best.extraNs)
            << states;
      tight += bound == best.extraNs;
      const int64_t tolerance = outcome.extraNs / 10;
      const QuickerChoices near = quickerChoices(
          problem, best.peakBytes, outcome.extraNs, Effort::exact, tolerance);
      EXPECT_LE(near.leastNs, best.extraNs);
      if (near.isCertain)
        EXPECT_LE(near.choices ? evaluate(problem, *near.choices).extraNs
                               : outcome.extraNs,
                  best.extraNs + tolerance);
      const QuickerChoices certain = quickerChoices(
          problem, best.peakBytes, int64_t{1} << 60, Effort::exact);
      ASSERT_TRUE(certain.choices.has_value());
      EXPECT_GE(evaluate(problem, *certain.choices).extraNs, best.extraNs);
      if (certain.isCertain)
        EXPECT_EQ(evaluate(problem, *certain.choices).extraNs, best.extraNs);
      uncertain += !certain.isCertain;
      for (Effort effort : {Effort::fast, Effort::exact})
        EXPECT_FALSE(
            quickerChoices(problem, best.peakBytes, best.extraNs, effort)
                .choices.has_value());
    }
    const QuickerChoices none =
        quickerChoices(problem, exact.points().front().peakBytes - 1,
                       int64_t{1} << 60, Effort::exact);
    EXPECT_TRUE(none.isCertain && !none.choices);
    uncertain += leastExtraNs(problem, exact.points().front().peakBytes - 1,
                              Precision::fine) != -1;
  }
  EXPECT_GT(judged, 500);
  for (int64_t rare : {missed, uncertain})
    EXPECT_LE(rare, GetParam() < 3 ? 0 : judged / 100);
  EXPECT_GT(optimal, judged * 95 / 100);
  EXPECT_GT(tight, judged * 9 / 10);
  EXPECT_LT(longest, GetParam() < 3 ? 1.005 : 1.02);
}

TEST_P(ChoiceSearch, FindsNothingWhereNothingFits) {
  Random random(8);
  const PolicyProblem problem = randomRank(random, GetParam(), 12);
  EXPECT_FALSE(quickerChoices(problem, 1, int64_t{1} << 60, Effort::fast)
                   .choices.has_value());
}

} // namespace moe::optimize
