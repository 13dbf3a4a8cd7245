// The rules of simulate(), each on a case that is worked out by hand.
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <gmock/gmock.h>

using namespace moe;
using plan::Phase;
using plan::Stream;
using simulate::CriticalSegment;
using simulate::Event;
using simulate::Interval;
using simulate::Lane;
using testing::ElementsAre;

namespace moe::simulate {
void PrintTo(const Interval &time, std::ostream *out) {
  *out << time.beginNs << " to " << time.endNs;
}
void PrintTo(const Event &event, std::ostream *out) {
  *out << name(event.lane) << " ";
  PrintTo(event.time, out);
  *out << ", step " << event.step << ", member " << event.member << ", op "
       << event.op;
}
void PrintTo(const CriticalSegment &segment, std::ostream *out) {
  *out << "rank " << segment.rank << ", " << name(segment.lane) << " ";
  PrintTo(segment.time, out);
  *out << ", step " << segment.step;
}
} // namespace moe::simulate

namespace {

simulate::Timeline run(const plan::Plan &plan) {
  simulate::Options options;
  options.detail = true;
  Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return timeline ? *timeline : simulate::Timeline();
}

constexpr Stream kExpert = Stream::expert_communication;

TEST(Ops, StreamsRunBesideEachOtherAndWaitsHold) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  builder.addProgram(stage, Phase::forward,
                     {makeOp(10),               // 0 to 10
                      makeOp(30, kExpert, {0}), // 10 to 40
                      makeOp(20),               // 10 to 30
                      makeOp(5, kExpert, {2}),  // 40 to 45, its stream is busy
                      makeOp(7, Stream::compute, {1}),   // 40 to 47
                      makeOp(0, Stream::compute, {3})}); // at 47, no time
  builder.run(stage, 0, Phase::forward);
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_EQ(timeline.stepNs, 47);
  const simulate::RankTimeline &rank = timeline.ranks[0];
  EXPECT_THAT(
      rank.events,
      ElementsAre(Event{Lane::compute, {0, 10}, 0, 0, 0},
                  Event{Lane::compute, {10, 30}, 0, 0, 2},
                  Event{Lane::expert_communication, {10, 40}, 0, 0, 1},
                  Event{Lane::compute, {40, 47}, 0, 0, 4},
                  Event{Lane::expert_communication, {40, 45}, 0, 0, 3}));
  EXPECT_THAT(rank.laneBusyNs, ElementsAre(37, 35, 0, 0, 0, 0));
  EXPECT_EQ(rank.busyNs, 47);
  EXPECT_EQ(rank.exposedCommunicationNs, 10);
  EXPECT_EQ(timeline.bubble, 0);
  EXPECT_THAT(
      timeline.criticalPath,
      ElementsAre(CriticalSegment{0, Lane::compute, {0, 10}, 0},
                  CriticalSegment{0, Lane::expert_communication, {10, 40}, 0},
                  CriticalSegment{0, Lane::compute, {40, 47}, 0}));
}

TEST(Ops, AllStreamsAreDoneBeforeTheNextStep) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  builder.addProgram(stage, Phase::forward, {makeOp(10), makeOp(50, kExpert)});
  builder.run(stage, 0, Phase::forward);
  builder.run(stage, 1, Phase::forward);
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(timeline.ranks[0].steps,
              ElementsAre(Interval{0, 50}, Interval{50, 100}));
  EXPECT_EQ(timeline.ranks[0].exposedCommunicationNs, 80);
}

TEST(Ops, OverlapHidesCommunicationBehindTheOtherMember) {
  // Each alone: compute 10, exchange 20, compute 10, that is 40.
  auto ops = [] {
    return std::vector{makeOp(10), makeOp(20, kExpert, {0}),
                       makeOp(10, Stream::compute, {1})};
  };
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  builder.addProgram(stage, Phase::forward, ops());
  builder.addProgram(stage, Phase::backward, ops());
  plan::Overlap overlap;
  overlap.members = {{{stage, Phase::forward}, {stage, Phase::backward}}};
  overlap.order = {0, 0, 1, 0, 1, 1};
  overlap.live.resize(6);
  builder.plan.ranks[0].overlaps.push_back(overlap);
  builder.overlap(0, 0, 4, 1);
  simulate::Timeline timeline = run(builder.plan);
  // The second exchange has its stream from 30 on.
  EXPECT_THAT(timeline.ranks[0].events,
              ElementsAre(Event{Lane::compute, {0, 10}, 0, 0, 0},
                          Event{Lane::compute, {10, 20}, 0, 1, 0},
                          Event{Lane::expert_communication, {10, 30}, 0, 0, 1},
                          Event{Lane::compute, {30, 40}, 0, 0, 2},
                          Event{Lane::expert_communication, {30, 50}, 0, 1, 1},
                          Event{Lane::compute, {50, 60}, 0, 1, 2}));
  EXPECT_EQ(timeline.ranks[0].exposedCommunicationNs, 20);

  // The overlap's own wait: the op at place 4 behind the one at place 3.
  builder.plan.ranks[0].overlaps[0].order = {0, 0, 1, 1, 0, 1};
  builder.plan.ranks[0].overlaps[0].waits = {{4, 3}};
  EXPECT_THAT(run(builder.plan).ranks[0].steps, ElementsAre(Interval{0, 70}));
}

