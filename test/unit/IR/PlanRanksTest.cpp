//===- PlanRanksTest.cpp - ranks that lie where they lay ------------------===//

#include "compiler/Export/IR/PlanRanks.h"

#include "../Optimize/RandomRank.h"
#include "compiler/Optimize/Placement.h"

#include <gtest/gtest.h>

using namespace moe;

namespace {

/// A random rank, placed and remembered.
struct Remembered {
  explicit Remembered(std::mt19937 &random)
      : before(test::randomRank(random)), placed(before) {
    Result<optimize::Arena> arena =
        optimize::placeRank(placed, 0, optimize::Reuse::withoutWaits);
    EXPECT_TRUE(arena) << arena.error().message;
    bytes = placed.ranks[0].arenaBytes = arena->bytes;
    for (plan::Plan *plan : {&before, &placed})
      plan->machine.budgetBytes = plan->machine.reserveBytes + 2 * bytes;
    known.remember(PlacedRanks::Rank::of(before, 0), placed,
                   {bytes, arena->boundBytes});
  }

  plan::Plan before, placed;
  int64_t bytes = 0;
  PlacedRanks known;
};

} // namespace

TEST(PlacedRanks, TheSameLiesWhereItLay) {
  std::mt19937 random(1);
  for (int round = 0; round < 30; ++round) {
    Remembered each(random);
    plan::Plan again = each.before;
    std::optional<RankArena> arena = each.known.reuse(again, 0);
    ASSERT_TRUE(arena) << "round " << round;
    EXPECT_EQ(arena->bytesWithoutWaits, each.bytes);
    EXPECT_EQ(again.ranks[0], each.placed.ranks[0]);
    EXPECT_EQ(again.stages, each.placed.stages);
  }
}

// Without waits an arena is the same for every budget that it fits, and for no
// other one.
TEST(PlacedRanks, BudgetsThatItFitsAreAsGood) {
  std::mt19937 random(2);
  for (int round = 0; round < 30; ++round) {
    Remembered each(random);
    auto isKnownFor = [&](int64_t bytes) {
      plan::Plan again = each.before;
      again.machine.budgetBytes = again.machine.reserveBytes + bytes;
      return each.known.reuse(again, 0).has_value();
    };
    EXPECT_TRUE(isKnownFor(each.bytes));
    EXPECT_TRUE(isKnownFor(9 * each.bytes));
    EXPECT_FALSE(isKnownFor(each.bytes - 1));
  }
}

TEST(PlacedRanks, WhatDiffersIsPlacedAnew) {
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    Remembered each(random);
    plan::Plan larger = each.before, shorter = each.before;
    larger.stages.back().values.back().bytes += 256;
    EXPECT_FALSE(each.known.reuse(larger, 0));
    shorter.ranks[0].steps.pop_back();
    EXPECT_FALSE(each.known.reuse(shorter, 0));
    EXPECT_FALSE(each.known.reuse(larger, 1)) << "of no rank";
  }
}
