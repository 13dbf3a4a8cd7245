#include "compiler/Optimize/OutsideSlots.h"

#include "RandomRank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

/// What one rank does beside compute copies to the host: nothing waits for it
/// to share bytes with slots.
plan::Plan rankThatCopies(std::mt19937 &random) {
  plan::Plan plan = randomRank(random);
  for (plan::Stage &stage : plan.stages)
    for (plan::Program &program : stage.programs)
      for (plan::Op &op : program.ops) {
        op.timeNs = pick(random, 1, 10);
        if (op.stream != plan::Stream::compute)
          op.stream = plan::Stream::copy_out;
      }
  return plan;
}

/// A rank whose slots reach at each moment of its steps as high as is drawn, or
/// always as high.
struct DrawnRank {
  explicit DrawnRank(std::mt19937 &random, bool isFlat = false)
      : plan(rankThatCopies(random)), contexts(plan, plan.ranks[0]),
        begins(beginsOfSteps(plan.ranks[0], contexts)) {
    const plan::Rank &rank = plan.ranks[0];
    for (const Context &context : contexts.all())
      heights.inContext.emplace_back(context.length(), 0);
    heights.liveInContext = heights.inContext;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      heights.atStep.push_back(0);
      for (int64_t now = begins[i]; now < begins[i + 1]; ++now) {
        const int64_t high = isFlat ? 4096 : 256 * pick(random, 0, 60),
                      live = isFlat ? high : pick(random, 0, high);
        overTime.push_back(high);
        heights.most = std::max(heights.most, high);
        heights.atStep[i] = std::max(heights.atStep[i], high);
        if (!plan::isExecution(rank.steps[i].kind))
          continue;
        const size_t c = contexts.indexOf(rank.steps[i]);
        const auto at = static_cast<size_t>(now - begins[i]);
        auto raise = [](int64_t &most, int64_t to) {
          most = std::max(most, to);
        };
        raise(heights.inContext[c][at], high);
        raise(heights.liveInContext[c][at], live);
      }
    }
  }

  plan::Plan plan;
  Contexts contexts;
  std::vector<int64_t> begins;
  std::vector<int64_t> overTime; ///< how high slots reach at each moment
  SlotHeights heights;
};

// What is deepest at a moment lies above what is highest then.
TEST(OutsideSlots, TheArenaHoldsSlotsAndDepthsAtEachMoment) {
  std::mt19937 random(31);
  for (int round = 0; round < 60; ++round) {
    DrawnRank drawn(random);
    OutsideSlots outside(drawn.plan, drawn.plan.ranks[0], drawn.contexts,
                         Reuse::withoutWaits);
    const std::vector<int64_t> depths = outside.pack(drawn.heights);
    const std::vector<int64_t> overTime =
        outside.depthsOverTime(depths, drawn.begins);
    ASSERT_EQ(overTime.size(), drawn.overTime.size());
    int64_t height = drawn.heights.most;
    for (size_t now = 0; now < overTime.size(); ++now)
      height = std::max(height, drawn.overTime[now] + overTime[now]);
    EXPECT_EQ(outside.height(depths, drawn.heights), height)
        << "round " << round;
  }
}

// Of a context and a moment: what lives in slots, and of all that keeps out of
// its way then the most that lives at one time.
TEST(OutsideSlots, BoundIsTheMostThatSharesNoBytes) {
  std::mt19937 random(32);
  int raised = 0;
  for (int round = 0; round < 100; ++round) {
    DrawnRank drawn(random, round % 2 == 0);
    const plan::Rank &rank = drawn.plan.ranks[0];
    OutsideSlots outside(drawn.plan, rank, drawn.contexts, Reuse::withoutWaits);
    const int64_t bound = outside.bound(drawn.heights);
    EXPECT_LE(bound, outside.height(outside.pack(drawn.heights), drawn.heights))
        << "round " << round;

    // Written down, but for what lives on between steps, which makes the bound
    // no lower. By name: bytes, and when it lives among others, and beside
    // slots.
    struct Outside {
      int64_t bytes = 0;
      std::vector<std::array<int64_t, 3>> among = {}, beside = {};
    };
    std::map<std::array<int64_t, 3>, Outside> all;
    auto gather = [&](int64_t c, Sharing sharing, auto listOf) {
      const Context &context = drawn.contexts.all()[static_cast<size_t>(c)];
      ContextLifetimes lifetimes(context, Reuse::withoutWaits, sharing);
      for (size_t m = 0; m < context.members.size(); ++m) {
        const auto &[stage, program] = context.members[m];
        const std::vector<plan::Value> &values =
            drawn.plan.stages[stage].values;
        auto found = [&](std::array<int64_t, 3> name, int64_t bytes,
                         int64_t begin, int64_t end) {
          all[name].bytes = bytes;
          listOf(all[name]).push_back({c, begin, end});
        };
        lifetimes.forEach(
            drawn.plan.stages[stage], m,
            [&](plan::ValueIndex value, int64_t begin, int64_t end, bool,
                bool) {
              if (values[value].placement == plan::Placement::fixed &&
                  !values[value].isOnHost())
                found({stage, -1, value}, values[value].bytes, begin, end);
            },
            [&](size_t op, int64_t begin, int64_t end) {
              found({stage, static_cast<int64_t>(program->phase),
                     static_cast<int64_t>(op)},
                    program->ops[op].scratchBytes, begin, end);
            });
      }
    };
    const auto count = static_cast<int64_t>(drawn.contexts.all().size());
    for (int64_t c = 0; c < count; ++c) {
      gather(c, Sharing::fixed,
             [](Outside &each) -> auto & { return each.among; });
      gather(c, Sharing::slots,
             [](Outside &each) -> auto & { return each.beside; });
    }
    auto lives = [](const std::vector<std::array<int64_t, 3>> &spans, int64_t c,
                    int64_t at) {
      return std::any_of(spans.begin(), spans.end(), [&](const auto &span) {
        return span[0] == c && span[1] <= at && at < span[2];
      });
    };
    auto forEachMoment = [&](auto visit) {
      for (int64_t c = 0; c < count; ++c)
        for (int64_t at = 0;
             at < drawn.contexts.all()[static_cast<size_t>(c)].length(); ++at)
          visit(c, at);
    };
    int64_t plain = 0, most = 0;
    forEachMoment([&](int64_t c, int64_t at) {
      const int64_t live =
          drawn.heights
              .liveInContext[static_cast<size_t>(c)][static_cast<size_t>(at)];
      std::vector<const Outside *> beside;
      int64_t now = live;
      for (const auto &[name, each] : all) {
        if (lives(each.beside, c, at))
          beside.push_back(&each);
        if (lives(each.among, c, at))
          now += each.bytes;
      }
      plain = std::max(plain, now);
      forEachMoment([&](int64_t other, int64_t then) {
        int64_t together = live;
        for (const Outside *each : beside)
          if (lives(each->among, other, then))
            together += each->bytes;
        most = std::max(most, together);
      });
    });
    EXPECT_GE(bound, most) << "round " << round;
    raised += most > plain;
  }
  EXPECT_GE(raised, 5);
}

} // namespace
