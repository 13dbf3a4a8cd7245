// No order is quicker than the bound, and where work is even, some are near.
#include "compiler/Schedule/WorkBound.h"

#include "compiler/Schedule/Generators.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

using namespace moe;
using namespace moe::schedule;

namespace {

std::vector<BlockWork> layersOf(const std::vector<int64_t> &works) {
  std::vector<BlockWork> blocks;
  for (int64_t work : works)
    blocks.push_back({work / 3, work - work / 3, true});
  return blocks;
}

/// The least largest load of any way to give these to the ranks.
int64_t bruteForce(const std::vector<int64_t> &works, size_t next,
                   std::vector<int64_t> &loads) {
  if (next == works.size())
    return *std::max_element(loads.begin(), loads.end());
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t &load : loads) {
    load += works[next];
    least = std::min(least, bruteForce(works, next + 1, loads));
    load -= works[next];
  }
  return least;
}

// Without anything to wait for, it is about which rank has what.
TEST(WorkBound, IsNoMoreThanTheBestAssignment) {
  std::mt19937 random(3);
  int64_t equal = 0;
  for (int round = 0; round < 500; ++round) {
    std::vector<int64_t> works;
    for (size_t i = 0, count = 1 + random() % 7; i < count; ++i)
      works.push_back(1 + static_cast<int64_t>(random() % 9));
    std::vector<int64_t> loads(1 + random() % 3, 0);
    const int64_t least = bruteForce(works, 0, loads);
    std::vector<BlockWork> blocks = layersOf(works);
    for (BlockWork &block : blocks) // all of it backward
      block = {0, block.forwardNs + block.backwardNs, true};
    const int64_t bound = leastNsOfAnyOrder(blocks, std::ssize(loads), 10, 1);
    EXPECT_LE(bound, 10 * least);
    equal += bound == 10 * least;
  }
  EXPECT_GT(equal, 250);
}

TEST(WorkBound, KnowsThatLayersAreWhole) {
  // Four ranks with two layers each, and one with three.
  EXPECT_EQ(
      leastNsOfAnyOrder(layersOf(std::vector<int64_t>(11, 30)), 5, 1000, 1),
      90'000);
  EXPECT_EQ(leastNsOfAnyOrder(layersOf({700, 30, 30, 30}), 2, 1, 1), 700);
}

TEST(WorkBound, CountsTheWayToTheRanks) {
  // Each of four ranks begins a forward behind the one before.
  EXPECT_EQ(leastNsOfAnyOrder(layersOf({30, 30, 30, 30}), 4, 100, 1),
            3000 + (10 + 20 + 30) / 4);
  // Two copies begin at both ends.
  EXPECT_EQ(leastNsOfAnyOrder(layersOf({30, 30, 30, 30}), 4, 100, 2), 3000);
}

// Whatever stages take and however layers are cut.
TEST(WorkBound, IsNoMoreThanAnyGeneratedOrderTakes) {
  std::mt19937 random(7);
  auto upTo = [&](int64_t most) {
    return static_cast<int64_t>(random() % static_cast<uint32_t>(most));
  };
  int64_t made = 0;
  double closest = 2;
  for (int round = 0; round < 600; ++round) {
    const GeneratorInfo &info =
        generators()[static_cast<size_t>(round) % generators().size()];
    const ScheduleProblem problem{1 + upTo(6), 1 + upTo(24), info.stagesPerRank,
                                  info.placement};
    if (!problem.check())
      continue;
    GeneratorOptions options;
    options.costs = Costs::uniform(problem);
    std::vector<BlockWork> blocks;
    const int64_t stages = problem.stagesPerReplica();
    for (int64_t stage = 0; stage < stages; ++stage) {
      StageCosts costs;
      costs.savedBytes = costs.weightGradBytes = 1000;
      const bool isEven = round % 2 == 0;
      for (int64_t layer = isEven ? 0 : upTo(3); layer < 3; ++layer) {
        const int64_t forward = isEven ? 100 : upTo(200),
                      inputGrad = isEven ? 100 : upTo(200),
                      weightGrad = isEven ? 100 : upTo(200);
        blocks.push_back({forward, inputGrad + weightGrad, true});
        costs.forwardNs += forward;
        costs.inputGradNs += inputGrad;
        costs.weightGradNs += weightGrad;
      }
      for (int64_t copy = 0; copy < problem.replicas(); ++copy)
        options.costs.stages[static_cast<size_t>(copy * stages + stage)] =
            costs;
    }
    options.costs.transferNs = upTo(50);
    Result<Schedule> order = generate(info.name, problem, options);
    if (!order)
      continue;
    Result<Evaluation> taken = evaluate(*order, options.costs);
    ASSERT_TRUE(taken) << taken.error().message;
    const int64_t bound = leastNsOfAnyOrder(
        blocks, problem.ranks, problem.microbatches, problem.replicas());
    EXPECT_LE(bound, taken->makespanNs)
        << info.name << " " << problem.ranks << " " << problem.microbatches;
    ++made;
    if (problem.ranks > 1)
      closest = std::min(closest, static_cast<double>(taken->makespanNs) /
                                      static_cast<double>(bound));
  }
  EXPECT_GT(made, 300);
  EXPECT_LT(closest, 1.05);
}

} // namespace
