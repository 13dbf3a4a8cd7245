#include "compiler/Optimize/OutsideSlots.h"

#include "RandomRank.h"

#include <gtest/gtest.h>

#include <algorithm>

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

/// A rank whose slots reach at each moment of its steps as high as is drawn.
struct DrawnRank {
  explicit DrawnRank(std::mt19937 &random)
      : plan(rankThatCopies(random)), contexts(plan, plan.ranks[0]),
        begins(beginsOfSteps(plan.ranks[0], contexts)) {
    const plan::Rank &rank = plan.ranks[0];
    for (const Context &context : contexts.all())
      heights.inContext.emplace_back(context.length(), 0);
    heights.liveInContext = heights.inContext;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      heights.atStep.push_back(0);
      for (int64_t now = begins[i]; now < begins[i + 1]; ++now) {
        const int64_t high = 256 * pick(random, 0, 60),
                      live = pick(random, 0, high);
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
  for (int round = 0; round < 60; ++round) {
    DrawnRank drawn(random);
    const plan::Rank &rank = drawn.plan.ranks[0];
    OutsideSlots outside(drawn.plan, rank, drawn.contexts, Reuse::withoutWaits);
    const int64_t bound = outside.bound(drawn.heights);
    EXPECT_LE(bound, outside.height(outside.pack(drawn.heights), drawn.heights))
        << "round " << round;

    // Written down: among each other only where one run of a context has them,
    // a lower bound of the bound.
    struct Life {
      int64_t bytes, begin, end;      // among each other
      int64_t besideBegin, besideEnd; // of slots
    };
    int64_t plain = 0, most = 0;
    for (size_t c = 0; c < drawn.contexts.all().size(); ++c) {
      const Context &context = drawn.contexts.all()[c];
      std::vector<Life> lives;
      auto visit = [&](Sharing sharing, auto found) {
        ContextLifetimes lifetimes(context, Reuse::withoutWaits, sharing);
        for (size_t m = 0; m < context.members.size(); ++m) {
          const auto &[stage, program] = context.members[m];
          const std::vector<plan::Value> &values =
              drawn.plan.stages[stage].values;
          lifetimes.forEach(
              drawn.plan.stages[stage], m,
              [&](plan::ValueIndex value, int64_t begin, int64_t end, bool,
                  bool) {
                if (values[value].placement == plan::Placement::fixed &&
                    !values[value].isOnHost())
                  found(values[value].bytes, begin, end);
              },
              [&](size_t op, int64_t begin, int64_t end) {
                found(program->ops[op].scratchBytes, begin, end);
              });
        }
      };
      visit(Sharing::fixed, [&](int64_t bytes, int64_t begin, int64_t end) {
        lives.push_back({bytes, begin, end, 0, 0});
      });
      size_t next = 0; // in the same order
      visit(Sharing::slots, [&](int64_t, int64_t begin, int64_t end) {
        lives[next].besideBegin = begin;
        lives[next++].besideEnd = end;
      });
      for (int64_t at = 0; at < context.length(); ++at)
        for (int64_t other = 0; other < context.length(); ++other) {
          int64_t together = drawn.heights.liveInContext[c][at];
          for (const Life &life : lives)
            if (life.besideBegin <= at && at < life.besideEnd &&
                life.begin <= other && other < life.end)
              together += life.bytes;
          most = std::max(most, together);
          if (at == other)
            plain = std::max(plain, together);
        }
    }
    EXPECT_GE(bound, most) << "round " << round;
    raised += most > plain;
  }
  EXPECT_GE(raised, 5);
}

} // namespace
