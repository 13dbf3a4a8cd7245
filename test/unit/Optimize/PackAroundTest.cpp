#include "compiler/Optimize/PackAround.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

using namespace moe;
using namespace moe::optimize;

namespace {

bool meet(const TimedBuffer &a, const TimedBuffer &b) {
  return a.begin < b.end && b.begin < a.end;
}

std::vector<TimedBuffer> randomBuffers(std::mt19937 &random, size_t count,
                                       int64_t longest) {
  std::vector<TimedBuffer> buffers;
  for (size_t i = 0; i < count; ++i) {
    auto begin = static_cast<int64_t>(random() % 100);
    buffers.push_back({static_cast<int64_t>(random() % 6), begin,
                       begin + 1 + static_cast<int64_t>(random()) % longest});
  }
  return buffers;
}

TEST(PackAround, FillsWhatTheOthersLeave) {
  // 10 bytes high over [0, 10), with a gap of 3 at 4 until 6.
  const std::vector<TimedBuffer> placed = {{4, 0, 10}, {3, 6, 10}, {3, 0, 8}};
  const std::vector<int64_t> places = {0, 4, 7};
  EXPECT_EQ(packAround(placed, places,
                       {{3, 0, 6},   // just fits
                        {3, 0, 7},   // does not: above
                        {2, 8, 10},  // where another one has gone
                        {1, 8, 9}}), // beside the one before
            (std::vector<int64_t>{4, 10, 7, 9}));
  EXPECT_EQ(packAround({}, {}, {{5, 0, 1}, {0, 0, 1}}),
            (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(packAround(placed, places, {}).empty());
}

/// Beside the definition, written down byte by byte: chains of common lives,
/// the largest first, each to the lowest place where it meets nothing.
TEST(PackAround, IsTheLowestPlaceOfEach) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const std::vector<TimedBuffer> placed =
        randomBuffers(random, random() % 12, 60);
    const std::vector<int64_t> places = packTimed(placed);
    const std::vector<TimedBuffer> buffers =
        randomBuffers(random, random() % 20, 1 + round % 12);
    const std::vector<int64_t> offsets = packAround(placed, places, buffers);
    ASSERT_EQ(offsets.size(), buffers.size());

    // Chains, by repeated union.
    std::vector<size_t> chainOf(buffers.size());
    for (size_t i = 0; i < buffers.size(); ++i)
      chainOf[i] = i;
    for (bool isChanged = true; isChanged;) {
      isChanged = false;
      for (size_t i = 0; i < buffers.size(); ++i)
        for (size_t j = 0; j < buffers.size(); ++j)
          if (buffers[i].size > 0 && buffers[j].size > 0 &&
              meet(buffers[i], buffers[j]) && chainOf[i] != chainOf[j]) {
            chainOf[i] = chainOf[j] = std::min(chainOf[i], chainOf[j]);
            isChanged = true;
          }
    }
    std::vector<size_t> order;
    for (size_t i = 0; i < buffers.size(); ++i)
      if (buffers[i].size > 0)
        order.push_back(i);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::tuple(chainOf[a], -buffers[a].size, buffers[a].begin, a) <
             std::tuple(chainOf[b], -buffers[b].size, buffers[b].begin, b);
    });
    std::vector<size_t> done;
    for (size_t i : order) {
      auto isFree = [&](int64_t at) {
        auto clashes = [&](const TimedBuffer &other, int64_t place) {
          return meet(buffers[i], other) && at < place + other.size &&
                 place < at + buffers[i].size;
        };
        for (size_t p = 0; p < placed.size(); ++p)
          if (clashes(placed[p], places[p]))
            return false;
        return std::none_of(done.begin(), done.end(), [&](size_t other) {
          return clashes(buffers[other], offsets[other]);
        });
      };
      int64_t lowest = 0;
      while (!isFree(lowest))
        ++lowest;
      EXPECT_EQ(offsets[i], lowest) << "round " << round << ", buffer " << i;
      done.push_back(i);
    }
  }
}

} // namespace
