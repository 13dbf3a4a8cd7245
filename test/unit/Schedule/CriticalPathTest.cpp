// Longest chains against the steps that they were found in, and against others.
#include "compiler/Schedule/CriticalPath.h"

#include "compiler/Schedule/Generators.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using namespace moe::schedule;

namespace {

TEST(CriticalPath, AnExampleByHand) {
  // Rank 0 begins, and waits for the first gradient: the first forward of both
  // stages, all of rank 1 from there on, and the last backward of rank 0.
  Schedule schedule = *generate("1f1b", {2, 2, 1});
  Costs costs;
  costs.stages = {{2, 2, 1, 10, 4}, {1, 2, 1, 7, 0}};
  costs.transferNs = 1;
  const Evaluation step = *evaluate(schedule, costs);
  const ActionChain chain = criticalPath(schedule, costs, step);
  EXPECT_EQ(chain.stages,
            (std::vector<ActionChain::OfStage>{{1, 1, 1}, {2, 2, 2}}));
  EXPECT_EQ(chain.transfers, 2);
  EXPECT_TRUE(chain.pairs.empty());
  EXPECT_EQ(chain.ns(costs), 15);
  // Before rank 1 begins, and behind its end: the first stage.
  const ActionChain second = chainThrough(schedule, 1);
  EXPECT_EQ(second.stages,
            (std::vector<ActionChain::OfStage>{{1, 1, 1}, {2, 2, 2}}));
  EXPECT_EQ(second.transfers, 2);
  EXPECT_EQ(chainThrough(schedule, 0).ns(costs), 10);
}

class RandomCosts {
public:
  explicit RandomCosts(uint32_t seed) : random(seed) {}

  int64_t below(int64_t end) { return static_cast<int64_t>(random()) % end; }

  /// With a time for some of the pairs that overlap.
  Costs costsOf(const Schedule &schedule) {
    Costs costs = Costs::uniform(schedule.problem);
    costs.transferNs = below(3) * below(500);
    for (StageCosts &stage : costs.stages) {
      stage.forwardNs = below(2000);
      stage.inputGradNs = below(2000);
      stage.weightGradNs = below(2000);
    }
    for (auto [forward, backward] : overlappingPairs(schedule))
      if (below(3) > 0)
        costs.overlaps.push_back({forward, backward, below(3000)});
    return costs;
  }

private:
  std::mt19937 random;
};

// As the definition has them, and with the transfers that steps have.
class Chains : public testing::TestWithParam<bool> {};

TEST_P(Chains, AreAsLongAsTheirStepsAndNoLongerThanOthers) {
  RandomCosts random(29);
  int pairs = 0, transfers = 0;
  for (const GeneratorInfo &info : generators())
    for (int round = 0; round < 12; ++round) {
      ScheduleProblem problem{2 + 2 * random.below(2), 4 + 4 * random.below(2),
                              info.stagesPerRank, info.placement};
      Result<Schedule> schedule = generate(info.name, problem);
      if (!schedule)
        continue;
      const Transfers all = transfersOf(*schedule, insertTransfers(*schedule));
      const Transfers *known = GetParam() ? &all : nullptr;
      const Costs costs = random.costsOf(*schedule);
      const Result<Evaluation> step = evaluate(*schedule, costs, known);
      ASSERT_TRUE(step.ok()) << info.name;
      EXPECT_GE(step->makespanNs, evaluate(*schedule, costs)->makespanNs);
      const ActionChain chain = criticalPath(*schedule, costs, *step, known);
      EXPECT_EQ(chain.ns(costs), step->makespanNs) << info.name;
      pairs += !chain.pairs.empty();
      transfers += chain.transfers > 0;
      for (int other = 0; other < 10; ++other) {
        const Costs others = random.costsOf(*schedule);
        const int64_t stepNs = evaluate(*schedule, others, known)->makespanNs;
        EXPECT_LE(chain.ns(others), stepNs) << info.name;
        for (int64_t rank = 0; rank < problem.ranks; ++rank)
          EXPECT_LE(chainThrough(*schedule, rank).ns(others), stepNs)
              << info.name;
      }
    }
  EXPECT_GT(pairs, 10);
  EXPECT_GT(transfers, 50);
}

INSTANTIATE_TEST_SUITE_P(Transfers, Chains, testing::Bool());

} // namespace
