// Slots of one layout: who has them, what lies where, and how high that is.
#include "compiler/Optimize/CommonSlot.h"

#include "RandomRank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <vector>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

/// One stage with whole backwards, three microbatches in flight at most, and at
/// times a value that a step of its own moves.
struct DrawnRank {
  explicit DrawnRank(std::mt19937 &random) {
    plan.stages.push_back(
        randomStage(random, {false, random() % 2 == 0, random() % 2 == 0}));
    plan::Stage &stage = plan.stages.front();
    plan.ranks.emplace_back().stages = {0};
    plan::Rank &rank = plan.ranks.front();
    auto add = [&](plan::StepKind kind, plan::Phase phase, int64_t microbatch) {
      plan::Step &step = rank.steps.emplace_back();
      step.kind = kind;
      step.stage = 0;
      step.phase = phase;
      step.microbatch = microbatch;
    };
    auto run = [&](plan::Phase phase, int64_t microbatch) {
      add(plan::StepKind::run, phase, microbatch);
    };
    for (int64_t m = 0; m < kMicrobatches; ++m) {
      run(plan::Phase::forward, m);
      if (m >= 2)
        run(plan::Phase::backward, m - 2);
    }
    for (int64_t m = kMicrobatches - 2; m < kMicrobatches; ++m)
      run(plan::Phase::backward, m);
    const std::vector<plan::ValueIndex> &kept = stage.programs.front().outputs;
    if (random() % 2 == 0) {
      sent = kept[random() % kept.size()];
      add(plan::StepKind::send, plan::Phase::forward, kMicrobatches - 1);
      rank.steps.back().value = *sent;
    }
    contexts.emplace(plan, rank);
    groups = formGroups(stage, kCommonShares);
    formed = groups.size();
    common.emplace(stage, rank, *contexts, groups);
  }

  const plan::Stage &stage() const { return plan.stages.front(); }

  /// Calls `visit(value, begin, end)` with the moments of a context.
  template <typename Visit> void forEachLife(size_t c, Visit visit) const {
    ContextLifetimes(contexts->all()[c], Reuse::withoutWaits, Sharing::fixed)
        .forEach(
            stage(), 0,
            [&](plan::ValueIndex value, int64_t begin, int64_t end, bool,
                bool) { visit(value, begin, end); },
            [](size_t, int64_t, int64_t) {});
  }

  static constexpr int64_t kMicrobatches = 5;
  plan::Plan plan;
  std::optional<plan::ValueIndex> sent;
  std::optional<Contexts> contexts;
  std::vector<SlotGroup> groups;
  std::optional<CommonSlot> common;
  size_t formed = 0; ///< groups before the slot was laid out
};

TEST(CommonSlot, IsOfOneStageWithWholeBackwards) {
  std::mt19937 random(41);
  auto isOf = [](plan::Plan &plan) {
    const Contexts contexts(plan, plan.ranks[0]);
    return CommonSlot::isOf(plan, plan.ranks[0], contexts);
  };
  for (int round = 0; round < 20; ++round) {
    DrawnRank drawn(random);
    EXPECT_TRUE(isOf(drawn.plan));
    plan::Plan several = randomRank(random);
    EXPECT_FALSE(isOf(several));
    plan::Plan split;
    split.stages = {randomStage(random, {true, false, false})};
    split.ranks.emplace_back().stages = {0};
    EXPECT_FALSE(isOf(split));
  }
}

