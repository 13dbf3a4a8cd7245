// Cuts of models against brute force over all of them.
#include "compiler/Optimize/Partition.h"

#include "test/unit/Optimize/RandomCuts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

namespace moe::optimize {
namespace {

// Fronts of one problem serve every capacity.
TEST(RankFronts, GiveWhatFreshOnesGive) {
  Random random(41);
  for (int trial = 0; trial < 60; ++trial) {
    PartitionProblem problem = randomProblem(random, trial % 2 == 1);
    RankFronts fronts;
    for (int step = 0; step < 4; ++step) {
      std::optional<Partition> fresh = partition(problem);
      std::optional<Partition> shared =
          partition(problem, Effort::fast, &fronts);
      ASSERT_TRUE(fresh && shared);
      EXPECT_EQ(shared->counts, fresh->counts) << "trial " << trial;
      EXPECT_EQ(shared->choices, fresh->choices) << "trial " << trial;
      EXPECT_EQ(shared->peakBytes, fresh->peakBytes) << "trial " << trial;
      for (int64_t &capacity : problem.capacityBytes)
        capacity += capacity / random(3, 9);
    }
  }
}

// What is known of stages does not depend on what ranks hold at which time.
TEST(RankFronts, ShareStagesWithThoseOfOtherMoments) {
  Random random(43);
  for (int trial = 0; trial < 40; ++trial) {
    const PartitionProblem first = randomProblem(random, trial % 2 == 1);
    PartitionProblem second = first;
    for (std::vector<RankMoment> &moments : second.moments)
      for (RankMoment &moment : moments)
        for (int64_t &held : moment.held)
          held = std::max<int64_t>(0, held + random(-1, 1));
    RankFronts fronts;
    partition(first, Effort::fast, &fronts);
    RankFronts shared(&fronts);
    std::optional<Partition> found = partition(second, Effort::fast, &shared);
    std::optional<Partition> fresh = partition(second);
    ASSERT_TRUE(found && fresh);
    EXPECT_EQ(found->counts, fresh->counts) << "trial " << trial;
    EXPECT_EQ(found->choices, fresh->choices) << "trial " << trial;
    EXPECT_EQ(found->peakBytes, fresh->peakBytes) << "trial " << trial;
  }
}

// The brief effort leaves out what improves choices for one capacity: its
// choices hold what it says, and those of the fast one are never worse.
TEST(Partition, IsNeverBetterByBriefEffort) {
  Random random(53);
  for (int trial = 0; trial < 300; ++trial) {
    const PartitionProblem problem = randomProblem(random, trial % 2 == 1);
    std::optional<Partition> brief = partition(problem, Effort::brief);
    std::optional<Partition> fast = partition(problem, Effort::fast);
    ASSERT_TRUE(brief && fast);
    EXPECT_TRUE(isLegal(problem, brief->counts)) << "trial " << trial;
    for (int64_t rank = 0; rank < problem.ranks(); ++rank)
      EXPECT_EQ(brief->peakBytes[static_cast<size_t>(rank)],
                evaluate(rankProblem(problem, brief->counts, rank),
                         brief->choices[static_cast<size_t>(rank)])
                    .peakBytes)
          << "trial " << trial;
    EXPECT_LE(std::pair(fast->excessBytes, fast->objectiveNs),
              std::pair(brief->excessBytes, brief->objectiveNs))
        << "trial " << trial;
  }
}

// What no sum over layers and microbatches can hold is told of before anything
// adds it up, on whatever stage it lies.
TEST(PartitionProblem, TellsOfSumsThatAreTooLarge) {
  Random random(47);
  for (const bool isV : {false, true}) {
    PartitionProblem problem = randomProblem(random, isV);
    EXPECT_TRUE(problem.checkSums().ok());
    problem.kinds.back().options.front().extraNs = int64_t{1} << 61;
    EXPECT_TRUE(problem.check().ok());
    ASSERT_FALSE(problem.checkSums().ok());
    EXPECT_THAT(problem.checkSums().error().message,
                testing::HasSubstr("exceed 2^62"));
  }
}

class AgainstAllCuts : public testing::TestWithParam<int> {};

TEST_P(AgainstAllCuts, TheBestIsFound) {
  bool isV = GetParam() % 2 == 1;
  Random random(static_cast<uint64_t>(GetParam()));
  int64_t fitting = 0;
  for (int trial = 0; trial < 60; ++trial) {
    PartitionProblem problem = randomProblem(random, isV);
    if (trial % 5 == 4) { // a pin
      problem.pins.assign(problem.blocks.size(), -1);
      problem.pins[2] = random(0, 1);
    }
    ASSERT_TRUE(problem.check().ok());
    std::optional<Partition> best;
    for (const std::vector<int64_t> &counts : allCuts(problem)) {
      Partition made = evaluate(problem, counts);
      if (!best || std::pair(made.excessBytes, made.objectiveNs) <
                       std::pair(best->excessBytes, best->objectiveNs))
        best = made;
    }
    std::optional<Partition> found = partition(problem);
    ASSERT_EQ(found.has_value(), best.has_value());
    if (!found)
      continue;
    EXPECT_TRUE(isLegal(problem, found->counts));
    Partition again = evaluate(problem, found->counts);
    EXPECT_EQ(again.objectiveNs, found->objectiveNs);
    EXPECT_EQ(again.excessBytes, found->excessBytes);
    if (best->excessBytes > 0)
      continue;
    ++fitting;
    std::optional<Partition> exact = partition(problem, Effort::exact);
    ASSERT_TRUE(exact.has_value());
    EXPECT_TRUE(exact->isOptimal) << "trial " << trial;
    EXPECT_EQ(exact->excessBytes, 0);
    // All cuts were evaluated with fronts so small that nothing is thinned.
    EXPECT_EQ(exact->objectiveNs, best->objectiveNs) << "trial " << trial;
    EXPECT_EQ(found->excessBytes, 0) << "trial " << trial;
    if (isV)
      EXPECT_LE(static_cast<double>(found->objectiveNs),
                1.02 * static_cast<double>(best->objectiveNs))
          << "trial " << trial;
    else
      EXPECT_EQ(found->objectiveNs, best->objectiveNs) << "trial " << trial;
  }
  EXPECT_GT(fitting, 15);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstAllCuts, testing::Range(0, 10));

TEST(Partition, UniformIsEven) {
  PartitionProblem problem;
  problem.kinds.resize(2);
  problem.kinds[0] = {.options = {{}}, .isLayer = false};
  problem.kinds[1] = {.forwardNs = 10, .backwardNs = 20, .options = {{}}};
  problem.blocks = {0};
  for (int layer = 0; layer < 10; ++layer)
    problem.blocks.push_back(1);
  problem.blocks.push_back(0);
  problem.rankOf = {0, 1, 2, 3};
  problem.moments.assign(4, {{{0}, {0}, 0}});
  problem.otherBytes.assign(4, 0);
  problem.capacityBytes.assign(4, 1);
  ASSERT_TRUE(problem.check().ok());
  EXPECT_THAT(uniformCounts(problem), testing::ElementsAre(3, 3, 3, 3));
  std::optional<Partition> found = partition(problem);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(*std::max_element(found->rankNs.begin(), found->rankNs.end()), 90);
}

// A budget has to be larger by what the rank furthest beyond it needs.
TEST(Partition, WhereNothingFitsTheLargestExcessIsTheLeast) {
  Random random(71);
  for (bool isV : {false, true}) {
    int unfit = 0, missed = 0;
    for (int trial = 0; trial < 150; ++trial) {
      PartitionProblem problem = randomProblem(random, isV);
      for (int64_t &capacity : problem.capacityBytes)
        capacity /= random(2, 6);
      std::optional<Partition> least;
      for (const std::vector<int64_t> &counts : allCuts(problem))
        if (Partition made = evaluate(problem, counts);
            !least || made.excessBytes < least->excessBytes)
          least = std::move(made);
      const std::optional<Partition> found = partition(problem);
      ASSERT_TRUE(found && least);
      EXPECT_GE(found->excessBytes, least->excessBytes);
      int64_t beyond = 0;
      for (int64_t rank = 0; rank < problem.ranks(); ++rank)
        beyond = std::max(beyond,
                          found->peakBytes[static_cast<size_t>(rank)] -
                              problem.capacityBytes[static_cast<size_t>(rank)]);
      EXPECT_EQ(found->excessBytes, std::max<int64_t>(0, beyond));
      unfit += least->excessBytes > 0;
      missed += found->excessBytes > least->excessBytes;
    }
    EXPECT_GT(unfit, 100);
    // Stages that take more than twice as long as the slowest of even shares
    // are left out.
    EXPECT_LE(missed, 3) << (isV ? "in a V" : "in a row");
  }
}

TEST(Partition, SaysWhatIsWrong) {
  PartitionProblem problem;
  EXPECT_FALSE(problem.check().ok());
  problem.kinds.resize(1);
  problem.kinds[0] = {.forwardNs = 10, .backwardNs = 20, .options = {{}}};
  problem.blocks = {0};
  problem.rankOf = {0, 1};
  problem.moments.assign(2, {{{0}, {0}, 0}});
  problem.otherBytes.assign(2, 0);
  problem.capacityBytes.assign(2, 1);
  EXPECT_THAT(problem.check().error().message,
              testing::HasSubstr("1 layers for 2 stages"));
  problem.blocks = {0, 0};
  EXPECT_TRUE(problem.check().ok());
  problem.pins = {1, 0};
  EXPECT_THAT(problem.check().error().message, testing::HasSubstr("rise"));
  problem.pins = {1, 1}; // leaves nothing for stage 0
  EXPECT_TRUE(problem.check().ok());
  EXPECT_FALSE(partition(problem).has_value());
}

} // namespace
} // namespace moe::optimize
