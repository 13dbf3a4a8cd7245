#include "compiler/Simulate/Simulate.h"
#include "compiler/Schedule/Schedule.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

using namespace moe;
using plan::StepKind;
using testing::HasSubstr;

namespace {

constexpr int64_t kForwardNs = 1000;
constexpr int64_t kBackwardNs = 2000;
constexpr int64_t kMessageBytes = 4096;

plan::Program program(plan::Phase phase, int64_t ns) {
  plan::Program result;
  result.phase = phase;
  // Two ops: the simulator adds them up.
  for (int64_t part : {ns / 4, ns - ns / 4}) {
    plan::Op op;
    op.kind = "linear";
    op.timeNs = part;
    result.ops.push_back(op);
  }
  return result;
}

/// A plan with one stage a rank; values: 0 the input, 1 the output, 2 and 3
/// their gradients, 4 what is loaded or collected.
plan::Plan makePlan(const schedule::StepSchedule &steps,
                    const std::vector<int64_t> &forwardNs,
                    const std::vector<int64_t> &backwardNs) {
  plan::Plan plan;
  for (size_t rank = 0; rank < steps.ranks.size(); ++rank) {
    plan::Stage stage;
    stage.name = "s" + std::to_string(rank);
    stage.rank = static_cast<int64_t>(rank);
    for (const char *name : {"x", "y", "d_x", "d_y", "other"}) {
      plan::Value value;
      value.name = name;
      value.bytes = kMessageBytes;
      stage.values.push_back(value);
    }
    stage.programs = {program(plan::Phase::forward, forwardNs[rank]),
                      program(plan::Phase::backward, backwardNs[rank])};
    plan.stages.push_back(stage);
    plan::Rank planRank;
    planRank.rank = static_cast<int64_t>(rank);
    for (const schedule::Step &step : steps.ranks[rank]) {
      plan::Step planStep;
      planStep.kind = step.kind;
      planStep.stage = step.stage;
      planStep.microbatch = step.microbatch;
      planStep.peer = step.peer;
      bool forward = step.phase == schedule::Phase::forward;
      planStep.phase = forward ? plan::Phase::forward : plan::Phase::backward;
      if (step.kind == StepKind::receive)
        planStep.value = forward ? 0 : 3;
      else if (step.kind == StepKind::send || step.kind == StepKind::wait_send)
        planStep.value = forward ? 1 : 2;
      else if (step.kind != StepKind::run && step.stage >= 0)
        planStep.value = 4;
      planRank.steps.push_back(planStep);
    }
    plan.ranks.push_back(planRank);
  }
  return plan;
}

plan::Plan makePlan(const char *name, int64_t ranks, int64_t microbatches) {
  Result<schedule::Schedule> order =
      schedule::generate(name, {ranks, microbatches, 1});
  EXPECT_TRUE(order.ok());
  auto count = static_cast<size_t>(ranks);
  return makePlan(schedule::insertTransfers(*order),
                  std::vector<int64_t>(count, kForwardNs),
                  std::vector<int64_t>(count, kBackwardNs));
}

simulate::Timeline run(const plan::Plan &plan,
                       const simulate::Timing &timing = {}) {
  Result<simulate::Timeline> timeline = simulate::simulate(plan, timing);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return *timeline;
}

TEST(Simulate, BubbleOfEqualStagesIsTheFormula) {
  for (int64_t ranks = 1; ranks <= 32; ++ranks)
    for (int64_t microbatches : {1, 2, 5, 8, 32, 65})
      for (const char *name : {"gpipe", "1f1b"}) {
        simulate::Timeline timeline = run(makePlan(name, ranks, microbatches));
        ASSERT_EQ(timeline.stepNs,
                  (microbatches + ranks - 1) * (kForwardNs + kBackwardNs))
            << name << ", " << ranks << " ranks, " << microbatches;
        ASSERT_NEAR(timeline.bubble,
                    static_cast<double>(ranks - 1) /
                        static_cast<double>(microbatches + ranks - 1),
                    1e-12);
        for (const simulate::RankTimeline &rank : timeline.ranks)
          ASSERT_EQ(rank.busyNs, microbatches * (kForwardNs + kBackwardNs));
      }
}

TEST(Simulate, TheBusiestRankCounts) {
  auto steps =
      schedule::insertTransfers(*schedule::oneForwardOneBackward({2, 4, 1}));
  plan::Plan plan = makePlan(steps, {1000, 3000}, {1000, 3000});
  simulate::Timeline timeline = run(plan);
  // Rank 1 starts after one forward of rank 0 and is never idle again; rank 0
  // ends with one backward.
  EXPECT_EQ(timeline.stepNs, 1000 + 4 * 6000 + 1000);
  EXPECT_NEAR(timeline.bubble, 1 - 24000.0 / 26000, 1e-12);
  EXPECT_EQ(timeline.ranks[0].busyNs, 8000);
}

TEST(Simulate, LinksTakeTheirTime) {
  // One microbatch on two ranks: F, message, F, B, message, B.
  simulate::Timing timing;
  timing.linkLatencyNs = 10;
  timing.linkBytesPerSecond = 1e9 * kMessageBytes / 40; // 40 ns a message
  simulate::Timeline timeline = run(makePlan("1f1b", 2, 1), timing);
  EXPECT_EQ(timeline.stepNs, 2 * (kForwardNs + kBackwardNs) + 2 * 50);
}

TEST(Simulate, BytesMoveOnceBothSidesAreThere) {
  // Rank 1 is busy with microbatch 0 when rank 0 posts microbatch 1; the
  // transfer begins when rank 1 asks for it.
  simulate::Timing timing;
  timing.linkLatencyNs = 100;
  plan::Plan plan = makePlan("gpipe", 2, 2);
  simulate::Timeline timeline = run(plan, timing);
  const auto &steps = plan.ranks[1].steps;
  std::vector<simulate::StepTime> receives;
  for (size_t i = 0; i < steps.size(); ++i)
    if (steps[i].kind == StepKind::receive)
      receives.push_back(timeline.ranks[1].steps[i]);
  ASSERT_EQ(receives.size(), 2u);
  EXPECT_EQ(receives[0].endNs, kForwardNs + 100);
  EXPECT_EQ(receives[1].beginNs, receives[0].endNs + kForwardNs);
  EXPECT_EQ(receives[1].endNs, receives[1].beginNs + 100);
}

TEST(Simulate, ReductionAndUpdateFollow) {
  simulate::Timing timing;
  timing.reduceGradientsNs = {5, 7};
  timing.updateNs = {11, 13};
  simulate::Timeline timeline = run(makePlan("1f1b", 2, 3), timing);
  EXPECT_EQ(timeline.ranks[0].endNs, 4 * (kForwardNs + kBackwardNs) + 16);
  EXPECT_EQ(timeline.ranks[0].busyNs, 3 * (kForwardNs + kBackwardNs) + 16);
  EXPECT_EQ(timeline.ranks[1].busyNs, 3 * (kForwardNs + kBackwardNs) + 20);
}

TEST(Simulate, RandomCostsObeyTheBounds) {
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    auto ranks = static_cast<int64_t>(1 + random() % 8);
    auto microbatches = static_cast<int64_t>(1 + random() % 12);
    std::vector<int64_t> forward, backward;
    for (int64_t i = 0; i < ranks; ++i) {
      forward.push_back(static_cast<int64_t>(1 + random() % 1000));
      backward.push_back(static_cast<int64_t>(1 + random() % 1000));
    }
    auto order = *schedule::generate(random() % 2 ? "gpipe" : "1f1b",
                                     {ranks, microbatches, 1});
    plan::Plan plan =
        makePlan(schedule::insertTransfers(order), forward, backward);
    simulate::Timing timing;
    timing.linkLatencyNs = static_cast<int64_t>(random() % 100);
    simulate::Timeline timeline = run(plan, timing);
    int64_t through = 2 * (ranks - 1) * timing.linkLatencyNs, busiest = 0;
    for (size_t i = 0; i < forward.size(); ++i) {
      through += forward[i] + backward[i];
      busiest = std::max(busiest, microbatches * (forward[i] + backward[i]));
    }
    // One microbatch must go all the way, one rank must do all its work.
    EXPECT_GE(timeline.stepNs, std::max(through, busiest));
    EXPECT_LE(timeline.stepNs, microbatches * through);
    for (const simulate::RankTimeline &rank : timeline.ranks) {
      int64_t clock = 0;
      for (const simulate::StepTime &step : rank.steps) {
        EXPECT_EQ(step.beginNs, clock);
        EXPECT_GE(step.endNs, step.beginNs);
        clock = step.endNs;
      }
    }
  }
}

