//===- SlotGroupsTest.cpp - what lies together in a slot ------------------===//

#include "compiler/Optimize/SlotGroups.h"

#include "RandomRank.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

/// A stage whose values belong to blocks, some of them on the host, copied
/// there or written over others.
struct DrawnStage {
  explicit DrawnStage(std::mt19937 &random)
      : stage(randomStage(random, {random() % 2 == 0, random() % 3 == 0,
                                   random() % 3 == 0})) {
    stage.blocks = {"layers.1", "layers.10", "embedding"};
    // Of the last, no block has the name up to a dot.
    const std::string prefixes[] = {"layers.1.", "layers.10.", "embedding.",
                                    "layers.12."};
    for (size_t i = 0; i < stage.values.size(); ++i) {
      const int64_t block = pick(random, 0, 3);
      blockOf.push_back(block);
      stage.values[i].name = prefixes[block] + "v" + std::to_string(i);
      stage.values[i].offset = plan::kAlignment * pick(random, 1, 9);
      if (pick(random, 0, 9) == 0)
        stage.values[i].memoryClass = plan::MemoryClass::host;
    }
    for (plan::Program &program : stage.programs)
      for (plan::Op &op : program.ops) {
        if (pick(random, 0, 7) == 0)
          op.stream = plan::Stream::copy_out;
        if (!op.outputs.empty() && !op.inputs.empty() &&
            op.inputs[0] < op.outputs[0] && pick(random, 0, 3) == 0)
          stage.values[static_cast<size_t>(op.outputs[0])].overwrites =
              op.inputs[0];
      }
    for (size_t i = 0; i < stage.values.size(); ++i)
      storage.push_back(
          plan::storageOf(stage, static_cast<plan::ValueIndex>(i)));
  }

  /// Whether it is an input or output of some program, or what it overwrote is.
  bool isHandedOn(size_t value) const {
    bool found = false;
    for (const plan::Program &program : stage.programs)
      for (const auto *list : {&program.inputs, &program.outputs})
        for (plan::ValueIndex each : *list)
          found |= storage[static_cast<size_t>(each)] ==
                   static_cast<plan::ValueIndex>(value);
    return found;
  }

  /// The phases that write a value, and those that release it.
  std::pair<std::set<plan::Phase>, std::set<plan::Phase>>
  lifeOf(size_t value) const {
    std::pair<std::set<plan::Phase>, std::set<plan::Phase>> life;
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops) {
        for (plan::ValueIndex output : op.outputs)
          if (output == static_cast<plan::ValueIndex>(value))
            life.first.insert(program.phase);
        for (plan::ValueIndex released : op.releases)
          if (storage[static_cast<size_t>(released)] ==
              static_cast<plan::ValueIndex>(value))
            life.second.insert(program.phase);
      }
    return life;
  }

  /// Whether the host gets a copy of it.
  bool isCopied(size_t value) const {
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops)
        for (plan::ValueIndex input : op.inputs)
          if (op.stream == plan::Stream::copy_out &&
              storage[static_cast<size_t>(input)] ==
                  static_cast<plan::ValueIndex>(value))
            return true;
    return false;
  }

  plan::Stage stage;
  std::vector<int64_t> blockOf; ///< of each value; 3: it is by itself
  std::vector<plan::ValueIndex> storage;
};

// Two values lie together where both are small and equal in all that a group
// has in common; those of a group lie one behind the other.
TEST(SlotGroups, HoldWhatLivesAndDiesTogether) {
  std::mt19937 random(41);
  int together = 0, large = 0;
  for (int round = 0; round < 1000; ++round) {
    DrawnStage drawn(random);
    const std::vector<plan::Value> &values = drawn.stage.values;
    const SlotShares shares = {int64_t{1} << pick(random, 0, 4), 1};
    const std::vector<SlotGroup> groups = formGroups(drawn.stage, shares);
    std::map<int64_t, int64_t> blockBytes;
    for (size_t i = 0; i < values.size(); ++i)
      if (isInSlot(values[i]))
        blockBytes[drawn.blockOf[i]] += values[i].bytes;
    auto isSmall = [&](size_t i) {
      return drawn.blockOf[i] != 3 &&
             values[i].bytes * shares.own < blockBytes[drawn.blockOf[i]];
    };
    std::vector<int64_t> sums(groups.size(), 0);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i].group != -1, isInSlot(values[i]));
      if (!isInSlot(values[i]))
        continue;
      const SlotGroup &group = groups.at(static_cast<size_t>(values[i].group));
      EXPECT_EQ(group.isOnHost, values[i].isOnHost());
      EXPECT_FALSE(group.isPassing);
      EXPECT_GE(values[i].offset, 0);
      EXPECT_LE(values[i].offset + values[i].bytes, group.bytes);
      sums[static_cast<size_t>(values[i].group)] += values[i].bytes;
      large += !isSmall(i);
      for (size_t j = 0; j < i; ++j) {
        if (!isInSlot(values[j]))
          continue;
        auto kind = [&](size_t v) {
          return std::tuple(drawn.blockOf[v], drawn.lifeOf(v),
                            values[v].isOnHost());
        };
        const bool isTogether = isSmall(i) && isSmall(j) && kind(i) == kind(j);
        EXPECT_EQ(values[i].group == values[j].group, isTogether)
            << values[i].name << ", " << values[j].name;
        if (isTogether)
          EXPECT_TRUE(values[i].offset + values[i].bytes <= values[j].offset ||
                      values[j].offset + values[j].bytes <= values[i].offset);
        together += isTogether;
      }
    }
    for (size_t g = 0; g < groups.size(); ++g)
      EXPECT_EQ(sums[g], groups[g].bytes);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(together, 100);
  EXPECT_GT(large, 200);
}

