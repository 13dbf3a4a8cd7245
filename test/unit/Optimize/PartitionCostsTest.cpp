#include "compiler/Optimize/PartitionCosts.h"

#include "test/unit/Optimize/RandomLag.h"

#include <gtest/gtest.h>

namespace moe::optimize {
namespace {

/// Two ranks of 12 layers with 12 options each: more choices than a thinned
/// front holds.
PartitionProblem randomModel(Random &random) {
  PartitionProblem problem;
  for (int number = 0; number < 2; ++number) {
    BlockKind &kind = problem.kinds.emplace_back();
    kind.forwardNs = 10'000;
    kind.backwardNs = 20'000;
    for (int i = 0; i < 12; ++i) {
      LayerOption option;
      option.extraNs = i == 0 ? 0 : 60 * i * i + random(0, 300);
      option.keptBytes =
          i == 0 ? 110'000 : 100'000 - 8000 * i + random(0, 7000);
      option.peakBytes = option.keptBytes + random(20'000, 80'000);
      option.latePeakBytes = random(0, option.peakBytes);
      option.aheadBytes = random(0, 1) * random(0, 30'000);
      if (i > 0)
        addLag(option, random, 3000);
      kind.options.push_back(option);
    }
  }
  for (int64_t block = 0; block < 24; ++block)
    problem.blocks.push_back(block % 2);
  problem.rankOf = {0, 1};
  problem.moments = {{{{3}, {0}, 0}}, {{{0}, {0}, 0}}};
  problem.otherBytes = {0, 0};
  problem.capacityBytes = {0, 0};
  problem.microbatches = 8;
  return problem;
}

} // namespace

// What a search finds is between what the thinned front and the exact one say,
// and what it tells is what its choices come to.
TEST(RankCosts, AreSharpenedTowardsTheExactOnes) {
  Random random(11);
  int64_t sharpened = 0;
  for (int trial = 0; trial < 10; ++trial) {
    PartitionProblem problem = randomModel(random);
    ASSERT_TRUE(problem.check().ok()) << problem.check().error().message;
    const std::vector<int64_t> counts = {12, 12};
    // A tight one: a tenth of the way from the least that is needed.
    for (size_t rank : {0, 1}) {
      const PolicyFront front(
          rankProblem(problem, counts, static_cast<int64_t>(rank)),
          Effort::exact);
      const int64_t least = front.points().front().peakBytes;
      problem.capacityBytes[rank] =
          least + (front.points().back().peakBytes - least) / 10;
    }
    RankCosts fast(problem, Effort::fast), exact(problem, Effort::exact);
    for (int64_t rank : {0, 1}) {
      const RankCost before = fast.of(rank, counts);
      const RankCost best = exact.of(rank, counts);
      fast.sharpen(rank, counts);
      const RankCost after = fast.of(rank, counts);
      fast.sharpen(rank, counts); // once is enough
      EXPECT_EQ(fast.of(rank, counts).ns, after.ns);
      EXPECT_LE(after.excessBytes, before.excessBytes);
      if (best.excessBytes > 0)
        continue;
      EXPECT_EQ(after.excessBytes, 0) << "trial " << trial;
      if (best.isExact)
        EXPECT_GE(after.ns, best.ns) << "trial " << trial;
      EXPECT_LE(static_cast<double>(after.ns),
                1.005 * static_cast<double>(best.ns))
          << "trial " << trial;
      if (before.excessBytes == 0)
        EXPECT_LE(after.ns, before.ns) << "trial " << trial;
      sharpened += before.excessBytes > 0 || after.ns < before.ns;
      const PolicyOutcome outcome =
          evaluate(rankProblem(problem, counts, rank), after.choices);
      EXPECT_EQ(outcome.extraNs, after.extraNs);
      EXPECT_EQ(outcome.peakBytes, after.peakBytes);
      EXPECT_EQ(after.ns, 12 * 30'000 + after.extraNs);
    }
  }
  EXPECT_GT(sharpened, 5);
}

// Two ways that take no time, of which the light one for all layers is enough:
// the front also has some layers that keep next to nothing.
TEST(RankCosts, LayersAreTreatedAlikeWhereThatTakesNoLonger) {
  PartitionProblem problem;
  BlockKind &kind = problem.kinds.emplace_back();
  kind.forwardNs = 10'000;
  kind.backwardNs = 20'000;
  kind.options = {{0, 1000, 1200}, {0, 800, 1200}, {0, 100, 1200}};
  problem.blocks = std::vector<int64_t>(8, 0);
  problem.rankOf = {0};
  problem.moments = {{{{3}, {0}, 0}}};
  problem.otherBytes = {0};
  problem.capacityBytes = {4 * 8 * 800 + 400};
  for (const auto &[ns, isAlike] :
       {std::pair(0, true), std::pair(500, false)}) {
    // Where the light way takes longer than a few heavy ones, these it is.
    kind.options[1].extraNs = ns;
    ASSERT_TRUE(problem.check().ok());
    const Partition made = evaluate(problem, {8});
    EXPECT_EQ(made.excessBytes, 0);
    EXPECT_EQ(made.rankNs, std::vector<int64_t>{8 * 30'000});
    EXPECT_EQ(made.choices.front().front() == std::vector<int64_t>(8, 1),
              isAlike);
    EXPECT_EQ(
        evaluate(rankProblem(problem, {8}, 0), made.choices.front()).peakBytes,
        made.peakBytes.front());
  }
}

} // namespace moe::optimize
