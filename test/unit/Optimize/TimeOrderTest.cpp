#include "compiler/Optimize/TimeOrder.h"

#include "RandomTimed.h"
#include "compiler/Optimize/Offsets.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace moe;
using namespace moe::optimize;

namespace {

std::pair<int64_t, int64_t> pack(const std::vector<TimedBuffer> &buffers) {
  const TimedPacking packing = packTimed({buffers, {}, {}, 0});
  auto [height, bound] = heightAndBound(buffers, packing.kept);
  EXPECT_EQ(packing.reach, height);
  EXPECT_EQ(packing.bound, bound);
  return {height, bound};
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
  EXPECT_LT(heights, 1.02 * bounds);
}

/// What is kept, what passes, and bytes above both.
TimedProblem randomProblem(std::mt19937 &random) {
  TimedProblem problem;
  auto draw = [&](int64_t most) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(most));
  };
  for (int64_t i = draw(80); i >= 0; --i) {
    const int64_t begin = draw(200);
    problem.kept.push_back({draw(4) * 100, begin, begin + 1 + draw(60)});
  }
  for (int64_t i = draw(120); i > 0; --i) {
    const int64_t begin = draw(200);
    problem.passing.push_back({draw(5) * 50, begin, begin + 1 + draw(6)});
  }
  for (int64_t moments = draw(250); moments > 0; --moments)
    problem.above.push_back(draw(10) == 0 ? draw(400) : 0);
  return problem;
}

// Moment by moment: what lives and how high it reaches, with what lies above.
TEST(TimeOrder, ReachAndBoundAreThoseOfAllMoments) {
  std::mt19937 random(44);
  double reaches = 0, bounds = 0;
  for (int round = 0; round < 150; ++round) {
    const TimedProblem problem = randomProblem(random);
    const TimedPacking packing = packTimed(problem);
    std::vector<TimedBuffer> all = problem.kept;
    all.insert(all.end(), problem.passing.begin(), problem.passing.end());
    std::vector<int64_t> offsets = packing.kept;
    offsets.insert(offsets.end(), packing.passing.begin(),
                   packing.passing.end());
    heightAndBound(all, offsets);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    int64_t reach = 0, bound = 0;
    for (int64_t now = 0; now < 300; ++now) {
      int64_t live = 0, top = 0;
      bool isAny = false;
      for (size_t i = 0; i < all.size(); ++i)
        if (all[i].size > 0 && all[i].begin <= now && now < all[i].end) {
          isAny = true;
          live += all[i].size;
          top = std::max(top, offsets[i] + all[i].size);
        }
      const auto at = static_cast<size_t>(now);
      const int64_t above =
          isAny && at < problem.above.size() ? problem.above[at] : 0;
      reach = std::max(reach, top + above);
      bound = std::max(bound, live + above);
    }
    EXPECT_EQ(packing.reach, reach) << "round " << round;
    EXPECT_EQ(packing.bound, bound) << "round " << round;
    reaches += static_cast<double>(reach);
    bounds += static_cast<double>(bound);
    const TimedPacking again = packTimed(problem);
    EXPECT_EQ(again.kept, packing.kept);
    EXPECT_EQ(again.passing, packing.passing);
  }
  EXPECT_LT(reaches, 1.04 * bounds);
}

// Beside a search that proves its optimum.
TEST(TimeOrder, SmallProblemsComeNearTheOptimum) {
  std::mt19937 random(45);
  int64_t proven = 0, met = 0;
  double reaches = 0, heights = 0;
  for (int round = 0; round < 200; ++round) {
    TimedProblem timed;
    PackingProblem problem;
    for (size_t i = 0; i < 12; ++i) {
      const auto begin = static_cast<int64_t>(random() % 12);
      const TimedBuffer buffer{1 + static_cast<int64_t>(random() % 9), begin,
                               begin + 1 + static_cast<int64_t>(random() % 8)};
      timed.kept.push_back(buffer);
      problem.buffers.push_back({buffer.size, buffer.begin, buffer.end});
    }
    const PackingSolution best = optimize::pack(problem, 100000);
    if (best.height != best.lowerBound)
      continue;
    ++proven;
    const int64_t reach = packTimed(timed).reach;
    EXPECT_GE(reach, best.height) << "round " << round;
    met += reach == best.height;
    reaches += static_cast<double>(reach);
    heights += static_cast<double>(best.height);
  }
  EXPECT_GE(proven, 190);
  EXPECT_GE(met, proven / 2);
  EXPECT_LT(reaches, 1.05 * heights);
}

// Beside much that lies below, the first packing is good enough; without that
// the search goes back and tries again.
TEST(TimeOrder, LimitsFallUntilItIsEnough) {
  std::mt19937 random(46);
  int lowered = 0;
  for (int round = 0; round < 100; ++round) {
    TimedProblem problem = randomProblem(random);
    const int64_t low = packTimed(problem).reach;
    problem.below = int64_t{1} << 40;
    const TimedPacking first = packTimed(problem);
    EXPECT_GE(first.reach, low) << "round " << round;
    lowered += first.reach > low;
  }
  EXPECT_GE(lowered, 30);
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

// Three that stay, the last one not as long, and between them two gaps. There
// is so much below that the first packing is enough.
TEST(TimeOrder, WhatEndsTogetherLiesTogether) {
  TimedProblem problem{
      {{100, 0, 50}, {60, 1, 10}, {100, 2, 50}, {60, 3, 10}, {100, 4, 20}},
      {},
      {},
      int64_t{1} << 40};
  problem.kept.push_back({60, 10, 20});
  EXPECT_EQ(packTimed(problem).kept[5], 260); // below the last
  problem.kept.back().end = 50;
  EXPECT_EQ(packTimed(problem).kept[5], 100); // between the others
}

} // namespace
