//===- PlanCheckTest.cpp --------------------------------------------------===//

#include "NaiveStreams.h"
#include "RandomPlan.h"
#include "TinyPlan.h"

#include "runtime/Plan/Replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace moe::plan {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

/// What a step executes.
struct Running {
  int64_t stage;
  Phase phase;
  int64_t microbatch;
  int64_t slot;
};

const Program &programOf(const Plan &plan, const Running &running) {
  for (const Program &program : plan.stages[running.stage].programs)
    if (program.phase == running.phase)
      return program;
  std::abort();
}

/// What a step executes: nothing, one program or two.
std::vector<Running> runningIn(const Rank &rank, const Step &step) {
  if (!isExecution(step.kind))
    return {};
  std::vector<Running> all = {
      {step.stage, step.phase, step.microbatch, step.slot}};
  if (step.kind == StepKind::overlap) {
    const Overlap::Member &second = rank.overlaps[step.overlap].members[1];
    all.push_back(
        {second.stage, second.phase, step.secondMicrobatch, step.secondSlot});
  }
  return all;
}

/// Which program of `step` has what `receive` receives among its inputs; -1:
/// none.
int64_t takerOf(const Plan &plan, const Step &step, const Step &receive) {
  std::vector<Running> all = runningIn(plan.ranks[0], step);
  for (size_t m = 0; m < all.size(); ++m) {
    const std::vector<ValueIndex> &inputs = programOf(plan, all[m]).inputs;
    if (all[m].stage == receive.stage &&
        all[m].microbatch == receive.microbatch &&
        std::find(inputs.begin(), inputs.end(), receive.value) != inputs.end())
      return static_cast<int64_t>(m);
  }
  return -1;
}

