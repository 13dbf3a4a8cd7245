// Live bytes over time, on cases worked out by hand.
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Plan/RandomPlan.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <gmock/gmock.h>

using namespace moe;
using plan::MemoryClass;
using plan::Phase;
using plan::Stream;
using testing::ElementsAre;
using testing::Pair;

namespace {

simulate::Timeline run(const plan::Plan &plan, int64_t microbatches = 1000) {
  simulate::Options options;
  options.detail = true;
  options.detailMicrobatches = microbatches;
  Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return timeline ? *timeline : simulate::Timeline();
}

std::vector<std::pair<int64_t, int64_t>>
totals(const simulate::RankTimeline &rank) {
  std::vector<std::pair<int64_t, int64_t>> result;
  for (const simulate::MemorySample &sample : rank.samples)
    result.emplace_back(sample.ns, sample.live.total());
  return result;
}

plan::Op holding(plan::Op op, int64_t bytes) {
  op.live[MemoryClass::transient] = bytes;
  return op;
}

TEST(Memory, CountsInOrderOfIssueFromTheBeginOfEachOp) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  plan::Program &program = builder.addProgram(
      stage, Phase::forward,
      {holding(makeOp(10), 100), // 0 to 10, frees `other` (30)
                                 // 40 to 60, behind the exchange; issued no
                                 // later than the exchange that follows it.
       holding(makeOp(20, Stream::compute), 120),
       holding(makeOp(40, Stream::expert_communication), 150), // 0 to 40
       holding(makeOp(5, Stream::compute, {2}), 130)}); // frees scratch (70)
  program.ops[0].releases = {kOther};
  program.ops[3].scratchBytes = 70;
  plan::Stage &of = builder.plan.stages[0];
  of.values[kOther].bytes = 30;
  of.values[kOther].memoryClass = MemoryClass::transient;
  plan::Step &step = builder.run(stage, 0, Phase::forward);
  step.live[MemoryClass::parameters] = 1000;
  builder.plan.ranks[0].persistent[MemoryClass::parameters] = 1000;

  simulate::Timeline timeline = run(builder.plan);
  // Ops 1 and 2 are issued at 0, since 2 begins there.
  EXPECT_THAT(totals(timeline.ranks[0]),
              ElementsAre(Pair(0, 1000), Pair(0, 1100), Pair(0, 1120),
                          Pair(0, 1150), Pair(40, 1130), Pair(45, 1000)));
  EXPECT_EQ(timeline.ranks[0].peakBytes, 1150);
  EXPECT_EQ(timeline.ranks[0].peakNs, 0);
  EXPECT_EQ(timeline.ranks[0].peakStep, 0);
  EXPECT_EQ(timeline.ranks[0].peakOp, 2);
}

TEST(Memory, WhatAnOpReleasesIsGoneWhenItEnds) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  plan::Program &program = builder.addProgram(
      stage, Phase::forward,
      {holding(makeOp(10), 100),
       holding(makeOp(50, Stream::expert_communication, {0}), 60),
       holding(makeOp(10, Stream::compute, {1}), 20)});
  program.ops[0].releases = {kOther}; // at 10, when the next is issued anyway
  program.ops[1].releases = {kInput};
  builder.plan.stages[0].values[kInput].bytes = 45;
  builder.plan.stages[0].values[kInput].memoryClass = MemoryClass::transient;
  builder.run(stage, 0, Phase::forward);
  builder.finish(0);
  builder.plan.ranks[0].updateNs = 40;
  EXPECT_THAT(totals(run(builder.plan).ranks[0]),
              ElementsAre(Pair(0, 0), Pair(0, 100), Pair(10, 60), Pair(60, 20),
                          Pair(70, 0)));

  // With a gap behind it: the last op waits for nothing but begins at 60.
  program.ops[2].waits = {};
  program.ops[1].timeNs = 5; // 10 to 15
  program.ops[0].timeNs = 10;
  program.ops.insert(program.ops.begin() + 1, makeOp(20)); // 10 to 30
  program.ops[1].live = program.ops[0].live;
  program.ops[2].waits = {0};
  // Op 3 begins at 30; op 2 ended at 15.
  EXPECT_THAT(totals(run(builder.plan).ranks[0]),
              ElementsAre(Pair(0, 0), Pair(0, 100), Pair(10, 60), Pair(15, 15),
                          Pair(30, 20), Pair(40, 0)));
}