TEST(Simulate, EmptyPlan) {
  simulate::Timeline timeline = run(plan::Plan{});
  EXPECT_EQ(timeline.stepNs, 0);
  EXPECT_EQ(timeline.bubble, 0);
}

//===----------------------------------------------------------------------===//
// Plans that cannot run
//===----------------------------------------------------------------------===//

std::string failure(const plan::Plan &plan,
                    const simulate::Timing &timing = {}) {
  Result<simulate::Timeline> timeline = simulate::simulate(plan, timing);
  return timeline.ok() ? "no error" : timeline.error().message;
}

TEST(SimulateErrors, DeadlockNamesRanksAndSteps) {
  plan::Plan plan = makePlan("1f1b", 2, 1);
  // Rank 1 waits for its gradient message to be taken before it takes its
  // input.
  auto &steps = plan.ranks[0].steps;
  auto receive = std::find_if(steps.begin(), steps.end(), [](auto &step) {
    return step.kind == StepKind::receive;
  });
  std::rotate(steps.begin(), receive, receive + 1);
  EXPECT_EQ(failure(plan),
            "simulation: deadlock: rank 0 waits in step 0 (receive of stage "
            "s0, microbatch 0, value d_y) for rank 1; rank 1 waits in step 0 "
            "(receive of stage s1, microbatch 0, value x) for rank 0");
}

