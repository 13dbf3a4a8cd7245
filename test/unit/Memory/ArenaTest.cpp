//===- ArenaTest.cpp ------------------------------------------------------===//

#include "runtime/Memory/Arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <unistd.h>
#include <vector>

namespace moe {
namespace {

using plan::ByteCounts;
using plan::MemoryClass;
using testing::HasSubstr;

Arena makeArena(int64_t bytes, bool poison = false) {
  Result<Arena> arena = Arena::create(bytes, poison);
  EXPECT_TRUE(arena.ok()) << (arena.ok() ? "" : arena.error().message);
  return std::move(*arena);
}

std::string messageOf(const Result<std::byte *> &result) {
  return result.ok() ? "no error" : result.error().message;
}
std::string messageOf(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

TEST(Arena, StartsAsZeros) {
  Arena arena = makeArena(1024);
  for (int64_t i = 0; i < 1024; ++i)
    ASSERT_EQ(*arena.at(i), std::byte(0));
  EXPECT_EQ(arena.size(), 1024);
  EXPECT_EQ(arena.live(), ByteCounts());
}

TEST(Arena, GivesAddressesAtTheOffsets) {
  Arena arena = makeArena(1024);
  Result<std::byte *> buffer = arena.allocate(512, 256, MemoryClass::saved);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(*buffer, arena.at(512));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(*buffer) % plan::kAlignment, 0u);
}

TEST(Arena, CountsPerClass) {
  Arena arena = makeArena(4096);
  ASSERT_TRUE(arena.allocate(0, 256, MemoryClass::parameters).ok());
  ASSERT_TRUE(arena.allocate(256, 1024, MemoryClass::saved).ok());
  ASSERT_TRUE(arena.allocate(2048, 512, MemoryClass::saved).ok());
  EXPECT_EQ(arena.live()[MemoryClass::parameters], 256);
  EXPECT_EQ(arena.live()[MemoryClass::saved], 1536);
  EXPECT_EQ(arena.live().total(), 1792);
  ASSERT_TRUE(arena.release(256).ok());
  EXPECT_EQ(arena.live()[MemoryClass::saved], 512);
}

TEST(Arena, KeepsTheFirstPeak) {
  Arena arena = makeArena(1024);
  ASSERT_TRUE(arena.allocate(0, 512, MemoryClass::saved).ok());
  ASSERT_TRUE(arena.allocate(512, 256, MemoryClass::workspace).ok());
  ASSERT_TRUE(arena.release(0).ok());
  // The same total again, of other classes: the first moment stands.
  ASSERT_TRUE(arena.allocate(0, 512, MemoryClass::send).ok());
  EXPECT_EQ(arena.peakTotal(), 768);
  EXPECT_EQ(arena.peak()[MemoryClass::saved], 512);
  EXPECT_EQ(arena.peak()[MemoryClass::workspace], 256);
  EXPECT_EQ(arena.peak()[MemoryClass::send], 0);
  ASSERT_TRUE(arena.allocate(768, 256, MemoryClass::send).ok());
  EXPECT_EQ(arena.peakTotal(), 1024);
  EXPECT_EQ(arena.peak()[MemoryClass::send], 768);
}

TEST(Arena, OverlapNamesBoth) {
  Arena arena = makeArena(4096);
  ASSERT_TRUE(arena.allocate(512, 512, MemoryClass::saved, "first").ok());
  // From below, from above, inside, around, and the same again.
  struct {
    int64_t offset, bytes;
  } overlaps[] = {{256, 512}, {768, 512}, {512, 256},
                  {0, 4096},  {512, 512}, {768, 256}};
  for (auto [offset, bytes] : overlaps) {
    std::string message = messageOf(
        arena.allocate(offset, bytes, MemoryClass::transient, "second"));
    EXPECT_THAT(message, HasSubstr("\"first\" (saved) at bytes 512 to 1024"));
    EXPECT_THAT(message, HasSubstr("\"second\" (transient) at bytes " +
                                   std::to_string(offset)));
  }
  // Neighbours do not overlap, and a failure has changed nothing.
  EXPECT_TRUE(arena.allocate(256, 256, MemoryClass::saved).ok());
  EXPECT_TRUE(arena.allocate(1024, 256, MemoryClass::saved).ok());
  EXPECT_EQ(arena.live().total(), 1024);
}

TEST(Arena, RefusesWhatLeavesIt) {
  Arena arena = makeArena(1024);
  for (auto [offset, bytes] : {std::pair<int64_t, int64_t>{768, 512},
                               {1024, 256},
                               {0, 1280},
                               {256, INT64_MAX / 256 * 256},
                               {INT64_MAX / 256 * 256, 256}}) {
    std::string message =
        messageOf(arena.allocate(offset, bytes, MemoryClass::saved, "big"));
    EXPECT_THAT(message, HasSubstr("\"big\""));
    EXPECT_THAT(message, HasSubstr("leaves the arena, which has 1024 bytes"));
  }
  EXPECT_EQ(arena.live().total(), 0);
}

TEST(Arena, RefusesOddSizes) {
  Arena arena = makeArena(1024);
  for (auto [offset, bytes] : {std::pair<int64_t, int64_t>{0, 0},
                               {0, 100},
                               {100, 256},
                               {-256, 256},
                               {0, -256}})
    EXPECT_THAT(messageOf(arena.allocate(offset, bytes, MemoryClass::saved)),
                HasSubstr("multiples of 256"));
  EXPECT_THAT(Arena::create(100).error().message, HasSubstr("multiple of 256"));
  EXPECT_FALSE(Arena::create(-256).ok());
}

TEST(Arena, ReleaseNeedsABuffer) {
  Arena arena = makeArena(1024);
  ASSERT_TRUE(arena.allocate(256, 512, MemoryClass::saved).ok());
  EXPECT_THAT(messageOf(arena.release(0)), HasSubstr("byte 0"));
  EXPECT_THAT(messageOf(arena.release(512)), HasSubstr("byte 512"));
  EXPECT_TRUE(arena.release(256).ok());
  EXPECT_FALSE(arena.release(256).ok());
}

TEST(Arena, PoisonIsNaN) {
  Arena arena = makeArena(1024, /*poison=*/true);
  auto isPoisoned = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (*arena.at(i) != std::byte(0xFF))
        return false;
    return true;
  };
  EXPECT_TRUE(isPoisoned(0, 1024));
  float number;
  std::memcpy(&number, arena.at(0), sizeof number);
  EXPECT_TRUE(std::isnan(number));

