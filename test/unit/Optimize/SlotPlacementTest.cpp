#include "compiler/Optimize/SlotPlacement.h"

#include "RandomRank.h"
#include "compiler/Optimize/SlotGroups.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

SlotHeights placed(plan::Plan &plan, Reuse reuse, int64_t base) {
  Contexts contexts(plan, plan.ranks[0]);
  return placeSlots(
      plan, plan.ranks[0], contexts, reuse, base,
      [](const SlotHeights &, const std::vector<int64_t> &begins) {
        return std::vector<int64_t>(static_cast<size_t>(begins.back()), 0);
      },
      [] { return std::vector<int64_t>(); });
}

/// How many values lie in slots that no program hands on.
size_t countPassing(const plan::Plan &plan) {
  size_t count = 0;
  for (const plan::Stage &stage : plan.stages) {
    std::set<plan::ValueIndex> outer = passedOn(stage);
    for (size_t i = 0; i < stage.values.size(); ++i)
      count += isInSlot(stage.values[i]) &&
               !outer.contains(static_cast<plan::ValueIndex>(i));
  }
  return count;
}

TEST(SlotPlacement, HeightsHoldWhatLivesAndEveryGroup) {
  std::mt19937 random(21);
  size_t passing = 0;
  for (int round = 0; round < 100; ++round) {
    plan::Plan made = randomRank(random);
    constexpr int64_t base = 512;
    const SlotHeights heights = placed(made, Reuse::withoutWaits, base);
    passing += countPassing(made);
    for (size_t c = 0; c < heights.inContext.size(); ++c)
      for (size_t at = 0; at < heights.inContext[c].size(); ++at) {
        EXPECT_LE(heights.liveInContext[c][at], heights.inContext[c][at]);
        EXPECT_LE(heights.inContext[c][at], heights.most);
      }
    for (const plan::Stage &stage : made.stages)
      for (const plan::Value &value : stage.values) {
        if (!isInSlot(value) || value.isOnHost())
          continue;
        for (const std::vector<int64_t> &slot : stage.slots) {
          int64_t begin =
              slot.at(static_cast<size_t>(value.group)) + value.offset;
          EXPECT_GE(begin, base);
          EXPECT_LE(begin + value.bytes, base + heights.most);
        }
      }
    // Where ops wait for bytes, programs keep theirs out of slots, also when
    // an earlier placement had moved them there.
    placed(made, Reuse::inIssueOrder, base);
    EXPECT_EQ(countPassing(made), 0u) << "round " << round;
  }
  EXPECT_GT(passing, 100u);
}

} // namespace
