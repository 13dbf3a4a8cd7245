#include "compiler/Optimize/EndOrder.h"

#include "compiler/Optimize/Offsets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

using namespace moe;
using namespace moe::optimize;

namespace {

/// The height of what it packs, which must be legal, beside the bound.
std::pair<int64_t, int64_t> pack(const std::vector<TimedBuffer> &buffers,
                                 double wasteWeight) {
  PackingProblem problem;
  for (const TimedBuffer &buffer : buffers)
    problem.buffers.push_back({buffer.size, buffer.begin, buffer.end, 1});
  PackingSolution solution;
  const TimedPacking made = packByEnds(buffers, wasteWeight);
  solution.offsets = made.offsets;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      solution.height =
          std::max(solution.height, made.offsets[i] + buffers[i].size);
  EXPECT_EQ(solution.height, made.height);
  Status legal = verify(problem, solution);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
  return {made.height, maxLive(problem)};
}

TEST(EndOrder, RandomLifetimes) {
  std::mt19937 random(51);
  double heights = 0, bounds = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<TimedBuffer> buffers;
    for (size_t i = random() % 300; i > 0; --i) {
      auto begin = static_cast<int64_t>(random() % 200);
      buffers.push_back({static_cast<int64_t>(random() % 4 * 100), begin,
                         begin + 1 + static_cast<int64_t>(random() % 40)});
    }
    auto [height, bound] = pack(buffers, 1.0 / 16);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    heights += static_cast<double>(height);
    bounds += static_cast<double>(bound);
  }
  EXPECT_LT(heights, 1.15 * bounds);
}

// Three that stay, the last one not as long, and between them two gaps.
std::vector<TimedBuffer> withGaps(int64_t first, int64_t second) {
  return {{100, 0, 50},
          {first, 1, 10},
          {100, 2, 50},
          {second, 3, 10},
          {100, 4, 20}};
}

TEST(EndOrder, WhatEndsTogetherLiesTogether) {
  std::vector<TimedBuffer> buffers = withGaps(60, 60);
  buffers.push_back({60, 10, 20});
  EXPECT_EQ(packByEnds(buffers, 1).offsets[5], 260); // below the last
  buffers.back().end = 50;
  EXPECT_EQ(packByEnds(buffers, 1).offsets[5], 100); // between the others
}

TEST(EndOrder, WasteCountsByItsWeight) {
  std::vector<TimedBuffer> buffers = withGaps(60, 90);
  buffers.push_back({60, 10, 20});
  EXPECT_EQ(packByEnds(buffers, 100).offsets[5], 100); // fills a gap
  EXPECT_EQ(packByEnds(buffers, 0).offsets[5], 290);   // beside the last
}

} // namespace
