//===- PlanReplayTest.cpp -------------------------------------------------===//

#include "RandomPlan.h"
#include "TinyPlan.h"

#include "runtime/Plan/Replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace moe::plan {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

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

/// Every step of a random plan is needed, and so is every release.
TEST(PlanCheck, NoStepAndNoReleaseCanBeLeftOut) {
  std::mt19937 random(3);
  for (unsigned seed = 0; seed < 150; ++seed) {
    Plan plan = makeRandomPlan(seed);
    Plan shorter = plan;
    std::vector<Step> &steps =
        shorter.ranks[random() % shorter.ranks.size()].steps;
    size_t at = random() % (steps.size() - 2); // but for reduction and update
    steps.erase(steps.begin() + at);
    EXPECT_THAT(checkError(shorter), StartsWith("$")) << seed << " " << at;

    for (size_t s = 0; s < plan.stages.size(); ++s)
      for (size_t p = 0; p < plan.stages[s].programs.size(); ++p)
        for (size_t o = 0; o < plan.stages[s].programs[p].ops.size(); ++o) {
          Plan leaking = plan;
          auto &releases = leaking.stages[s].programs[p].ops[o].releases;
          if (releases.empty())
            continue;
          releases.erase(releases.begin() + random() % releases.size());
          ASSERT_THAT(checkError(leaking), StartsWith("$")) << seed;
        }
  }
}

/// Moving a value onto another is noticed exactly when both live at once.
/// The reference looks at every pair of live buffers at every moment.
bool overlapsSomewhere(const Plan &plan) {
  struct Buffer {
    int64_t begin, end, stage, value, microbatch;
  };
  for (const Rank &rank : plan.ranks) {
    std::vector<Buffer> live;
    auto conflicts = [&](const Buffer &added) {
      for (const Buffer &other : live)
        if (added.begin < other.end && other.begin < added.end)
          return true;
      return false;
    };
    for (const Step &step : rank.steps) {
      if (step.stage == -1)
        continue;
      const Stage &stage = plan.stages[step.stage];
      auto bufferOf = [&](ValueIndex index) {
        const Value &value = stage.values[index];
        int64_t begin =
            value.offset +
            (value.placement == Placement::slot ? stage.slots[step.slot] : 0);
        return Buffer{begin, begin + value.bytes, step.stage, index,
                      step.microbatch};
      };
      auto drop = [&](ValueIndex value) {
        std::erase_if(live, [&](const Buffer &b) {
          return b.stage == step.stage && b.value == value &&
                 b.microbatch == step.microbatch;
        });
      };
      auto add = [&](const Buffer &buffer) {
        bool conflict = conflicts(buffer);
        live.push_back(buffer);
        return conflict;
      };
      if (step.kind == StepKind::load || step.kind == StepKind::receive)
        if (add(bufferOf(step.value)))
          return true;
      if (step.kind == StepKind::wait_send ||
          step.kind == StepKind::collect_loss)
        drop(step.value);
      if (step.kind != StepKind::run)
        continue;
      for (const Program &program : stage.programs)
        for (const Op &op : program.ops) {
          if (program.phase != step.phase)
            continue;
          for (ValueIndex output : op.outputs)
            if (output != -1 && add(bufferOf(output)))
              return true;
          if (op.scratchBytes > 0 &&
              conflicts({op.scratchOffset, op.scratchOffset + op.scratchBytes,
                         0, 0, 0}))
            return true;
          for (ValueIndex released : op.releases)
            drop(released);
        }
    }
  }
  return false;
}

TEST(PlanCheck, FindsEveryOverlap) {
  std::mt19937 random(4);
  int overlapping = 0, disjoint = 0;
  for (unsigned seed = 0; seed < 600; ++seed) {
    Plan plan = makeRandomPlan(seed);
    ASSERT_FALSE(overlapsSomewhere(plan)) << seed;
    Stage &stage = plan.stages[random() % plan.stages.size()];
    Value &moved = stage.values[random() % stage.values.size()];
    const Value &other = stage.values[random() % stage.values.size()];
    if (moved.placement == other.placement)
      moved.offset = other.offset;
    else if (moved.placement == Placement::fixed)
      moved.offset = stage.slots[random() % stage.slots.size()] + other.offset;
    if (random() % 4 == 0)
      stage.slots[random() % stage.slots.size()] = stage.slots[0];
    std::string error = checkError(plan);
    // Leaving the arena and hitting parameters are other errors.
    if (error.find("leave the arena") != std::string::npos ||
        error.find("overlap the buffer of") != std::string::npos)
      continue;
    bool overlaps = overlapsSomewhere(plan);
    (overlaps ? overlapping : disjoint) += 1;
    ASSERT_EQ(error != "no error", overlaps) << seed << ": " << error;
  }
  EXPECT_GT(overlapping, 50);
  EXPECT_GT(disjoint, 50);
}

TEST(PlanCheck, AnyPlaceOfAnEqualPeakWillDo) {
  // On rank 1, the loss op, the step after it and the first backward op all
  // have the largest total.
  Plan plan = tinyPlan();
  Rank &rank = plan.ranks[1];
  ASSERT_EQ(rank.peakStep, 6);
  rank.peakStep = 7;
  rank.peakOp = "";
  EXPECT_EQ(checkError(plan), "no error");
  rank.peakStep = 8;
  rank.peakOp = "loss.input_grad";
  EXPECT_EQ(checkError(plan), "no error");
  rank.peakOp = "head.input_grad";
  EXPECT_THAT(checkError(plan), StartsWith("$.ranks[1].peak_step: "));
}

