#include "compiler/Optimize/TimeOrder.h"

#include "RandomTimed.h"

#include <gtest/gtest.h>

#include <limits>

using namespace moe;
using namespace moe::optimize;

namespace {

std::pair<int64_t, int64_t> pack(const std::vector<TimedBuffer> &buffers) {
  return heightAndBound(buffers, packTimed(buffers));
}

TEST(TimeOrder, RandomLifetimes) {
  std::mt19937 random(41);
  double heights = 0, bounds = 0;
  for (int round = 0; round < 200; ++round) {
    auto [height, bound] = pack(randomTimed(random));
    ASSERT_FALSE(HasFailure()) << "round " << round;
    heights += static_cast<double>(height);
    bounds += static_cast<double>(bound);
  }
  EXPECT_LT(heights, 1.1 * bounds);
}

// Not the lowest, but what the judge likes best, and no way more than it takes
// to be low enough.
TEST(TimeOrder, TheJudgeDecides) {
  std::mt19937 random(44);
  for (int round = 0; round < 50; ++round) {
    const std::vector<TimedBuffer> buffers = randomTimed(random);
    int64_t best = std::numeric_limits<int64_t>::max(), asked = 0;
    std::vector<int64_t> liked;
    auto judge = [&](const TimedPacking &packing) {
      const auto more = static_cast<int64_t>(random() % 1000);
      ++asked;
      if (packing.height + more < best) {
        best = packing.height + more;
        liked = packing.offsets;
      }
      return packing.height + more;
    };
    EXPECT_EQ(packTimed(buffers, {-1, judge}), liked);
    EXPECT_GE(asked, 1);
    asked = 0;
    packTimed(buffers, {std::numeric_limits<int64_t>::max(), judge});
    EXPECT_EQ(asked, 1);
  }
}

TEST(TimeOrder, EqualSizesReachTheBound) {
  std::mt19937 random(42);
  for (int round = 0; round < 50; ++round) {
    std::vector<TimedBuffer> buffers;
    for (int i = 0; i < 300; ++i) {
      auto begin = static_cast<int64_t>(random() % 500);
      buffers.push_back(
          {256, begin, begin + 1 + static_cast<int64_t>(random() % 60)});
    }
    auto [height, bound] = pack(buffers);
    ASSERT_EQ(height, bound);
  }
}

TEST(TimeOrder, LayersThatAreHandedOver) {
  // One microbatch goes backward through its layers while the next goes
  // forward: one layer more than the microbatches in flight is enough.
  constexpr int64_t layers = 8, inFlight = 4;
  std::vector<TimedBuffer> buffers;
  for (int64_t m = 0; m < 40; ++m)
    for (int64_t layer = 0; layer < layers; ++layer)
      buffers.push_back(
          {1000, m * layers + layer, (m + inFlight + 1) * layers - layer});
  auto [height, bound] = pack(buffers);
  EXPECT_EQ(bound, 1000 * (inFlight * layers + 1));
  EXPECT_EQ(height, bound);
}

TEST(TimeOrder, SizesThatComeAndGoApart) {
  // Every size lives most at the same moment: apart from each other they reach
  // the bound, mixed they hinder each other at other times.
  std::mt19937 random(43);
  std::vector<TimedBuffer> buffers;
  for (int64_t size : {708, 652, 592, 560, 514, 320, 56}) {
    for (int64_t i = 0; i < 200; ++i) {
      auto begin = static_cast<int64_t>(random() % 1000);
      buffers.push_back(
          {size, begin, begin + 1 + static_cast<int64_t>(random() % 60)});
    }
    for (int64_t i = 0; i < 8; ++i)
      buffers.push_back({size, 480 + i, 501 + i});
    for (int64_t i = 0; i < 5; ++i)
      buffers.push_back({size, 500, 501});
  }
  auto [height, bound] = pack(buffers);
  EXPECT_EQ(height, bound);
}

} // namespace
