#include "compiler/Optimize/SizeClasses.h"

#include "compiler/Optimize/Offsets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

using namespace moe;
using namespace moe::optimize;

namespace {

std::vector<TimedBuffer> randomBuffers(const std::vector<int64_t> &sizes,
                                       std::mt19937 &random) {
  std::vector<TimedBuffer> buffers;
  for (size_t i = random() % 60; i > 0; --i) {
    auto begin = static_cast<int64_t>(random() % 80);
    buffers.push_back({sizes[random() % sizes.size()], begin,
                       begin + 1 + static_cast<int64_t>(random() % 30)});
  }
  return buffers;
}

/// The most that live at a time of those with a size in (above, upTo], moment
/// by moment.
int64_t mostLiving(const std::vector<TimedBuffer> &buffers, int64_t above,
                   int64_t upTo) {
  int64_t most = 0;
  for (int64_t now = 0; now < 120; ++now)
    most =
        std::max<int64_t>(most, std::count_if(buffers.begin(), buffers.end(),
                                              [&](const TimedBuffer &buffer) {
                                                return buffer.size > above &&
                                                       buffer.size <= upTo &&
                                                       buffer.begin <= now &&
                                                       now < buffer.end;
                                              }));
  return most;
}

/// The lowest height of all ways to part the sizes into ranges.
int64_t lowest(const std::vector<TimedBuffer> &buffers) {
  std::vector<int64_t> sizes;
  for (const TimedBuffer &buffer : buffers)
    if (buffer.size > 0)
      sizes.push_back(buffer.size);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  int64_t best = -1;
  // Bit i: a class ends behind size i.
  for (uint32_t ends = 0; ends < uint32_t{1} << (sizes.size() - 1); ++ends) {
    int64_t height = 0, above = 0;
    for (size_t i = 0; i < sizes.size(); ++i)
      if (i + 1 == sizes.size() || (ends >> i & 1)) {
        height += sizes[i] * mostLiving(buffers, above, sizes[i]);
        above = sizes[i];
      }
    best = best == -1 ? height : std::min(best, height);
  }
  return best;
}

TEST(SizeClasses, LegalAndTheLowestOfAllClasses) {
  std::mt19937 random(51);
  int64_t packed = 0, shared = 0;
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    std::vector<TimedBuffer> buffers =
        randomBuffers({0, 7, 90, 96, 100, 250, 256}, random);
    std::optional<ClassPacking> made = packInSizeClasses(buffers);
    bool hasBytes =
        std::any_of(buffers.begin(), buffers.end(),
                    [](const TimedBuffer &buffer) { return buffer.size > 0; });
    ASSERT_EQ(made.has_value(), hasBytes);
    if (!made)
      continue;
    ++packed;
    ASSERT_EQ(made->height, lowest(buffers));
    PackingProblem problem;
    PackingSolution solution;
    solution.offsets = made->offsets;
    std::map<int64_t, int64_t> apart; // most living, by size
    for (size_t i = 0; i < buffers.size(); ++i) {
      problem.buffers.push_back(
          {buffers[i].size, buffers[i].begin, buffers[i].end, 1});
      solution.height = std::max(
          solution.height,
          buffers[i].size == 0 ? 0 : made->offsets[i] + buffers[i].size);
      apart[buffers[i].size] =
          mostLiving(buffers, buffers[i].size - 1, buffers[i].size);
    }
    EXPECT_LE(solution.height, made->height);
    Status legal = verify(problem, solution);
    ASSERT_TRUE(legal.ok()) << legal.error().message;
    int64_t everySize = 0;
    for (auto [size, count] : apart)
      everySize += size * count;
    shared += made->height < everySize;
  }
  EXPECT_GT(packed, 250);
  EXPECT_GT(shared, 50); // classes of several sizes
}

TEST(SizeClasses, NothingForManySizes) {
  std::vector<TimedBuffer> buffers;
  for (int64_t size = 1; size <= 24; ++size)
    buffers.push_back({size, 0, 1});
  EXPECT_TRUE(packInSizeClasses(buffers));
  buffers.push_back({25, 0, 1});
  EXPECT_FALSE(packInSizeClasses(buffers));
  EXPECT_FALSE(packInSizeClasses({}));
}

} // namespace