  Result<std::byte *> first = arena.allocate(0, 256, MemoryClass::saved);
  Result<std::byte *> second = arena.allocate(256, 256, MemoryClass::saved);
  ASSERT_TRUE(first.ok() && second.ok());
  std::memset(*first, 1, 256);
  std::memset(*second, 2, 256);
  ASSERT_TRUE(arena.release(0).ok());
  EXPECT_TRUE(isPoisoned(0, 256));
  EXPECT_EQ(*arena.at(256), std::byte(2));
  EXPECT_EQ(*arena.at(511), std::byte(2));
}

TEST(Arena, SpoilsLaterWhatAnotherThreadStillUses) {
  for (bool poison : {false, true}) {
    Arena arena = makeArena(1024, poison);
    for (int64_t offset : {0, 256, 512})
      ASSERT_TRUE(arena.allocate(offset, 256, MemoryClass::saved).ok());
    std::memset(arena.at(0), 1, 768);
    EXPECT_TRUE(arena.releaseUnspoiled(256).ok());
    EXPECT_EQ(arena.live().total(), 512);
    for (int64_t i = 0; i < 768; ++i)
      ASSERT_EQ(*arena.at(i), std::byte(1));
    // The account lets the bytes be taken again before they are spoiled.
    EXPECT_TRUE(arena.allocate(256, 256, MemoryClass::transient).ok());
    arena.spoil(256, 256);
    for (int64_t i = 0; i < 768; ++i)
      ASSERT_EQ(*arena.at(i),
                i / 256 == 1 && poison ? std::byte(0xFF) : std::byte(1));
    EXPECT_EQ(arena.live().total(), 768);
    EXPECT_EQ(messageOf(arena.releaseUnspoiled(768)),
              "no live buffer begins at byte 768 of the arena");
  }
}

TEST(Arena, KeepsContentsWithoutPoison) {
  Arena arena = makeArena(256);
  Result<std::byte *> buffer = arena.allocate(0, 256, MemoryClass::saved);
  ASSERT_TRUE(buffer.ok());
  **buffer = std::byte(7);
  ASSERT_TRUE(arena.release(0).ok());
  EXPECT_EQ(*arena.at(0), std::byte(7));
}

TEST(Arena, MovesWithItsAccount) {
  Arena arena = makeArena(1024);
  ASSERT_TRUE(arena.allocate(0, 256, MemoryClass::saved).ok());
  std::byte *address = arena.at(0);
  Arena moved = std::move(arena);
  EXPECT_EQ(moved.at(0), address);
  EXPECT_EQ(moved.live().total(), 256);
  moved = makeArena(512);
  EXPECT_EQ(moved.size(), 512);
  EXPECT_EQ(moved.live().total(), 0);
  EXPECT_TRUE(moved.allocate(0, 512, MemoryClass::saved).ok());
}

TEST(Arena, EmptyArenaHoldsNothing) {
  Arena arena = makeArena(0);
  EXPECT_FALSE(arena.allocate(0, 256, MemoryClass::saved).ok());
}

TEST(ArenaDeathTest, GuardsBothEnds) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  // 1024 bytes are not a page: the arena must still end at the guard.
  Arena arena = makeArena(1024);
  EXPECT_DEATH(*const_cast<volatile std::byte *>(arena.at(1024)) = std::byte(1),
               "");
  int64_t page = ::sysconf(_SC_PAGESIZE);
  EXPECT_DEATH(
      *const_cast<volatile std::byte *>(arena.at(-page)) = std::byte(1), "");
}

