// The cut of one stage a rank, against all cuts.
#include "compiler/Optimize/PartitionCosts.h"

#include "test/unit/Optimize/RandomCuts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

namespace moe::optimize {
namespace {

// Whichever legal cut is known, and whether ranks are worked out at once or
// bounded first.
TEST(PartitionChain, IsTheBestOfAllCuts) {
  Random random(59);
  int fitting = 0, better = 0;
  for (int trial = 0; trial < 150; ++trial) {
    PartitionProblem problem = randomProblem(random, false);
    if (trial % 5 == 0)
      problem.microbatches = 1;
    const std::vector<std::vector<int64_t>> cuts = allCuts(problem);
    const std::vector<int64_t> &known = cuts[static_cast<size_t>(
        random(0, static_cast<int64_t>(cuts.size()) - 1))];
    for (Effort effort : {Effort::fast, Effort::exact}) {
      RankCosts all(problem, effort);
      CutValue least = valueOf(problem, all, known);
      const bool knownFits = least.fits();
      for (const std::vector<int64_t> &counts : cuts)
        least = std::min(least, valueOf(problem, all, counts));
      RankCosts costs(problem, effort);
      const std::optional<std::vector<int64_t>> found =
          bestCut(problem, costs, known);
      ASSERT_TRUE(found.has_value()) << "trial " << trial;
      ASSERT_TRUE(isLegal(problem, *found)) << "trial " << trial;
      const CutValue value = valueOf(problem, all, *found);
      EXPECT_LE(value, valueOf(problem, all, known)) << "trial " << trial;
      // Where what is known does not fit, the slowest ranks are left out.
      if (!knownFits)
        continue;
      EXPECT_EQ(value, least) << "trial " << trial;
      ++fitting;
      better += value < valueOf(problem, all, known);
    }
  }
  EXPECT_GT(fitting, 60);
  EXPECT_GT(better, 30);
}

} // namespace
} // namespace moe::optimize
