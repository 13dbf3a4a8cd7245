// Random plans: agreement with a naive simulation, and what must always hold.
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Simulate/NaiveSimulation.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

using namespace moe;
using plan::StepKind;
using simulate::Event;
using simulate::Lane;

namespace {

constexpr unsigned kSeeds = 1500;

simulate::Timeline run(const plan::Plan &plan, bool detail = true) {
  simulate::Options options;
  options.detail = detail;
  Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return timeline ? *timeline : simulate::Timeline();
}

TEST(RandomPlans, AgreeWithTheNaiveSimulation) {
  size_t contended = 0, overlaps = 0, local = 0;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline timeline = run(plan);
    NaiveTimeline naive = simulateNaively(plan);
    ASSERT_EQ(timeline.ranks.size(), naive.ranks.size());
    for (size_t r = 0; r < naive.ranks.size(); ++r) {
      const simulate::RankTimeline &rank = timeline.ranks[r];
      ASSERT_EQ(rank.endNs, naive.ranks[r].endNs) << "rank " << r;
      ASSERT_TRUE(rank.steps == naive.ranks[r].steps) << "rank " << r;
      std::vector<Event> expected = naive.ranks[r].events;
      std::sort(expected.begin(), expected.end(),
                [](const Event &a, const Event &b) {
                  return std::tuple(a.time.beginNs, a.lane) <
                         std::tuple(b.time.beginNs, b.lane);
                });
      ASSERT_TRUE(rank.events == expected) << "rank " << r;
      overlaps += plan.ranks[r].overlaps.size();
      for (size_t i = 0; i < rank.steps.size(); ++i)
        local += plan.ranks[r].steps[i].kind == StepKind::receive &&
                 plan.ranks[r].steps[i].peer == static_cast<int64_t>(r) &&
                 rank.steps[i].ns() > 0;
    }
    for (const simulate::CriticalSegment &segment : timeline.criticalPath)
      contended += segment.lane == Lane::pipeline_communication;
  }
  // The plans are worth simulating.
  EXPECT_GT(overlaps, 500u);
  EXPECT_GT(local, 500u);
  EXPECT_GT(contended, 500u);
}

TEST(RandomPlans, DetailChangesNothingElse) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline full = run(plan), brief = run(plan, false);
    EXPECT_EQ(full.stepNs, brief.stepNs);
    EXPECT_EQ(full.bubble, brief.bubble);
    EXPECT_TRUE(full.criticalPath == brief.criticalPath);
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      EXPECT_TRUE(brief.ranks[r].events.empty());
      EXPECT_TRUE(brief.ranks[r].samples.empty());
      EXPECT_TRUE(full.ranks[r].steps == brief.ranks[r].steps);
      EXPECT_EQ(full.ranks[r].peakBytes, brief.ranks[r].peakBytes);
    }
  }
}

TEST(RandomPlans, LanesHoldOneThingAtATimeAndSumsAreRight) {
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline timeline = run(plan);
    int64_t busiest = 0, end = 0;
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      const simulate::RankTimeline &rank = timeline.ranks[r];
      std::array<int64_t, simulate::kLaneCount> clock{}, busy{};
      int64_t previous = 0;
      for (const Event &event : rank.events) {
        auto lane = static_cast<size_t>(event.lane);
        ASSERT_GE(event.time.beginNs, clock[lane]);
        ASSERT_GE(event.time.beginNs, previous);
        previous = event.time.beginNs;
        clock[lane] = event.time.endNs;
        busy[lane] += event.time.ns();
      }
      ASSERT_TRUE(busy == rank.laneBusyNs);
      // Within programs, reduction and update compute runs or it does not.
      auto compute = static_cast<size_t>(Lane::compute);
      ASSERT_EQ(rank.busyNs, busy[compute] + rank.exposedCommunicationNs +
                                 rank.exposedCopyNs);
      ASSERT_LE(rank.busyNs, rank.endNs);
      ASSERT_LE(rank.endNs, timeline.stepNs);
      busiest = std::max(busiest, rank.busyNs);
      end = std::max(end, rank.endNs);
      for (size_t i = 1; i < rank.samples.size(); ++i) {
        ASSERT_GE(rank.samples[i].ns, rank.samples[i - 1].ns);
        ASSERT_FALSE(rank.samples[i].live == rank.samples[i - 1].live);
      }
    }
    ASSERT_EQ(end, timeline.stepNs);
    ASSERT_NEAR(timeline.bubble,
                1 - static_cast<double>(busiest) / static_cast<double>(end),
                1e-12);
  }
}