/// Two ranks, one stage each, one op a program.
PlanBuilder makePair(int64_t forwardNs, int64_t backwardNs) {
  PlanBuilder builder(2);
  for (int64_t rank = 0; rank < 2; ++rank) {
    builder.addStage(rank);
    builder.addProgram(rank, Phase::forward, {makeOp(forwardNs)});
    builder.addProgram(rank, Phase::backward, {makeOp(backwardNs)});
  }
  return builder;
}

TEST(Transfers, LatencyAndBytesThereAndBack) {
  PlanBuilder builder = makePair(1000, 2000);
  builder.run(0, 0, Phase::forward);     // 0 to 1000
  builder.send(0, 0, Phase::forward, 1); // 1000 to 1050
  builder.receive(0, 0, Phase::backward, 1);
  builder.run(0, 0, Phase::backward); // 4100 to 6100
  builder.waitSend(0, 0, Phase::forward, 1);
  builder.receive(1, 0, Phase::forward, 0);
  builder.run(1, 0, Phase::forward);      // 1050 to 2050
  builder.run(1, 0, Phase::backward);     // 2050 to 4050
  builder.send(1, 0, Phase::backward, 0); // 4050 to 4100
  builder.waitSend(1, 0, Phase::backward, 0);
  builder.plan.machine.linkLatencyNs = 10;
  builder.plan.machine.linkBytesPerSecond = 1e9 * 1000 / 40;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_EQ(timeline.stepNs, 6100);
  EXPECT_THAT(timeline.ranks[0].steps,
              ElementsAre(Interval{0, 1000}, Interval{1000, 1050},
                          Interval{4050, 4100}, Interval{4100, 6100},
                          Interval{6100, 6100}));
  EXPECT_THAT(timeline.ranks[1].steps,
              ElementsAre(Interval{1000, 1050}, Interval{1050, 2050},
                          Interval{2050, 4050}, Interval{4050, 4100},
                          Interval{4050, 4100}));
  EXPECT_EQ(timeline.ranks[1].endNs, 4100);
  EXPECT_THAT(timeline.ranks[1].laneBusyNs, ElementsAre(3000, 0, 0, 0, 50, 0));
  EXPECT_NEAR(timeline.bubble, 1 - 3000.0 / 6100, 1e-12);
  EXPECT_THAT(
      timeline.criticalPath,
      ElementsAre(
          CriticalSegment{0, Lane::compute, {0, 1000}, 0},
          CriticalSegment{1, Lane::pipeline_communication, {1000, 1050}, 0},
          CriticalSegment{1, Lane::compute, {1050, 2050}, 1},
          CriticalSegment{1, Lane::compute, {2050, 4050}, 2},
          CriticalSegment{0, Lane::pipeline_communication, {4050, 4100}, 2},
          CriticalSegment{0, Lane::compute, {4100, 6100}, 3}));
}

TEST(Transfers, BytesMoveOnceBothSidesHavePosted) {
  PlanBuilder builder = makePair(1000, 2000);
  builder.run(0, 0, Phase::forward);
  builder.send(0, 0, Phase::forward, 1); // posted at 1000
  builder.waitSend(0, 0, Phase::forward, 1);
  builder.run(1, 7, Phase::backward);       // 0 to 2000
  builder.receive(1, 0, Phase::forward, 0); // posted at 2000
  builder.run(1, 8, Phase::backward);       // does not need it
  builder.run(1, 0, Phase::forward);
  builder.plan.machine.linkLatencyNs = 100;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(timeline.ranks[0].steps,
              ElementsAre(Interval{0, 1000}, Interval{2000, 2100},
                          Interval{1000, 2100}));
  EXPECT_THAT(timeline.ranks[1].steps,
              ElementsAre(Interval{0, 2000}, Interval{2000, 2100},
                          Interval{2000, 4000}, Interval{4000, 5000}));
}

