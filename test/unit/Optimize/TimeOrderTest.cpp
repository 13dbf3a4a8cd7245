#include "compiler/Optimize/TimeOrder.h"

#include "compiler/Optimize/Offsets.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using namespace moe::optimize;

namespace {

/// The height of what it packs, which must be legal, beside the bound.
std::pair<int64_t, int64_t> pack(const std::vector<TimedBuffer> &buffers) {
  PackingProblem problem;
  for (const TimedBuffer &buffer : buffers)
    problem.buffers.push_back({buffer.size, buffer.begin, buffer.end, 1});
  PackingSolution solution;
  solution.offsets = packTimed(buffers);
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      solution.height =
          std::max(solution.height, solution.offsets[i] + buffers[i].size);
  Status legal = verify(problem, solution);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
  return {solution.height, maxLive(problem)};
}

TEST(TimeOrder, RandomLifetimes) {
  std::mt19937 random(41);
  double heights = 0, bounds = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<TimedBuffer> buffers;
    for (size_t i = random() % 300; i > 0; --i) {
      auto begin = static_cast<int64_t>(random() % 200);
      buffers.push_back({static_cast<int64_t>(random() % 4 * 100), begin,
                         begin + 1 + static_cast<int64_t>(random() % 40)});
    }
    auto [height, bound] = pack(buffers);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    heights += static_cast<double>(height);
    bounds += static_cast<double>(bound);
  }
  EXPECT_LT(heights, 1.1 * bounds);
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