/// Random allocations and releases against a byte map without any cleverness.
TEST(Arena, AgreesWithANaiveModel) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    auto draw = [&](int64_t bound) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
    };
    const int64_t units = 1 + draw(40); // of kAlignment bytes
    Arena arena = makeArena(units * plan::kAlignment, seed % 2 == 0);
    // Begin of the buffer that owns each unit, or -1; class of each begin.
    std::vector<int64_t> owner(units, -1);
    std::vector<MemoryClass> classes(units);
    ByteCounts peak;
    for (int step = 0; step < 300; ++step) {
      int64_t begin = draw(units + 2);
      if (draw(2) == 0) {
        int64_t count = 1 + draw(8);
        auto memoryClass = static_cast<MemoryClass>(draw(10));
        bool isFree = begin + count <= units;
        for (int64_t i = begin; isFree && i < begin + count; ++i)
          isFree = owner[i] == -1;
        Result<std::byte *> result = arena.allocate(
            begin * plan::kAlignment, count * plan::kAlignment, memoryClass);
        ASSERT_EQ(result.ok(), isFree) << "seed " << seed << " step " << step;
        if (isFree) {
          std::fill_n(owner.begin() + begin, count, begin);
          classes[begin] = memoryClass;
        }
      } else {
        bool exists = begin < units && owner[begin] == begin;
        ASSERT_EQ(arena.release(begin * plan::kAlignment).ok(), exists)
            << "seed " << seed << " step " << step;
        if (exists)
          std::replace(owner.begin(), owner.end(), begin, int64_t(-1));
      }
      ByteCounts live;
      for (int64_t unit : owner)
        if (unit != -1)
          live[classes[unit]] += plan::kAlignment;
      if (live.total() > peak.total())
        peak = live;
      ASSERT_EQ(arena.live(), live) << "seed " << seed << " step " << step;
      ASSERT_EQ(arena.peak(), peak) << "seed " << seed << " step " << step;
      ASSERT_EQ(arena.peakTotal(), peak.total());
    }
  }
}

} // namespace
} // namespace moe
