#include "compiler/Optimize/EndOrder.h"

#include "RandomTimed.h"

#include <gtest/gtest.h>

using namespace moe;
using namespace moe::optimize;

namespace {

TEST(EndOrder, RandomLifetimes) {
  std::mt19937 random(51);
  double heights = 0, bounds = 0;
  for (int round = 0; round < 200; ++round) {
    const std::vector<TimedBuffer> buffers = randomTimed(random);
    const TimedPacking made = packByEnds(buffers, 1.0 / 16);
    auto [height, bound] = heightAndBound(buffers, made.offsets);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    EXPECT_EQ(made.height, height);
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