/// Makes the claims of rank 0 true again after its steps were changed.
void renewClaims(Plan &plan) {
  Result<Replay> account = replay(plan, 0);
  ASSERT_TRUE(account.ok()) << account.error().message;
  Rank &rank = plan.ranks[0];
  for (size_t i = 0; i < rank.steps.size(); ++i)
    rank.steps[i].live = account->stepLive[i];
  rank.peak = account->peak;
  rank.peakStep = account->peakStep;
  rank.peakOp = account->peakOp;
}

TEST(PlanCheck, DeadlockIsNamed) {
  // Rank 0 waits for the gradient of microbatch 0 before it sends microbatch
  // 1; rank 1 makes that gradient only after both forward programs.
  Plan plan = tinyPlan();
  std::vector<Step> &steps = plan.ranks[0].steps;
  ASSERT_EQ(steps[6].kind, StepKind::send);
  ASSERT_EQ(steps[8].kind, StepKind::receive);
  std::rotate(steps.begin() + 6, steps.begin() + 8, steps.begin() + 9);
  renewClaims(plan);
  EXPECT_EQ(checkError(plan),
            "$.ranks[0].steps[6]: deadlock: waits for rank 1, which never gets "
            "past $.ranks[1].steps[4]");
}

TEST(PlanCheck, SendsAndReceivesMeetInOrder) {
  // Rank 0 does the backward of microbatch 1 first; rank 1 does not.
  Plan plan = tinyPlan();
  std::vector<Step> &steps = plan.ranks[0].steps;
  std::swap_ranges(steps.begin() + 8, steps.begin() + 10, steps.begin() + 10);
  renewClaims(plan);
  EXPECT_EQ(checkError(plan),
            "$.ranks[0].steps[8].microbatch: is 1, but 0 is sent; it meets "
            "$.ranks[1].steps[9]");
}

TEST(PlanCheck, RefusesWhatPrintCouldNotKeep) {
  Plan plan = tinyPlan();
  plan.capacityFactor = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(checkError(plan),
              StartsWith("$.capacity_factor: must be finite"));

  plan = tinyPlan();
  plan.imbalance = std::numeric_limits<double>::infinity();
  EXPECT_THAT(checkError(plan), StartsWith("$.imbalance: must be finite"));

  plan = tinyPlan();
  plan.stages[0].programs[0].ops[0].attributes["x"] =
      -std::numeric_limits<double>::infinity();
  EXPECT_THAT(checkError(plan), HasSubstr("attributes.x: must be finite"));

  plan = tinyPlan();
  plan.stages[0].programs[0].ops[0].attributes["x"] =
      std::numeric_limits<int64_t>::max();
  EXPECT_THAT(checkError(plan), HasSubstr("attributes.x: must be from -2^53"));

  plan = tinyPlan();
  plan.model.name = "\xC3(";
  EXPECT_THAT(checkError(plan), StartsWith("$.model.name: must be UTF-8"));

  plan = tinyPlan();
  plan.ranks[0].steps[1].peer = 1; // not written for a run
  EXPECT_THAT(checkError(plan),
              StartsWith("$.ranks[0].steps[1].peer: means nothing"));

  plan = tinyPlan();
  plan.ranks[0].steps[13].microbatch = 0;
  EXPECT_THAT(checkError(plan),
              StartsWith("$.ranks[0].steps[13].microbatch: means nothing"));
}

TEST(PlanCheck, NothingRunsAfterTheUpdate) {
  Plan plan = tinyPlan();
  std::vector<Step> &steps = plan.ranks[0].steps;
  ASSERT_EQ(steps[11].kind, StepKind::run);
  std::rotate(steps.begin() + 11, steps.begin() + 12, steps.end());
  EXPECT_EQ(checkError(plan),
            "$.ranks[0].steps[13].kind: nothing runs after the update");
  std::swap(steps[12], steps[13]); // reduce, run, update
  EXPECT_EQ(checkError(plan), "$.ranks[0].steps[12].kind: gradients change "
                              "after they were reduced");
}

TEST(PlanCheck, FreeingWhatIsBeingSent) {
  // The backward program frees "out"; the wait for its send comes later.
  Plan plan = tinyPlan();
  Program &backward = plan.stages[0].programs[1];
  backward.inputs.push_back(2);
  backward.ops[1].releases.push_back(2);
  std::vector<Step> &steps = plan.ranks[0].steps;
  // load run send wait | receive run: the wait goes to the end, microbatch 1
  // away.
  std::rotate(steps.begin() + 3, steps.begin() + 4, steps.begin() + 10);
  std::erase_if(steps, [](const Step &step) { return step.microbatch == 1; });
  Result<Replay> result = replay(plan, 0);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message,
            "$.ranks[0].steps[4].phase: value \"out\" of stage \"s0\", "
            "microbatch 0 is freed while it is being sent to rank 1");
}

} // namespace
} // namespace moe::plan
