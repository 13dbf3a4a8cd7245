#include "compiler/Schedule/SearchGreedy.h"

#include "SearchCases.h"

#include <gtest/gtest.h>

namespace moe::schedule::test {
namespace {

using namespace search;

/// Any rules: the run ends whenever each rank has room for one microbatch in
/// all of its stages, keeps the limits and says what evaluate() says.
TEST(SearchGreedy, EndsWithinTheLimitsWhateverTheRules) {
  std::mt19937 random(4);
  auto below = [&](int64_t end) {
    return static_cast<int64_t>(random()) % end;
  };
  for (int round = 0; round < 400; ++round) {
    ScheduleProblem problem =
        problemOf(1 + below(4), 1 + below(9), 1 + below(3), Placement::loop);
    if (round % 2)
      problem.placement = Placement::v;
    if (!problem.check())
      continue;
    Costs costs;
    costs.transferNs = below(3) * 20;
    std::vector<int64_t> need(static_cast<size_t>(problem.ranks), 0);
    std::vector<int64_t> transient = need;
    for (int64_t s = 0; s < problem.stages(); ++s) {
      costs.stages.push_back(
          {below(50), below(50), below(50), 10 + below(20), below(10)});
      StageCosts &stage = costs.stages.back();
      if (round % 3 == 0) {
        stage.forwardTransientBytes = below(30);
        stage.backwardTransientBytes = below(30);
      }
      auto rank = static_cast<size_t>(problem.rankOf(s));
      need[rank] += stage.savedBytes;
      transient[rank] = std::max(transient[rank], stage.transientBytes());
    }
    if (problem.stagesPerRank > 1 && round % 4 < 2)
      for (int64_t f = 0; f < problem.stages(); ++f)
        for (int64_t b = 0; b < problem.stages(); ++b)
          if (problem.rankOf(f) == problem.rankOf(b))
            costs.overlaps.push_back({f, b, below(100)});
    for (size_t rank = 0; rank < need.size(); ++rank)
      costs.limitBytes.push_back(need[rank] + transient[rank] + below(40));
    Instance instance(problem, costs);
    Greedy greedy(instance);
    Policy policy;
    policy.turn = static_cast<Turn>(below(3));
    policy.forwardChunk = static_cast<Chunk>(below(3));
    policy.backwardChunk = static_cast<Chunk>(below(3));
    policy.overrun = static_cast<double>(below(3)) / 2;
    policy.patience = static_cast<double>(below(3)) / 2;
    policy.cautious = below(2);
    policy.overlap = below(2);
    policy.mostPending = below(2) ? below(3) : kNoLimit;
    if (below(2))
      for (int64_t s = 0; s < problem.stages(); ++s)
        policy.caps.push_back(1 + below(3));
    if (below(3) == 0) {
      policy.periodNs = below(90);
      for (int64_t s = 0; s < problem.stages(); ++s) {
        policy.forwardDueNs.push_back(below(200));
        policy.backwardDueNs.push_back(below(400));
      }
    }
    SCOPED_TRACE("round " + std::to_string(round));
    ASSERT_TRUE(greedy.run(policy));
    Schedule schedule{"greedy", problem, greedy.order()};
    ASSERT_TRUE(verify(schedule).ok());
    Result<Evaluation> evaluation = evaluate(schedule, costs);
    ASSERT_TRUE(evaluation.ok());
    EXPECT_EQ(evaluation->peakBytes, greedy.peakBytes());
    // A rank may have waited for a buffer that evaluate() does not know.
    EXPECT_LE(evaluation->makespanNs, greedy.makespanNs());
    EXPECT_TRUE(withinLimits(*evaluation, costs).ok());
    // Giving up: not where the run is just as long.
    EXPECT_TRUE(greedy.run(policy, greedy.makespanNs()));
  }
}

/// What is due first goes first.
TEST(SearchGreedy, FollowsWhatIsDue) {
  ScheduleProblem problem = problemOf(1, 2, 1, Placement::loop);
  Instance instance(problem, costsOf(problem, Profile::unit, 1));
  Greedy greedy(instance);
  Policy policy;
  policy.forwardDueNs = {0};
  policy.periodNs = 10;
  policy.backwardDueNs = {5};
  ASSERT_TRUE(greedy.run(policy));
  EXPECT_EQ(greedy.order()[0][1].phase, Phase::backward_input);
  policy.backwardDueNs = {15};
  ASSERT_TRUE(greedy.run(policy));
  EXPECT_EQ(greedy.order()[0][1].phase, Phase::forward);
}

} // namespace
} // namespace moe::schedule::test