TEST(RandomPlans, PeaksAreTheFirstLargestInOrderOfIssue) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline timeline = run(plan);
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      const simulate::RankTimeline &rank = timeline.ranks[r];
      int64_t largest = 0;
      std::tuple<int64_t, int64_t, int64_t> place;
      auto consider = [&](int64_t bytes, size_t step, int64_t member,
                          int64_t op) {
        if (bytes > largest) {
          largest = bytes;
          place = {step, member, op};
        }
      };
      for (size_t i = 0; i < plan.ranks[r].steps.size(); ++i) {
        const plan::Step &step = plan.ranks[r].steps[i];
        bool fills =
            step.kind == StepKind::load || step.kind == StepKind::receive;
        consider(step.live.total() + (fills ? 1000 : 0), i, 0, -1);
        if (step.kind == StepKind::run) {
          for (const plan::Program &program :
               plan.stages[static_cast<size_t>(step.stage)].programs)
            if (program.phase == step.phase)
              for (size_t op = 0; op < program.ops.size(); ++op)
                consider(step.live.total() + program.ops[op].live.total(), i, 0,
                         static_cast<int64_t>(op));
        } else if (step.kind == StepKind::overlap) {
          const plan::Overlap &overlap =
              plan.ranks[r].overlaps[static_cast<size_t>(step.overlap)];
          std::array<int64_t, 2> next{};
          for (size_t op = 0; op < overlap.order.size(); ++op) {
            int64_t member = overlap.order[op];
            consider(step.live.total() + overlap.live[op].total(), i, member,
                     next[static_cast<size_t>(member)]++);
          }
        }
      }
      EXPECT_EQ(rank.peakBytes, largest);
      EXPECT_EQ(std::tuple(rank.peakStep, rank.peakMember, rank.peakOp), place)
          << "seed " << seed;
      EXPECT_LE(rank.peakNs, rank.endNs);
    }
  }
}

TEST(RandomPlans, TheCriticalPathIsAChainOfWhatHappened) {
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline timeline = run(plan);
    int64_t clock = 0;
    const simulate::CriticalSegment *before = nullptr;
    for (const simulate::CriticalSegment &segment : timeline.criticalPath) {
      ASSERT_EQ(segment.time.beginNs, clock);
      ASSERT_GT(segment.time.endNs, clock);
      clock = segment.time.endNs;
      if (before)
        ASSERT_FALSE(before->rank == segment.rank &&
                     before->lane == segment.lane &&
                     before->step == segment.step);
      before = &segment;
      // The lane was busy all that time, with that step.
      int64_t covered = 0;
      for (const Event &event :
           timeline.ranks[static_cast<size_t>(segment.rank)].events)
        if (event.lane == segment.lane && event.step == segment.step &&
            event.time.beginNs >= segment.time.beginNs &&
            event.time.endNs <= segment.time.endNs)
          covered += event.time.ns();
      ASSERT_EQ(covered, segment.time.ns());
    }
    ASSERT_EQ(clock, timeline.stepNs);
  }
}

/// Whether messages of different pairs ever share a way.
bool sharesWays(const plan::Plan &plan) {
  std::map<int64_t, int64_t> out, in;
  for (const plan::Rank &rank : plan.ranks)
    for (const plan::Step &step : rank.steps) {
      if (step.kind != StepKind::send || step.peer == rank.rank)
        continue;
      if (out.try_emplace(rank.rank, step.peer).first->second != step.peer ||
          in.try_emplace(step.peer, rank.rank).first->second != rank.rank)
        return true;
    }
  return false;
}

TEST(RandomPlans, SlowerOpsNeverEndSooner) {
  // Where ways are shared, something slower can let a more urgent message go
  // first, as in any network; elsewhere it cannot help.
  std::mt19937 random(3);
  int compared = 0;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    plan::Plan plan = makeAnyPlan(seed);
    if (sharesWays(plan))
      continue;
    ++compared;
    int64_t before = run(plan, false).stepNs;
    plan::Stage &stage = plan.stages[random() % plan.stages.size()];
    plan::Program &program = stage.programs[random() % stage.programs.size()];
    program.ops[random() % program.ops.size()].timeNs +=
        static_cast<int64_t>(random() % 500);
    int64_t slower = run(plan, false).stepNs;
    EXPECT_GE(slower, before) << "seed " << seed;
    plan.machine.linkLatencyNs += static_cast<int64_t>(random() % 500);
    EXPECT_GE(run(plan, false).stepNs, slower) << "seed " << seed;
  }
  EXPECT_GT(compared, 300);
}

} // namespace