// What lives in one program leaves the slots that an earlier placement gave it.
TEST(SlotGroups, AreTheSameAfterAnEarlierPlacement) {
  std::mt19937 random(42);
  int moved = 0;
  for (int round = 0; round < 100; ++round) {
    DrawnStage drawn(random);
    plan::Stage first = drawn.stage;
    const std::vector<SlotGroup> fresh = formGroups(first, {16, 1});
    plan::Stage again = first;
    std::vector<SlotGroup> groups = fresh;
    addPassing(again, groups, {16, 64});
    moved += again != first;
    groups = formGroups(again, {16, 1});
    EXPECT_EQ(groups.size(), fresh.size());
    for (size_t i = 0; i < first.values.size(); ++i) {
      const plan::Value &one = first.values[i], &other = again.values[i];
      EXPECT_EQ(one.placement, other.placement);
      EXPECT_EQ(one.group, other.group);
      if (isInSlot(one))
        EXPECT_EQ(one.offset, other.offset);
      if (one.overwrites == -1 && !drawn.isHandedOn(i))
        EXPECT_EQ(one.placement, plan::Placement::fixed);
    }
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(moved, 50);
}

// Each has a group of its own behind those of what is kept, which stay.
TEST(SlotGroups, TakeInWhatPassesAndIsLarge) {
  std::mt19937 random(43);
  int passing = 0, small = 0, copied = 0;
  for (int round = 0; round < 200; ++round) {
    DrawnStage drawn(random);
    const SlotShares shares = {16, int64_t{1} << pick(random, 0, 6)};
    std::vector<SlotGroup> groups = formGroups(drawn.stage, shares);
    const std::vector<SlotGroup> kept = groups;
    const std::vector<plan::Value> before = drawn.stage.values;
    addPassing(drawn.stage, groups, shares);
    int64_t keptBytes = 0; // on the device
    for (size_t g = 0; g < kept.size(); ++g) {
      keptBytes += kept[g].isOnHost ? 0 : kept[g].bytes;
      EXPECT_EQ(groups[g].bytes, kept[g].bytes);
      EXPECT_EQ(groups[g].isPassing, false);
    }
    std::set<int64_t> own;
    for (size_t i = 0; i < before.size(); ++i) {
      const plan::Value &value = drawn.stage.values[i];
      const bool mayPass = !before[i].isOnHost() &&
                           before[i].overwrites == -1 && !drawn.isHandedOn(i);
      const bool isLarge = before[i].bytes * shares.passing >= keptBytes;
      small += mayPass && !isLarge;
      copied += mayPass && isLarge && drawn.isCopied(i);
      if (!mayPass || !isLarge || drawn.isCopied(i)) {
        EXPECT_EQ(value, before[i]) << value.name;
        continue;
      }
      ++passing;
      EXPECT_TRUE(isInSlot(value));
      EXPECT_GE(value.group, static_cast<int64_t>(kept.size()));
      EXPECT_TRUE(own.insert(value.group).second);
      EXPECT_EQ(value.offset, 0);
      const SlotGroup &group = groups.at(static_cast<size_t>(value.group));
      EXPECT_TRUE(group.isPassing && !group.isOnHost);
      EXPECT_EQ(group.bytes, value.bytes);
      EXPECT_EQ(group.inSlot, -1);
    }
    EXPECT_EQ(groups.size(), kept.size() + own.size());
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(passing, 200);
  EXPECT_GT(small, 200);
  EXPECT_GT(copied, 50);
}

} // namespace
