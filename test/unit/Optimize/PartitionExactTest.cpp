#include "compiler/Optimize/PartitionCosts.h"

#include <gtest/gtest.h>

namespace moe::optimize {
namespace {

/// Six equal layers on two ranks in a V, whose capacities admit the layers of
/// few cuts: rank 0 has the first stage and the last.
PartitionProblem tightModel() {
  PartitionProblem problem;
  problem.kinds = {{10, 20, 100, {{0, 10, 10}}}};
  problem.blocks = {0, 0, 0, 0, 0, 0};
  problem.rankOf = {0, 1, 1, 0};
  problem.moments.assign(2, {{{0, 0}, {0, 0}, 0}});
  problem.otherBytes = {0, 0};
  problem.capacityBytes = {250, 1000};
  return problem;
}

} // namespace

// From a cut that does not fit to the only one that does: a layer on each stage
// of rank 0.
TEST(EnumerateCuts, FindsWhatFits) {
  const PartitionProblem problem = tightModel();
  ASSERT_TRUE(problem.check().ok()) << problem.check().error().message;
  RankCosts costs(problem, Effort::exact);
  const std::vector<int64_t> known = {3, 1, 1, 1};
  ASSERT_FALSE(valueOf(problem, costs, known).fits());
  const CutEnumeration found = enumerateCuts(problem, costs, known, 1000);
  EXPECT_TRUE(found.isComplete);
  EXPECT_EQ(found.counts.front(), 1);
  EXPECT_EQ(found.counts.back(), 1);
  EXPECT_TRUE(valueOf(problem, costs, found.counts).fits());
}

TEST(EnumerateCuts, SaysWhereItWentNoFurther) {
  const PartitionProblem problem = tightModel();
  RankCosts costs(problem, Effort::exact);
  const std::vector<int64_t> known = {3, 1, 1, 1};
  const CutEnumeration found = enumerateCuts(problem, costs, known, 1);
  EXPECT_FALSE(found.isComplete);
  EXPECT_EQ(found.counts, known);
}

TEST(EnumerateCuts, IsNotCompleteWhereNothingFits) {
  PartitionProblem problem = tightModel();
  problem.capacityBytes = {50, 50};
  RankCosts costs(problem, Effort::exact);
  const std::vector<int64_t> known = {2, 1, 1, 2};
  EXPECT_FALSE(enumerateCuts(problem, costs, known, 1000).isComplete);
}

} // namespace moe::optimize