TEST(Transfers, OneMessageAtATimeInTheOrderOfTheSends) {
  PlanBuilder builder = makePair(1000, 2000);
  for (int64_t m : {0, 1}) {
    builder.send(0, m, Phase::forward, 1);
    builder.receive(1, m, Phase::forward, 0);
  }
  builder.run(1, 1, Phase::forward); // needs the second
  builder.run(1, 0, Phase::forward);
  builder.plan.machine.linkLatencyNs = 100;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(timeline.ranks[1].steps,
              ElementsAre(Interval{0, 100}, Interval{100, 200},
                          Interval{200, 1200}, Interval{1200, 2200}));
  EXPECT_THAT(
      timeline.criticalPath,
      ElementsAre(
          CriticalSegment{1, Lane::pipeline_communication, {0, 100}, 0},
          CriticalSegment{1, Lane::pipeline_communication, {100, 200}, 1},
          CriticalSegment{1, Lane::compute, {200, 1200}, 2},
          CriticalSegment{1, Lane::compute, {1200, 2200}, 3}));
}

TEST(Transfers, AWayOutIsSharedByAllNeighbours) {
  // Rank 1 sends forward to 2 and back to 0; both have posted their receives.
  PlanBuilder builder(3);
  for (int64_t rank = 0; rank < 3; ++rank) {
    builder.addStage(rank);
    builder.addProgram(rank, Phase::forward, {makeOp(10)});
    builder.addProgram(rank, Phase::backward, {makeOp(10)});
  }
  builder.receive(0, 0, Phase::backward, 1);
  builder.receive(2, 5, Phase::forward, 1);
  builder.send(1, 5, Phase::forward, 2);
  builder.send(1, 0, Phase::backward, 0);
  builder.plan.machine.linkLatencyNs = 100;
  // Posted at the same moment: the lower receiver goes first.
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(timeline.ranks[1].steps,
              ElementsAre(Interval{100, 200}, Interval{0, 100}));

  // Posted one after the other: the first goes first.
  auto &steps = builder.plan.ranks[1].steps;
  steps.insert(steps.begin() + 1, plan::Step{});
  steps[1].kind = plan::StepKind::update;
  builder.plan.ranks[1].updateNs = 30;
  EXPECT_THAT(
      run(builder.plan).ranks[1].steps,
      ElementsAre(Interval{0, 100}, Interval{0, 30}, Interval{100, 200}));
}

TEST(Transfers, WhoHasWaitedLongestGoesFirst) {
  // Rank 3's way in is taken by rank 0 until 100; rank 2 has posted at 10, rank
  // 1 at 20.
  PlanBuilder builder(4);
  for (int64_t rank = 0; rank < 4; ++rank)
    builder.addStage(rank);
  for (int64_t rank : {1, 2}) {
    builder.plan.ranks[static_cast<size_t>(rank)].updateNs = 30 - 10 * rank;
    builder.finish(rank);
  }
  for (int64_t rank : {0, 1, 2}) {
    builder.send(rank, rank, Phase::forward, 3);
    builder.receive(3, rank, Phase::forward, rank);
  }
  builder.plan.machine.linkLatencyNs = 100;
  EXPECT_THAT(
      run(builder.plan).ranks[3].steps,
      ElementsAre(Interval{0, 100}, Interval{200, 300}, Interval{100, 200}));
}

TEST(Transfers, AWayInIsSharedByAllNeighbours) {
  PlanBuilder builder(3);
  for (int64_t rank = 0; rank < 3; ++rank)
    builder.addStage(rank);
  builder.send(0, 0, Phase::forward, 1);
  builder.send(2, 3, Phase::backward, 1);
  builder.receive(1, 0, Phase::forward, 0);
  builder.receive(1, 3, Phase::backward, 2);
  builder.plan.machine.linkLatencyNs = 100;
  EXPECT_THAT(run(builder.plan).ranks[1].steps,
              ElementsAre(Interval{0, 100}, Interval{100, 200}));
}

TEST(Transfers, BothDirectionsAtOnceAndNobodyWaitsForAFreeWay) {
  PlanBuilder builder(3);
  for (int64_t rank = 0; rank < 3; ++rank)
    builder.addStage(rank);
  // 0 to 1 and 1 to 0 do not disturb each other. 0 to 2 waits for 0's way out,
  // 1 to 2 was posted later but does not have to wait for it.
  builder.send(0, 0, Phase::forward, 1);
  builder.send(0, 1, Phase::forward, 2);
  builder.receive(0, 2, Phase::backward, 1);
  builder.receive(1, 0, Phase::forward, 0);
  builder.send(1, 2, Phase::backward, 0);
  builder.receive(2, 1, Phase::forward, 0);
  builder.receive(2, 4, Phase::forward, 1);
  builder.plan.ranks[1].updateNs = 110;
  builder.finish(1);
  builder.send(1, 4, Phase::forward, 2);
  builder.plan.machine.linkLatencyNs = 100;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(
      timeline.ranks[0].steps,
      ElementsAre(Interval{0, 100}, Interval{100, 200}, Interval{0, 100}));
  EXPECT_THAT(timeline.ranks[2].steps,
              ElementsAre(Interval{100, 200}, Interval{200, 300}));
}

