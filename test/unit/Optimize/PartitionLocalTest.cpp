// Cuts by how long steps are said to take.
#include "compiler/Optimize/Partition.h"

#include "test/unit/Optimize/RandomCuts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

namespace moe::optimize {
namespace {

int64_t stepNs(StepTimes &steps, const PartitionProblem &problem,
               const Partition &made) {
  return steps.ns(made.counts, longerBy(problem, made.counts, made.choices));
}

/// Whether ranks have several stages.
class PartitionLocal : public testing::TestWithParam<bool> {};

// Where steps are known, models are cut for them, not for the objective.
TEST_P(PartitionLocal, IsQuickByTheStepsThatItIsTold) {
  Random random(53);
  int fitting = 0;
  double ofBest = 0, ofFound = 0, ofObjective = 0;
  for (int trial = 0; trial < 100; ++trial) {
    PartitionProblem problem = randomProblem(random, GetParam());
    const std::optional<Partition> byObjective = partition(problem);
    auto steps = std::make_shared<RandomChains>(problem, random);
    int64_t best = std::numeric_limits<int64_t>::max();
    for (const std::vector<int64_t> &counts : allCuts(problem))
      if (Partition made = evaluate(problem, counts); made.excessBytes == 0)
        best = std::min(best, stepNs(*steps, problem, made));
    problem.steps = steps;
    const std::optional<Partition> found = partition(problem);
    ASSERT_TRUE(found && byObjective);
    if (best == std::numeric_limits<int64_t>::max())
      continue;
    ++fitting;
    EXPECT_EQ(found->excessBytes, 0) << "trial " << trial;
    ofBest += static_cast<double>(best);
    ofFound += static_cast<double>(stepNs(*steps, problem, *found));
    ofObjective += static_cast<double>(stepNs(*steps, problem, *byObjective));
    EXPECT_LE(static_cast<double>(stepNs(*steps, problem, *found)),
              1.02 * static_cast<double>(best))
        << "trial " << trial;
  }
  EXPECT_GT(fitting, 30);
  EXPECT_LT(ofFound, 1.001 * ofBest);
  EXPECT_GT(ofObjective, 1.02 * ofBest);
}

INSTANTIATE_TEST_SUITE_P(StagesOfRanks, PartitionLocal, testing::Bool(),
                         [](const auto &info) {
                           return info.param ? "Several" : "One";
                         });

} // namespace
} // namespace moe::optimize