TEST(Memory, StepsCountWhenTheyAreIssued) {
  PlanBuilder builder(2);
  builder.addStage(0);
  builder.addStage(1);
  builder.addProgram(0, Phase::forward, {makeOp(100)});
  builder.addProgram(1, Phase::forward, {holding(makeOp(50), 5)});
  builder.run(0, 0, Phase::forward);
  builder.send(0, 0, Phase::forward, 1);
  builder.receive(1, 0, Phase::forward, 0); // posted, hence allocated, at 0
  builder.run(1, 0, Phase::forward).live[MemoryClass::receive] = 1000;
  simulate::Timeline timeline = run(builder.plan);
  EXPECT_THAT(
      totals(timeline.ranks[1]),
      ElementsAre(Pair(0, 0), Pair(0, 1000), Pair(100, 1005), Pair(150, 0)));
  EXPECT_EQ(timeline.ranks[1].peakNs, 100);
  EXPECT_EQ(timeline.ranks[1].peakStep, 1);
  EXPECT_EQ(timeline.ranks[1].peakOp, 0);

  // Without the op's own bytes the receive itself is the place.
  builder.plan.stages[1].programs[0].ops[0].live = {};
  timeline = run(builder.plan);
  EXPECT_EQ(timeline.ranks[1].peakNs, 0);
  EXPECT_EQ(timeline.ranks[1].peakStep, 0);
  EXPECT_EQ(timeline.ranks[1].peakOp, -1);
}

TEST(Memory, DetailCanBeLimitedToTheFirstMicrobatches) {
  PlanBuilder builder(1);
  int64_t stage = builder.addStage(0);
  builder.addProgram(stage, Phase::forward, {holding(makeOp(10), 7)});
  for (int64_t m : {0, 1, 2})
    builder.run(stage, m, Phase::forward);
  simulate::Timeline timeline = run(builder.plan, 2);
  EXPECT_EQ(timeline.ranks[0].events.size(), 2u);
  EXPECT_THAT(totals(timeline.ranks[0]),
              ElementsAre(Pair(0, 0), Pair(0, 7), Pair(10, 0), Pair(10, 7),
                          Pair(20, 0)));
  EXPECT_EQ(timeline.ranks[0].peakBytes, 7);
  EXPECT_EQ(timeline.stepNs, 30);
}

/// Random plans name any time that a document can hold.
void keepShort(plan::Plan &plan) {
  for (plan::Stage &stage : plan.stages)
    for (plan::Program &program : stage.programs)
      for (plan::Op &op : program.ops)
        op.timeNs %= 1000;
  for (plan::Rank &rank : plan.ranks) {
    rank.reduceGradientsNs %= 1000;
    rank.updateNs %= 1000;
  }
  plan.machine.linkLatencyNs %= 1000;
  plan.machine.linkBytesPerSecond = 1e12;
  plan.machine.localBytesPerSecond = 1e13;
}

TEST(Memory, PeaksAreThoseThatThePlanClaims) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    plan::Plan plan = plan::makeRandomPlan(seed);
    keepShort(plan);
    simulate::Timeline timeline = run(plan);
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      const plan::Rank &rank = plan.ranks[r];
      const simulate::RankTimeline &times = timeline.ranks[r];
      ASSERT_EQ(times.peakBytes, rank.peak.total())
          << "seed " << seed << ", rank " << r;
      int64_t largest = 0;
      for (const simulate::MemorySample &sample : times.samples)
        largest = std::max(largest, sample.live.total());
      ASSERT_EQ(largest, rank.peak.total());
      if (!times.samples.empty())
        ASSERT_EQ(times.samples.back().live, rank.persistent);
    }
  }
}

} // namespace
