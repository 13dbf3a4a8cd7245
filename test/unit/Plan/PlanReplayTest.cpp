//===- PlanReplayTest.cpp -------------------------------------------------===//

#include "RandomPlan.h"
#include "TinyPlan.h"

#include "runtime/Plan/Replay.h"

#include <gtest/gtest.h>

namespace moe::plan {
namespace {

TEST(PlanReplay, TinyPlan) {
  Result<Replay> result = replay(tinyPlan(), 0);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->persistent.total(), 2560);
  // Both microbatches are saved (2 x 768), the gradient has arrived, the op
  // makes 256 bytes and needs 256 bytes of scratch.
  EXPECT_EQ(result->peak.total(), 2560 + 2 * 768 + 3 * 256);
  EXPECT_EQ(result->peakStep, 9);
  EXPECT_EQ(result->peakOp, "layers.0.norm.input_grad");
  ASSERT_EQ(result->stepLive.size(), 14u);
  EXPECT_EQ(result->stepLive[6][MemoryClass::saved], 1536);
  EXPECT_EQ(result->stepLive[13], result->persistent);
}

TEST(PlanReplay, DoesNotLookAtClaims) {
  Plan plan = tinyPlan();
  Result<Replay> honest = replay(plan, 1);
  for (Step &step : plan.ranks[1].steps)
    step.live = {};
  plan.ranks[1].peak = {};
  plan.ranks[1].persistent = {};
  Result<Replay> result = replay(plan, 1);
  ASSERT_TRUE(result.ok() && honest.ok());
  EXPECT_EQ(result->stepLive, honest->stepLive);
  EXPECT_EQ(result->peak, honest->peak);
}

TEST(PlanReplay, ProgramsAlone) {
  Plan plan = tinyPlan();
  Result<std::vector<ByteCounts>> live = replayProgram(plan, 0, 1);
  ASSERT_TRUE(live.ok()) << live.error().message;
  ASSERT_EQ(live->size(), 2u);
  EXPECT_EQ((*live)[1][MemoryClass::saved], -512);
  EXPECT_FALSE(replayProgram(plan, 0, 2).ok());
  EXPECT_FALSE(replayProgram(plan, 5, 0).ok());
  EXPECT_FALSE(replay(plan, 2).ok());
  EXPECT_FALSE(replay(plan, -1).ok());
}

TEST(PlanReplay, AgreesWithTheNaiveAccount) {
  for (unsigned seed = 1000; seed < 1200; ++seed) {
    Plan plan = makeRandomPlan(seed);
    for (const Rank &rank : plan.ranks) {
      Result<Replay> result = replay(plan, rank.rank);
      ASSERT_TRUE(result.ok()) << seed << ": " << result.error().message;
      EXPECT_EQ(result->persistent, rank.persistent) << seed;
      EXPECT_EQ(result->peak, rank.peak) << seed;
      EXPECT_EQ(result->peakStep, rank.peakStep) << seed;
      EXPECT_EQ(result->peakOp, rank.peakOp) << seed;
      for (size_t i = 0; i < rank.steps.size(); ++i)
        ASSERT_EQ(result->stepLive[i], rank.steps[i].live) << seed << " " << i;
    }
  }
}

TEST(PlanReplay, Overlaps) {
  Plan plan = overlapPlan();
  Result<Replay> result = replay(plan, 0);
  ASSERT_TRUE(result.ok()) << result.error().message;
  // Both microbatches are saved, 1536 bytes; the fourth op of the overlap has
  // 768 bytes above the start, and 2304 are persistent.
  EXPECT_EQ(result->peak.total(), 2304 + 1536 + 768);
  EXPECT_EQ(result->peakStep, 6);
  EXPECT_EQ(result->peakOp, "experts.activation.input_grad");
  Result<std::vector<ByteCounts>> live = replayOverlap(plan, 0, 0);
  ASSERT_TRUE(live.ok()) << live.error().message;
  EXPECT_EQ(*live, plan.ranks[0].overlaps[0].live);
  // The claims are not looked at.
  plan.ranks[0].overlaps[0].live.clear();
  live = replayOverlap(plan, 0, 0);
  ASSERT_TRUE(live.ok()) << live.error().message;
  EXPECT_EQ(live->size(), 8u);
  EXPECT_FALSE(replayOverlap(plan, 0, 1).ok());
  EXPECT_FALSE(replayOverlap(plan, 1, 0).ok());
}

} // namespace
} // namespace moe::plan