// On the time of a microbatch: its forward, all between, its backward.
TEST(CommonSlot, WhatLivesAtATimeLiesApart) {
  std::mt19937 random(42);
  int passing = 0, apart = 0, arriving = 0;
  for (int round = 0; round < 300; ++round) {
    const DrawnRank drawn(random);
    struct Placed {
      int64_t low, high, begin, end;
    };
    std::map<plan::ValueIndex, Placed> placed;
    const int64_t backward = drawn.contexts->all()[0].length() + 1;
    for (size_t c : {0, 1})
      drawn.forEachLife(c, [&](plan::ValueIndex index, int64_t begin,
                               int64_t end) {
        const plan::Value &value = drawn.stage().values[index];
        if (!isInSlot(value))
          return;
        const SlotGroup &group = drawn.groups[static_cast<size_t>(value.group)];
        if (group.inSlot == -1)
          return;
        const int64_t from = c == 0 ? 0 : backward;
        auto [known, isNew] = placed.try_emplace(
            index, Placed{group.inSlot + value.offset,
                          group.inSlot + value.offset + value.bytes,
                          from + begin, from + end});
        if (!isNew)
          known->second.end = from + end;
      });
    // What arrives is there before the slot is.
    const plan::Value &input = drawn.stage().values.front();
    if (isInSlot(input)) {
      EXPECT_EQ(drawn.groups[static_cast<size_t>(input.group)].inSlot, -1);
      ++arriving;
    }
    int64_t keptBytes = 0;
    for (size_t g = 0; g < drawn.groups.size(); ++g) {
      const SlotGroup &group = drawn.groups[g];
      EXPECT_EQ(drawn.common->isPassing(g), g >= drawn.formed);
      if (group.inSlot == -1)
        continue;
      EXPECT_LE(group.inSlot + group.bytes, drawn.common->bytes());
      keptBytes += drawn.common->isPassing(g) ? 0 : group.bytes;
      passing += drawn.common->isPassing(g);
    }
    EXPECT_EQ(drawn.common->bytes(), keptBytes); // it does not grow for others
    for (auto a = placed.begin(); a != placed.end(); ++a)
      for (auto b = std::next(a); b != placed.end(); ++b) {
        const Placed &one = a->second, &other = b->second;
        if (one.begin >= other.end || other.begin >= one.end)
          continue;
        ++apart;
        EXPECT_TRUE(one.high <= other.low || other.high <= one.low)
            << "round " << round << ": " << a->first << " and " << b->first;
      }
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(passing, 100);
  EXPECT_GT(apart, 1000);
  EXPECT_GT(arriving, 50);
}

// What steps move by themselves they follow, group by group.
TEST(CommonSlot, TakesWhatComesAndGoesWithPrograms) {
  std::mt19937 random(43);
  int moved = 0;
  for (int round = 0; round < 100; ++round) {
    DrawnRank drawn(random);
    std::array<std::vector<GroupEvent>, 2> events;
    for (size_t c : {0, 1})
      for (size_t g = 0; g < drawn.groups.size(); ++g)
        events[c].push_back({static_cast<int64_t>(g), 0, -1});
    drawn.common->takeProfiled({&events[0], &events[1]});
    const int64_t ofSent =
        drawn.sent ? drawn.stage().values[*drawn.sent].group : -1;
    std::vector<int64_t> left;
    for (size_t g = 0; g < drawn.groups.size(); ++g) {
      const bool isMoved = static_cast<int64_t>(g) == ofSent;
      const bool isTaken = drawn.groups[g].inSlot != -1 && !isMoved;
      moved += isMoved && drawn.groups[g].inSlot != -1;
      EXPECT_EQ(drawn.common->isProfiled(g), isTaken);
      if (!isTaken)
        left.push_back(static_cast<int64_t>(g));
    }
    for (const std::vector<GroupEvent> &list : events) {
      std::vector<int64_t> groups;
      for (const GroupEvent &event : list)
        groups.push_back(event.group);
      EXPECT_EQ(groups, left);
    }
  }
  EXPECT_GT(moved, 10);
}

// Step by step and moment by moment.
TEST(CommonSlot, AddsTheSlotOfTheMicrobatchThatRuns) {
  std::mt19937 random(44);
  int higher = 0;
  for (int round = 0; round < 100; ++round) {
    DrawnRank drawn(random);
    std::array<std::vector<GroupEvent>, 2> events;
    for (size_t g = 0; g < drawn.groups.size(); ++g) {
      const auto group = static_cast<int64_t>(g);
      if (!drawn.common->isPassing(g) && random() % 4 != 0) {
        events[0].push_back(
            {group, pick(random, 0, drawn.contexts->all()[0].length() - 1),
             -1});
        events[1].push_back(
            {group, -1, pick(random, 1, drawn.contexts->all()[1].length())});
      }
    }
    drawn.common->takeProfiled({&events[0], &events[1]});
    const plan::Rank &rank = drawn.plan.ranks[0];
    std::map<int64_t, int64_t> bases;
    for (int64_t m = 0; m < DrawnRank::kMicrobatches; ++m)
      bases[m] = plan::kAlignment * pick(random, 0, 9);
    SlotHeights heights, naive;
    for (const Context &context : drawn.contexts->all()) {
      const auto length = static_cast<size_t>(context.length());
      heights.inContext.emplace_back(length, pick(random, 0, 2000));
      heights.liveInContext.emplace_back(length, pick(random, 0, 2000));
    }
    for (size_t i = 0; i < rank.steps.size(); ++i)
      heights.atStep.push_back(pick(random, 0, 2000));
    naive = heights;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      if (!plan::isExecution(rank.steps[i].kind))
        continue;
      const size_t c = drawn.contexts->indexOf(rank.steps[i]);
      const std::vector<int64_t> &tops = drawn.common->profile().part(c).top;
      const int64_t low = bases[rank.steps[i].microbatch];
      int64_t most = 0;
      for (size_t at = 0; at < tops.size(); ++at) {
        most = std::max(most, tops[at]);
        if (tops[at] > 0)
          naive.inContext[c][at] =
              std::max(naive.inContext[c][at], low + tops[at]);
      }
      naive.atStep[i] = std::max(naive.atStep[i], low + most);
    }
    for (size_t c : {0, 1}) {
      for (size_t at = 0; at < naive.liveInContext[c].size(); ++at)
        naive.liveInContext[c][at] += drawn.common->profile().part(c).live[at];
      drawn.forEachLife(
          c, [&](plan::ValueIndex index, int64_t begin, int64_t end) {
            const plan::Value &value = drawn.stage().values[index];
            if (isInSlot(value) &&
                drawn.common->isPassing(static_cast<size_t>(value.group)))
              for (int64_t at = begin; at < end; ++at)
                naive.liveInContext[c][static_cast<size_t>(at)] +=
                    plan::alignUp(value.bytes);
          });
    }
    const SlotHeights before = heights;
    drawn.common->addTo(heights, bases);
    higher += heights.inContext != before.inContext;
    EXPECT_EQ(heights.inContext, naive.inContext) << "round " << round;
    EXPECT_EQ(heights.liveInContext, naive.liveInContext) << "round " << round;
    EXPECT_EQ(heights.atStep, naive.atStep) << "round " << round;
  }
  EXPECT_GT(higher, 50);
}

} // namespace