TEST(SimulateErrors, MessagesThatDoNotMatch) {
  plan::Plan plan = makePlan("1f1b", 2, 1);
  plan::Plan longer = plan;
  longer.stages[1].values[0].bytes *= 2;
  EXPECT_THAT(failure(longer), HasSubstr("meets another message"));

  plan::Plan unsent = plan;
  std::erase_if(unsent.ranks[0].steps, [](auto &step) {
    return step.kind == StepKind::send || step.kind == StepKind::wait_send;
  });
  EXPECT_THAT(failure(unsent), HasSubstr("rank 0 never sends it"));

  plan::Plan untaken = plan;
  std::erase_if(untaken.ranks[1].steps,
                [](auto &step) { return step.kind == StepKind::receive; });
  EXPECT_THAT(failure(untaken), HasSubstr("rank 1 never receives it"));

  plan::Plan waits = plan;
  std::erase_if(waits.ranks[0].steps,
                [](auto &step) { return step.kind == StepKind::send; });
  EXPECT_THAT(failure(waits), HasSubstr("was not sent before"));
}

TEST(SimulateErrors, IndicesOutOfRange) {
  plan::Plan plan = makePlan("1f1b", 2, 1);
  plan::Plan broken = plan;
  broken.ranks[0].steps[0].stage = 2;
  EXPECT_THAT(failure(broken), HasSubstr("no such stage"));
  broken = plan;
  broken.ranks[0].steps[0].value = 9;
  EXPECT_THAT(failure(broken), HasSubstr("no such value"));
  broken = plan;
  broken.ranks[1].steps[0].peer = 2;
  EXPECT_THAT(failure(broken), HasSubstr("no such peer"));
  simulate::Timing timing;
  timing.updateNs = {1, 2, 3};
  EXPECT_THAT(failure(plan, timing), HasSubstr("for 3 ranks, the plan has 2"));
}

} // namespace
