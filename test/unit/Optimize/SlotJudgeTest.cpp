#include "compiler/Optimize/SlotJudge.h"

#include "RandomRank.h"
#include "compiler/Optimize/PackAround.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

// Moment by moment over a step: the highest of what is packed, with all that
// the programs which run have outside slots.
TEST(SlotJudge, SaysHowHighTheArenaReaches) {
  std::mt19937 random(15);
  int64_t above = 0;
  for (int round = 0; round < 60; ++round) {
    plan::Plan made = randomRank(random);
    const plan::Rank &rank = made.ranks[0];
    const Contexts contexts(made, made.ranks[0]);
    const std::vector<int64_t> begins = beginsOfSteps(rank, contexts);
    constexpr int64_t base = 512;
    std::vector<SlotInstance> instances(20);
    PackedInstances kept, passing;
    for (size_t i = 0; i < instances.size(); ++i) {
      SlotInstance &each = instances[i];
      each.isPassing = i % 3 == 0;
      each.life.size = each.liveBytes = 256 * pick(random, 1, 8);
      const int64_t begin = pick(random, 0, begins.back() - 1);
      each.live(begin, pick(random, begin + 1, begins.back()));
      PackedInstances &packed = each.isPassing ? passing : kept;
      packed.numbers.push_back(i);
      packed.lives.push_back(each.life);
    }
    const PackingJudge judge =
        judgeSlots({made, rank, contexts, Reuse::withoutWaits, begins, base},
                   instances, {{0, 0, 0, instances.size()}}, kept, passing);

    TimedPacking packing{0, packTimed(kept.lives)};
    for (size_t i = 0; i < kept.lives.size(); ++i)
      packing.height =
          std::max(packing.height, packing.offsets[i] + kept.lives[i].size);
    const std::vector<int64_t> around =
        packAround(kept.lives, packing.offsets, passing.lives);
    auto slotsAt = [&](int64_t now) {
      std::pair<int64_t, int64_t> highAndLive = {0, 0};
      auto look = [&](const PackedInstances &packed,
                      const std::vector<int64_t> &offsets) {
        for (size_t i = 0; i < packed.lives.size(); ++i)
          if (packed.lives[i].begin <= now && now < packed.lives[i].end) {
            highAndLive.first =
                std::max(highAndLive.first, offsets[i] + packed.lives[i].size);
            highAndLive.second += packed.lives[i].size;
          }
      };
      look(kept, packing.offsets);
      look(passing, around);
      return highAndLive;
    };
    int64_t height = packing.height, bound = 0;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      if (!plan::isExecution(rank.steps[i].kind))
        continue;
      const Context &context = contexts.all()[contexts.indexOf(rank.steps[i])];
      std::vector<int64_t> outside(static_cast<size_t>(context.length()), 0);
      const ContextLifetimes lifetimes(context, Reuse::withoutWaits,
                                       Sharing::fixed);
      auto add = [&](int64_t bytes, int64_t begin, int64_t end) {
        for (int64_t at = begin; at < end; ++at)
          outside[static_cast<size_t>(at)] += bytes;
      };
      for (size_t m = 0; m < context.members.size(); ++m) {
        const auto &[stage, program] = context.members[m];
        const std::vector<plan::Value> &values = made.stages[stage].values;
        lifetimes.forEach(
            made.stages[stage], m,
            [&](plan::ValueIndex value, int64_t begin, int64_t end, bool,
                bool) {
              if (values[value].placement == plan::Placement::fixed &&
                  !values[value].isOnHost())
                add(values[value].bytes, begin, end);
            },
            [&](size_t op, int64_t begin, int64_t end) {
              add(program->ops[op].scratchBytes, begin, end);
            });
      }
      for (int64_t now = begins[i]; now < begins[i + 1]; ++now) {
        const auto [high, live] = slotsAt(now);
        const int64_t others = outside[static_cast<size_t>(now - begins[i])];
        height = std::max(height, high + others);
        bound = std::max(bound, live + others);
      }
    }
    EXPECT_EQ(judge.heightOf(packing), height) << "round " << round;
    EXPECT_EQ(judge.enough, bound + bound / 128) << "round " << round;
    above += height > packing.height;
  }
  EXPECT_GT(above, 20);
}

} // namespace
