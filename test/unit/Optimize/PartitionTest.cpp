// Cuts of models against brute force over all of them.
#include "compiler/Optimize/Partition.h"

#include "test/unit/Optimize/RandomLag.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

namespace moe::optimize {
namespace {

/// An embedding, up to eight layers of two kinds, a head; two to four ranks
/// with one stage each, or two with two in a V. Ranks hold fewer microbatches
/// the later they come, and have room for some of what layers keep.
PartitionProblem randomProblem(Random &random, bool isV) {
  PartitionProblem problem;
  for (int kind = 0; kind < 4; ++kind) {
    BlockKind &made = problem.kinds.emplace_back();
    made.isLayer = kind == 1 || kind == 2;
    made.forwardNs = random(made.isLayer ? 500 : 0, 1000);
    made.backwardNs = 2 * made.forwardNs;
    made.persistentBytes = random(0, 3000);
    int64_t kept = random(made.isLayer ? 300 : 0, 600);
    made.options.push_back({0, kept, kept + random(0, 200)});
    if (made.isLayer)
      for (int64_t i = random(1, 3); i > 0; --i) {
        kept = random(20, kept);
        made.options.push_back(
            {made.options.back().extraNs + random(10, made.forwardNs / 2), kept,
             kept + random(0, 300)});
        addLag(made.options.back(), random, made.forwardNs / 4);
      }
    for (LayerOption &option : made.options)
      option.pendingBytes = random(0, 100);
    if (made.isLayer && kind == 1) {
      made.lastOptions = made.options;
      for (LayerOption &option : made.lastOptions)
        option.extraNs += option.extraNs / 2;
    }
  }
  int64_t ranks = isV ? 2 : random(2, 4);
  int64_t layers = random(2 * ranks, 8);
  problem.blocks.push_back(0);
  for (int64_t l = 0; l < layers; ++l)
    problem.blocks.push_back(l < layers / 3 ? 1 : 2);
  problem.blocks.push_back(3);
  for (int64_t rank = 0; rank < ranks; ++rank)
    problem.rankOf.push_back(rank);
  if (isV)
    for (int64_t rank = ranks; rank-- > 0;)
      problem.rankOf.push_back(rank);
  problem.microbatches = random(ranks, 16);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    std::vector<RankMoment> &moments = problem.moments.emplace_back();
    if (isV) {
      moments.push_back({{ranks, rank}, {0, 1}, 0, 1});
      moments.push_back({{ranks - 1, rank + 1}, {1, 0}, 1, 0});
    } else {
      moments.push_back({{ranks - rank - 1}, {0}, 0});
    }
    problem.otherBytes.push_back(100);
    problem.capacityBytes.push_back(random(4000, 16000));
  }
  return problem;
}

std::vector<std::vector<int64_t>> allCuts(const PartitionProblem &problem) {
  std::vector<std::vector<int64_t>> cuts;
  auto blocks = static_cast<int64_t>(problem.blocks.size());
  std::vector<int64_t> counts;
  auto extend = [&](auto &self, int64_t left) -> void {
    if (static_cast<int64_t>(counts.size()) + 1 == problem.stages()) {
      counts.push_back(left);
      if (isLegal(problem, counts))
        cuts.push_back(counts);
      counts.pop_back();
      return;
    }
    for (int64_t count = 1; count < left; ++count) {
      counts.push_back(count);
      self(self, left - count);
      counts.pop_back();
    }
  };
  extend(extend, blocks);
  return cuts;
}

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

/// Steps that are as long as the longest of some chains of stages.
class ChainsOfStages : public StepTimes {
public:
  ChainsOfStages(const PartitionProblem &problem, Random &random)
      : problem(problem) {
    for (int chain = 0; chain < 6; ++chain) {
      std::vector<int64_t> &passes = chains.emplace_back();
      for (int64_t stage = 0; stage < problem.stages(); ++stage)
        passes.push_back(random(1, problem.microbatches));
    }
  }

  int64_t ns(const std::vector<int64_t> &counts,
             const std::vector<StageTimes> &longer) override {
    ++timed;
    known = chains.size();
    return longest(chains.size(), counts, longer);
  }
  int64_t leastNs(const std::vector<int64_t> &counts,
                  const std::vector<StageTimes> &longer) const override {
    return longest(known / 2, counts, longer);
  }

  int timed = 0;

private:
  int64_t longest(size_t chainCount, const std::vector<int64_t> &counts,
                  const std::vector<StageTimes> &longer) const {
    int64_t most = 0;
    for (size_t chain = 0; chain < chainCount; ++chain) {
      int64_t ns = 0;
      size_t block = 0;
      for (size_t stage = 0; stage < counts.size(); ++stage) {
        int64_t stageNs = longer[stage].forwardNs + longer[stage].backwardNs;
        for (int64_t b = 0; b < counts[stage]; ++b, ++block) {
          const BlockKind &kind =
              problem.kinds[static_cast<size_t>(problem.blocks[block])];
          stageNs += kind.forwardNs + kind.backwardNs;
        }
        ns += chains[chain][stage] * stageNs;
      }
      most = std::max(most, ns);
    }
    return most;
  }

  const PartitionProblem &problem;
  std::vector<std::vector<int64_t>> chains;
  size_t known = 0;
};

/// How long the step takes with what `made` chooses.
int64_t stepNsOf(const PartitionProblem &problem, const Partition &made,
                 StepTimes &steps) {
  std::vector<StageTimes> longer;
  std::vector<size_t> next(problem.moments.size(), 0);
  for (int64_t rank : problem.rankOf) {
    const size_t place = next[static_cast<size_t>(rank)]++;
    longer.push_back(timesOf(rankProblem(problem, made.counts, rank), place,
                             made.choices[static_cast<size_t>(rank)][place]));
  }
  return steps.ns(made.counts, longer);
}

// Where steps are known, several stages on a rank are cut for them, not for the
// objective.
TEST(Partition, IsQuickByTheStepsThatItIsTold) {
  Random random(53);
  int fitting = 0;
  double ofBest = 0, ofFound = 0, ofObjective = 0;
  for (int trial = 0; trial < 100; ++trial) {
    PartitionProblem problem = randomProblem(random, true);
    const std::optional<Partition> byObjective = partition(problem);
    auto steps = std::make_shared<ChainsOfStages>(problem, random);
    int64_t best = std::numeric_limits<int64_t>::max();
    for (const std::vector<int64_t> &counts : allCuts(problem))
      if (Partition made = evaluate(problem, counts); made.excessBytes == 0)
        best = std::min(best, stepNsOf(problem, made, *steps));
    problem.steps = steps;
    const std::optional<Partition> found = partition(problem);
    ASSERT_TRUE(found && byObjective);
    if (best == std::numeric_limits<int64_t>::max())
      continue;
    ++fitting;
    EXPECT_EQ(found->excessBytes, 0) << "trial " << trial;
    ofBest += static_cast<double>(best);
    ofFound += static_cast<double>(stepNsOf(problem, *found, *steps));
    ofObjective += static_cast<double>(stepNsOf(problem, *byObjective, *steps));
    EXPECT_LE(static_cast<double>(stepNsOf(problem, *found, *steps)),
              1.02 * static_cast<double>(best))
        << "trial " << trial;
  }
  EXPECT_GT(fitting, 30);
  EXPECT_LT(ofFound, 1.001 * ofBest);
  EXPECT_GT(ofObjective, 1.02 * ofBest);
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
