#include "runtime/Plan/LiveRanges.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using namespace moe::plan;

namespace {

// In runs of neighbours and here and there.
TEST(LiveRanges, AreWhatWasPutThere) {
  std::mt19937 random(3);
  auto pick = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  LiveRanges ranges;
  LiveRanges::Map known;
  int64_t taken = 0;
  size_t mostKnown = 0;
  auto overlap = [&](int64_t begin, int64_t end) {
    for (const auto &[at, range] : known)
      if (at < end && range.end > begin)
        return at;
    return int64_t{-1};
  };
  for (int round = 0; round < 4000; ++round) {
    // Fills, then empties, then fills again.
    const bool adds = pick(0, 9) < (round / 1000 % 2 == 0 ? 7 : 2);
    int64_t at = pick(0, 20'000);
    for (int64_t count = pick(1, 8); count > 0; --count) {
      const int64_t end = at + pick(1, 12);
      const int64_t expected = overlap(at, end);
      const auto *found = ranges.firstOverlap(at, end);
      ASSERT_EQ(found ? found->first : -1, expected);
      if (adds && expected == -1) {
        const Instance owner{0, round, count};
        ranges.insert(at, end, owner);
        known[at] = {end, owner};
      } else if (!adds) {
        const auto range = known.lower_bound(at);
        const int64_t gone = range == known.end() ? at : range->first;
        if (range != known.end()) {
          EXPECT_TRUE(ranges.holds(gone, range->second.owner));
          EXPECT_FALSE(ranges.holds(gone, {1, 0, 0}));
          known.erase(range);
        }
        ranges.erase(gone);
        ranges.erase(gone); // once more changes nothing
        EXPECT_FALSE(ranges.holds(gone, {0, 0, 0}));
      } else {
        ++taken;
      }
      at = end;
    }
    mostKnown = std::max(mostKnown, known.size());
    ASSERT_EQ(ranges.all().size(), known.size());
  }
  EXPECT_GT(taken, 100);
  EXPECT_GT(mostKnown, 300u);
}

} // namespace
