#include "compiler/Optimize/SlotHeights.h"

#include "RandomRank.h"
#include "compiler/Optimize/SlotProfile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

// Moment by moment, over all instances.
TEST(SlotHeights, AreThoseOfWhatLives) {
  std::mt19937 random(5);
  int64_t compared = 0;
  for (int round = 0; round < 60; ++round) {
    plan::Plan made = randomRank(random);
    const plan::Rank &rank = made.ranks[0];
    const Contexts contexts(made, made.ranks[0]);
    const std::vector<int64_t> begins = beginsOfSteps(rank, contexts);
    // A few slots of three instances each, which many microbatches use.
    constexpr int64_t base = 256;
    std::vector<SlotInstance> instances;
    std::vector<SlotRange> ranges;
    std::vector<std::array<int64_t, 3>> bases(4), sizes(4);
    for (size_t slot = 0; slot < bases.size(); ++slot)
      for (size_t i = 0; i < 3; ++i) {
        bases[slot][i] = base + pick(random, 0, 40);
        sizes[slot][i] = pick(random, 1, 20);
      }
    for (int64_t microbatch = 0; microbatch < 12; ++microbatch) {
      const int64_t slot = pick(random, 0, 3);
      ranges.push_back({0, slot, instances.size(), 3});
      for (size_t i = 0; i < 3; ++i) {
        SlotInstance &each = instances.emplace_back();
        each.life.size = sizes[static_cast<size_t>(slot)][i];
        each.base = bases[static_cast<size_t>(slot)][i];
        each.liveBytes = pick(random, 0, each.life.size);
        each.isOnHost = pick(random, 0, 5) == 0;
        for (int64_t uses = pick(random, 0, 2); uses > 0; --uses) {
          const int64_t begin = pick(random, 0, begins.back() - 1);
          each.live(begin, pick(random, begin + 1, begins.back()));
        }
      }
    }
    std::vector<int64_t> beside;
    for (size_t i = 0; round % 2 == 0 && i < rank.steps.size(); ++i)
      beside.push_back(pick(random, 0, 30));
    const SlotHeights heights =
        followHeights(rank, contexts, instances, ranges, begins, base, beside);
    SlotHeights naive;
    for (const Context &context : contexts.all())
      naive.inContext.emplace_back(context.length());
    naive.liveInContext = naive.inContext;
    naive.atStep.resize(rank.steps.size());
    for (size_t i = 0; i < rank.steps.size(); ++i)
      for (int64_t now = begins[i]; now < begins[i + 1]; ++now) {
        int64_t height = 0, live = beside.empty() ? 0 : beside[i];
        for (const SlotInstance &each : instances)
          if (!each.isOnHost && each.life.begin <= now && now < each.life.end) {
            height = std::max(height, each.base - base + each.life.size);
            live += each.liveBytes;
          }
        naive.atStep[i] = std::max(naive.atStep[i], height);
        if (!plan::isExecution(rank.steps[i].kind))
          continue;
        const size_t context = contexts.indexOf(rank.steps[i]);
        const auto at = static_cast<size_t>(now - begins[i]);
        int64_t &most = naive.inContext[context][at];
        most = std::max(most, height);
        int64_t &mostLive = naive.liveInContext[context][at];
        mostLive = std::max(mostLive, live);
        ++compared;
      }
    EXPECT_EQ(heights.inContext, naive.inContext) << "round " << round;
    EXPECT_EQ(heights.liveInContext, naive.liveInContext) << "round " << round;
    EXPECT_EQ(heights.atStep, naive.atStep) << "round " << round;
  }
  EXPECT_GT(compared, 1000);
}

// A group lives from its first event to its last one, whichever program those
// are in, and so all the time between.
TEST(SlotProfile, IsThatOfItsGroups) {
  std::mt19937 random(6);
  int64_t waiting = 0;
  for (int round = 0; round < 300; ++round) {
    const std::array<int64_t, 2> lengths = {pick(random, 1, 12),
                                            pick(random, 1, 12)};
    const int64_t between = lengths[0]; // one moment for all the waiting
    std::vector<ProfiledGroup> groups;
    std::array<std::vector<GroupEvent>, 2> events;
    struct Life {
      int64_t begin = kNever, end = -1;
    };
    std::vector<Life> lives; // forward, waiting, backward in one row
    for (int64_t g = 0; g < 5; ++g) {
      groups.push_back(
          {pick(random, 0, 30), pick(random, 1, 9), pick(random, 0, 3) == 0});
      Life &life = lives.emplace_back();
      for (size_t c : {0, 1}) {
        if (pick(random, 0, 3) == 0)
          continue;
        GroupEvent event{g, -1, -1};
        if (c == 0 || pick(random, 0, 1) == 0)
          event.begin = pick(random, 0, lengths[c] - 1);
        if (event.begin == -1 || pick(random, 0, 1) == 0)
          event.end = pick(random, event.begin + 1, lengths[c]);
        event.end = std::max<int64_t>(event.end, event.begin == -1 ? 1 : -1);
        events[c].push_back(event);
        const int64_t from = c == 0 ? 0 : between + 1;
        life.begin = std::min(life.begin, from + event.first());
        life.end = std::max(life.end, from + event.last());
      }
    }
    const SlotProfile profile(groups, events, lengths);
    auto at = [&](int64_t now) {
      std::pair<int64_t, int64_t> topAndLive = {0, 0};
      for (size_t g = 0; g < groups.size(); ++g)
        if (lives[g].begin <= now && now < lives[g].end) {
          topAndLive.first =
              std::max(topAndLive.first, groups[g].offset + groups[g].bytes);
          topAndLive.second += groups[g].isPassing ? 0 : groups[g].bytes;
        }
      return topAndLive;
    };
    for (size_t c : {0, 1}) {
      const SlotProfile::Part &part = profile.part(c);
      const int64_t from = c == 0 ? 0 : between + 1;
      int64_t begin = kNever, end = -1;
      for (int64_t now = 0; now < lengths[c]; ++now) {
        const auto [top, live] = at(from + now);
        EXPECT_EQ(part.top[static_cast<size_t>(now)], top);
        EXPECT_EQ(part.live[static_cast<size_t>(now)], live);
        if (top > 0) {
          begin = std::min(begin, now);
          end = now + 1;
        }
      }
      EXPECT_EQ(part.begin, begin) << "round " << round;
      EXPECT_EQ(part.end, end) << "round " << round;
      EXPECT_EQ(part.most, *std::max_element(part.top.begin(), part.top.end()));
    }
    EXPECT_EQ(std::pair(profile.waitingTop(), profile.waitingBytes()),
              at(between))
        << "round " << round;
    waiting += profile.waitingTop() > 0;
  }
  EXPECT_GT(waiting, 100);
}

} // namespace