TEST(Transfers, ToItselfBesideTheLinks) {
  PlanBuilder builder(2);
  builder.addStage(0);
  builder.addStage(0);
  builder.addStage(1);
  builder.addProgram(1, Phase::forward, {makeOp(10)});
  builder.send(0, 0, Phase::forward, 0); // to stage 1 on the same rank
  builder.receive(1, 0, Phase::forward, 0);
  builder.receive(0, 1, Phase::backward, 1);
  builder.run(1, 0, Phase::forward);
  builder.waitSend(0, 0, Phase::forward, 0);
  builder.send(2, 1, Phase::backward, 0);
  builder.plan.machine.linkLatencyNs = 100;
  builder.plan.machine.localBytesPerSecond = 1e9 * 1000 / 4;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(timeline.ranks[0].steps,
              ElementsAre(Interval{0, 4}, Interval{0, 4}, Interval{0, 100},
                          Interval{4, 14}, Interval{14, 14}));
  EXPECT_THAT(timeline.ranks[0].laneBusyNs, ElementsAre(10, 0, 0, 0, 100, 4));
  EXPECT_THAT(timeline.criticalPath,
              ElementsAre(CriticalSegment{0, Lane::local_copy, {0, 4}, 1},
                          CriticalSegment{0, Lane::compute, {4, 14}, 3}));
}

TEST(Whole, ReductionAndUpdateFollow) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  builder.addProgram(stage, Phase::forward, {makeOp(100)});
  builder.run(stage, 0, Phase::forward);
  builder.finish(0);
  builder.plan.ranks[0].reduceGradientsNs = 5;
  builder.plan.ranks[0].updateNs = 7;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_EQ(timeline.stepNs, 112);
  EXPECT_EQ(timeline.ranks[0].busyNs, 112);
  EXPECT_EQ(timeline.ranks[0].exposedCommunicationNs, 5);
  EXPECT_THAT(timeline.ranks[0].laneBusyNs, ElementsAre(107, 5, 0, 0, 0, 0));
  EXPECT_THAT(
      timeline.criticalPath,
      ElementsAre(CriticalSegment{0, Lane::compute, {0, 100}, 0},
                  CriticalSegment{0, Lane::expert_communication, {100, 105}, 1},
                  CriticalSegment{0, Lane::compute, {105, 112}, 2}));
}

TEST(Whole, TheBusiestRankMakesTheBubble) {
  PlanBuilder builder(2);
  for (int64_t rank = 0; rank < 2; ++rank) {
    builder.addStage(rank);
    builder.addProgram(rank, Phase::forward, {makeOp(rank ? 300 : 100)});
    builder.run(rank, 0, Phase::forward);
  }
  builder.plan.ranks[0].updateNs = 500;
  builder.finish(0);
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_EQ(timeline.stepNs, 600);
  EXPECT_EQ(timeline.bubble, 0);
  builder.receive(0, 9, Phase::backward, 1);
  builder.send(1, 9, Phase::backward, 0);
  builder.waitSend(1, 9, Phase::backward, 0);
  builder.plan.machine.linkLatencyNs = 200; // rank 1 ends at 800
  EXPECT_NEAR(run(builder.plan).bubble, 1 - 600.0 / 800, 1e-12);
}

TEST(Whole, ModelFlopsUtilization) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  builder.addProgram(stage, Phase::forward, {makeOp(1000)});
  builder.run(stage, 0, Phase::forward);
  plan::Plan &plan = builder.plan;
  EXPECT_EQ(run(plan).modelFlopsUtilization, 0);
  plan.layout.pipeline = 1;
  plan.layout.expert = 4;
  plan.layout.data = 2;
  plan.machine.flopsPerSecond = 1e12; // a million in 1000 ns, on 8 devices
  plan.prediction.modelFlops = 2e6;
  EXPECT_NEAR(run(plan).modelFlopsUtilization, 0.25, 1e-12);
}

TEST(Whole, EmptyPlan) {
  simulate::Timeline timeline = run(plan::Plan{});
  EXPECT_EQ(timeline.stepNs, 0);
  EXPECT_EQ(timeline.bubble, 0);
  EXPECT_TRUE(timeline.criticalPath.empty());
  // Ranks without steps.
  timeline = run(PlanBuilder(2).plan);
  EXPECT_EQ(timeline.ranks.size(), 2u);
  EXPECT_EQ(timeline.ranks[0].peakStep, -1);
}

} // namespace