/// Every step of a random plan is needed, and so is every release.
TEST(PlanCheck, NoStepAndNoReleaseCanBeLeftOut) {
  std::mt19937 random(3);
  for (unsigned seed = 0; seed < 150; ++seed) {
    Plan plan = makeRandomPlan(seed);
    Plan shorter = plan;
    std::vector<Step> &steps =
        shorter.ranks[random() % shorter.ranks.size()].steps;
    size_t at = random() % steps.size();
    if (!isOfMicrobatch(steps[at].kind)) // gradients may stay as they are
      continue;
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

/// Moving a value onto another is noticed exactly when both live at once, or
/// when on streams they might.
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
    auto bufferOf = [&](const Running &at, ValueIndex index) {
      const Stage &stage = plan.stages[at.stage];
      const Value &value = stage.values[index];
      int64_t begin = value.offset + (value.isOnHost() ? int64_t{1} << 60 : 0);
      if (value.placement == Placement::slot)
        begin += stage.slots[at.slot][value.group];
      return Buffer{begin, begin + value.bytes, at.stage, index, at.microbatch};
    };
    auto drop = [&](const Running &at, ValueIndex value) {
      std::erase_if(live, [&](const Buffer &b) {
        return b.stage == at.stage && b.value == value &&
               b.microbatch == at.microbatch;
      });
    };
    auto add = [&](const Buffer &buffer) {
      bool conflict = conflicts(buffer);
      live.push_back(buffer);
      return conflict;
    };
    for (const Step &step : rank.steps) {
      Running here{step.stage, step.phase, step.microbatch, step.slot};
      if (step.kind == StepKind::load || step.kind == StepKind::receive)
        if (add(bufferOf(here, step.value)))
          return true;
      if (step.kind == StepKind::wait_send ||
          step.kind == StepKind::collect_loss)
        drop(here, step.value);
      if (!isExecution(step.kind))
        continue;
      std::vector<Running> members = runningIn(rank, step);
      std::vector<int64_t> order;
      if (step.kind == StepKind::overlap)
        order = rank.overlaps[step.overlap].order;
      else
        order.resize(programOf(plan, members[0]).ops.size());
      std::array<size_t, 2> next{};
      for (int64_t m : order) {
        const Op &op = programOf(plan, members[m]).ops[next[m]++];
        for (ValueIndex output : op.outputs) {
          if (output == -1)
            continue;
          drop(members[m],
               plan.stages[members[m].stage].values[output].overwrites);
          if (add(bufferOf(members[m], output)))
            return true;
        }
        if (op.scratchBytes > 0 &&
            conflicts({op.scratchOffset, op.scratchOffset + op.scratchBytes, 0,
                       0, 0}))
          return true;
        for (ValueIndex released : op.releases)
          drop(members[m], released);
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
    bool onHost = moved.isOnHost();
    auto anySlot = [&]() -> std::vector<int64_t> & {
      return stage.slots[random() % stage.slots.size()];
    };
    if (moved.placement == other.placement && onHost == other.isOnHost()) {
      moved.offset = other.offset;
    } else if (moved.placement == Placement::fixed && !onHost &&
               !other.isOnHost()) {
      moved.offset = anySlot()[other.group] + other.offset;
    }
    // One base of a slot, or all.
    if (size_t group = random() % 4; group < stage.slots[0].size())
      anySlot()[group] = stage.slots[0][group];
    if (random() % 4 == 0)
      anySlot() = stage.slots[0];
    std::string error = checkError(plan);
    // Leaving the arena, hitting parameters, and taking over bytes that lie
    // elsewhere are other errors.
    if (error.find("leave the arena") != std::string::npos ||
        error.find("takes all of them") != std::string::npos ||
        error.find("overlap the buffer of") != std::string::npos)
      continue;
    bool overlaps = overlapsSomewhere(plan) || racesSomewhere(plan);
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
  // Rank 0 runs the backward of microbatch 0 before it sends microbatch 1; rank
  // 1 makes that gradient only after both forward programs. Posting the receive
  // early is no harm.
  Plan plan = tinyPlan();
  std::vector<Step> &steps = plan.ranks[0].steps;
  ASSERT_EQ(steps[6].kind, StepKind::send);
  ASSERT_EQ(steps[8].kind, StepKind::receive);
  std::rotate(steps.begin() + 6, steps.begin() + 8, steps.begin() + 9);
  renewClaims(plan);
  EXPECT_EQ(checkError(plan), "no error");
  std::rotate(steps.begin() + 7, steps.begin() + 9, steps.begin() + 10);
  renewClaims(plan);
  EXPECT_EQ(checkError(plan),
            "$.ranks[0].steps[7]: deadlock: waits for rank 1, which never gets "
            "past $.ranks[1].steps[6] and waits for rank 0");
}

/// A rank that hands a value to its own next stage.
struct Handover {
  Plan plan;
  size_t send, receive, wait; ///< steps of rank 0
};

std::vector<Handover> findHandovers() {
  std::vector<Handover> found;
  for (unsigned seed = 0; seed < 800; ++seed) {
    Plan plan = makeRandomPlan(seed);
    const std::vector<Step> &steps = plan.ranks[0].steps;
    auto findAll = [&](StepKind kind) {
      std::vector<size_t> all;
      for (size_t i = 0; i < steps.size(); ++i)
        if (steps[i].kind == kind && steps[i].peer == 0)
          all.push_back(i);
      return all;
    };
    std::vector<size_t> sends = findAll(StepKind::send);
    std::vector<size_t> receives = findAll(StepKind::receive);
    for (size_t k = 0; k < sends.size(); ++k)
      for (size_t wait : findAll(StepKind::wait_send))
        if (steps[wait].value == steps[sends[k]].value &&
            steps[wait].stage == steps[sends[k]].stage &&
            steps[wait].microbatch == steps[sends[k]].microbatch)
          found.push_back({plan, sends[k], receives[k], wait});
  }
  return found;
}

TEST(PlanCheck, ARankWaitsForItself) {
  int sends = 0, seconds = 0, waits = 0;
  for (Handover &handover : findHandovers()) {
    std::vector<Step> original = handover.plan.ranks[0].steps;
    std::vector<Step> &steps = handover.plan.ranks[0].steps;
    std::string deadlock = "deadlock: waits for rank 0 itself";
    // The wait comes before the receive.
    if (handover.receive > handover.send) {
      std::rotate(steps.begin() + handover.send + 1,
                  steps.begin() + handover.wait,
                  steps.begin() + handover.wait + 1);
      if (handover.receive > handover.send + 1) {
        // Now some of it may not fit with other buffers.
        if (Result<Replay> account = replay(handover.plan, 0); account.ok()) {
          renewClaims(handover.plan);
          EXPECT_THAT(checkError(handover.plan), HasSubstr(deadlock));
          ++waits;
        }
      }
      steps = original;
    }
    // The send comes after the program that needs it.
    const Step &receive = original[handover.receive];
    size_t run = handover.receive;
    while (takerOf(handover.plan, original[run], receive) == -1)
      ++run;
    if (run >= handover.wait)
      continue;
    std::rotate(steps.begin() + handover.send,
                steps.begin() + handover.send + 1, steps.begin() + run + 1);
    // Other sends of the rank to itself would meet other receives.
    size_t others = 0;
    for (size_t i = handover.send; i < run; ++i)
      others += original[i].kind == StepKind::send && original[i].peer == 0;
    if (others > 1)
      continue;
    ASSERT_TRUE(replay(handover.plan, 0).ok());
    renewClaims(handover.plan);
    EXPECT_THAT(checkError(handover.plan), HasSubstr(deadlock));
    ++sends;
    seconds += takerOf(handover.plan, original[run], receive) == 1;
  }
  EXPECT_GT(sends, 20);
  EXPECT_GT(seconds, 2);
  EXPECT_GT(waits, 5);
}

TEST(PlanCheck, LossesAreCollectedOnce) {
  // A plan with two copies of the model and one microbatch for each: now both
  // run the same.
  int found = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    Plan plan = makeRandomPlan(seed);
    bool hasCopies = false;
    for (const Stage &stage : plan.stages)
      for (const Parameter &parameter : stage.parameters)
        hasCopies |= parameter.name.ends_with(".copy");
    if (!hasCopies || plan.layout.microbatches != 2)
      continue;
    ++found;
    for (Rank &rank : plan.ranks)
      for (Step &step : rank.steps) {
        step.microbatch = std::min<int64_t>(step.microbatch, 0);
        step.secondMicrobatch = std::min<int64_t>(step.secondMicrobatch, 0);
      }
    EXPECT_THAT(checkError(plan),
                HasSubstr("the loss of microbatch 0 is collected already by "
                          "$.ranks["))
        << seed;
    plan.layout.microbatches = 1;
    EXPECT_THAT(checkError(plan), HasSubstr("is collected already by"));
  }
  EXPECT_GT(found, 3);
}

TEST(PlanCheck, WhatIsBeingReceivedIsNotSent) {
  Plan plan = tinyPlan();
  std::vector<Step> &steps = plan.ranks[1].steps;
  Step send = steps[0];
  ASSERT_EQ(send.kind, StepKind::receive);
  send.kind = StepKind::send;
  steps.insert(steps.begin() + 1, send);
  EXPECT_EQ(checkError(plan),
            "$.ranks[1].steps[1].value: value \"x\" of stage \"s1\", "
            "microbatch 0 is still being received: no program that has it "
            "among its inputs has run since");
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
