#include "compiler/Optimize/ChoiceSearch.h"

#include "test/unit/Optimize/RandomLag.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace moe::optimize {
namespace {

/// A rank of one stage: 4 to 12 layers of two kinds with 6 options, of which
/// some have bytes ahead, and some leave bytes on a host that admits a part.
PolicyProblem randomRank(Random &random) {
  PolicyProblem problem;
  for (int kind = 0; kind < 2; ++kind) {
    std::vector<LayerOption> &options = problem.kinds.emplace_back();
    for (int i = 0; i < 6; ++i) {
      LayerOption option;
      option.extraNs = i == 0 ? 0 : random(0, 1000);
      option.keptBytes = random(i == 0 ? 600 : 10, 1000);
      option.peakBytes = option.keptBytes + random(0, 400);
      option.latePeakBytes = random(0, option.peakBytes);
      option.aheadBytes = random(0, 1) * random(0, 500);
      option.pendingBytes = random(0, option.keptBytes / 4);
      option.hostBytes = i < 3 ? 0 : random(0, 500);
      if (option.hostBytes > 0)
        addLag(option, random, 400);
      options.push_back(option);
    }
  }
  std::vector<int64_t> &stage = problem.stages.emplace_back();
  for (int64_t layers = random(4, 12); layers > 0; --layers)
    stage.push_back(random(0, 1));
  for (int64_t moments = random(1, 3); moments > 0; --moments)
    problem.moments.push_back(
        {{random(0, 8)}, 0, random(0, 2000), -1, {random(0, 2)}});
  if (random(0, 2) == 0)
    problem.hostCapacityBytes = random(0, 20000);
  return problem;
}

} // namespace

// Against the exact fronts of 300 ranks at six budgets each: nothing is quicker
// than the optimum, and what is found is next to it, by far closer than what
// the thinned front says; the exact search finds it, and that nothing fits less
// than what the front begins with.
TEST(ChoiceSearch, FindsNextToTheOptimum) {
  Random random(7);
  int64_t judged = 0, optimal = 0;
  double longest = 1;
  for (int trial = 0; trial < 300; ++trial) {
    const PolicyProblem problem = randomRank(random);
    ASSERT_TRUE(problem.check().ok()) << problem.check().error().message;
    const PolicyFront exact(problem, Effort::exact);
    if (!exact.isExact())
      continue;
    const auto work = static_cast<double>(problem.stages.front().size() * 3000);
    for (size_t step = 0; step < 6; ++step) {
      const PolicyFront::Point &best =
          exact.points()[step * (exact.points().size() - 1) / 5];
      const QuickerChoices found = quickerChoices(
          problem, best.peakBytes, int64_t{1} << 60, Effort::fast);
      ASSERT_TRUE(found.choices.has_value()) << "trial " << trial;
      const PolicyOutcome outcome = evaluate(problem, *found.choices);
      EXPECT_LE(outcome.peakBytes, best.peakBytes);
      EXPECT_LE(outcome.hostBytes, problem.hostCapacityBytes);
      EXPECT_GE(outcome.extraNs, best.extraNs);
      longest =
          std::max(longest, (work + static_cast<double>(outcome.extraNs)) /
                                (work + static_cast<double>(best.extraNs)));
      optimal += outcome.extraNs == best.extraNs;
      ++judged;
      if (found.isCertain)
        EXPECT_EQ(outcome.extraNs, best.extraNs);
      const QuickerChoices certain = quickerChoices(
          problem, best.peakBytes, int64_t{1} << 60, Effort::exact);
      ASSERT_TRUE(certain.isCertain && certain.choices);
      EXPECT_EQ(evaluate(problem, *certain.choices).extraNs, best.extraNs);
      for (Effort effort : {Effort::fast, Effort::exact})
        EXPECT_FALSE(
            quickerChoices(problem, best.peakBytes, best.extraNs, effort)
                .choices.has_value());
    }
    const QuickerChoices none =
        quickerChoices(problem, exact.points().front().peakBytes - 1,
                       int64_t{1} << 60, Effort::exact);
    EXPECT_TRUE(none.isCertain && !none.choices);
  }
  EXPECT_GT(judged, 1000);
  EXPECT_GT(optimal, judged * 95 / 100);
  EXPECT_LT(longest, 1.005);
}

TEST(ChoiceSearch, FindsNothingWhereNothingFits) {
  Random random(8);
  const PolicyProblem problem = randomRank(random);
  EXPECT_FALSE(quickerChoices(problem, 1, int64_t{1} << 60, Effort::fast)
                   .choices.has_value());
  PolicyProblem two = problem;
  two.stages.push_back(two.stages.front());
  for (Moment &moment : two.moments)
    moment.held.push_back(0);
  const QuickerChoices none =
      quickerChoices(two, int64_t{1} << 40, int64_t{1} << 60, Effort::exact);
  EXPECT_FALSE(none.choices || none.isCertain);
}

} // namespace moe::optimize
