//===- DeadValuesTest.cpp - what is dead is not kept ----------------------===//
//
// One test for each value that a training system has kept, or takes care not to
// keep, although nothing reads it any more. docs/memory-techniques.md lists
// them with their sources. A value is kept where it lives from one program of a
// microbatch to another.
//
//===----------------------------------------------------------------------===//

#include "test/unit/EndToEnd/SmallModels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

using namespace moe;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSubsetOf;
using testing::Not;

namespace {

driver::PlanRequest requestFor(const std::string &schedule,
                               const std::string &family = "qwen3-30b-a3b") {
  std::mt19937 random(3);
  driver::PlanRequest request =
      test::request(family, test::randomReduction(family, 4, random));
  request.layout.pipeline = 2;
  request.layout.expert = 2;
  request.layout.microbatches = 4;
  request.layout.sequenceLength = 16;
  request.schedule = schedule;
  return request;
}

plan::Plan planFor(const driver::PlanRequest &request) {
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  EXPECT_TRUE(answer) << answer.error().message;
  return answer ? std::move(answer->plan) : plan::Plan();
}

const plan::Program *programOf(const plan::Stage &stage, plan::Phase phase) {
  for (const plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

using Names = std::set<std::string>;

Names namesOf(const plan::Stage &stage,
              const std::vector<plan::ValueIndex> &values) {
  Names names;
  for (plan::ValueIndex value : values)
    if (value != -1)
      names.insert(stage.values[static_cast<size_t>(value)].name);
  return names;
}

/// What one program leaves and another one takes.
Names handedOver(const plan::Stage &stage, plan::Phase from, plan::Phase to) {
  const plan::Program *first = programOf(stage, from),
                      *second = programOf(stage, to);
  Names both;
  if (!first || !second)
    return both;
  Names left = namesOf(stage, first->outputs),
        taken = namesOf(stage, second->inputs);
  std::set_intersection(left.begin(), left.end(), taken.begin(), taken.end(),
                        std::inserter(both, both.begin()));
  return both;
}

/// What every stage keeps from forward to its backward in one piece.
Names keptBy(const plan::Plan &plan) {
  Names all;
  for (const plan::Stage &stage : plan.stages)
    all.merge(handedOver(stage, plan::Phase::forward, plan::Phase::backward));
  return all;
}

/// The op of a program that releases the value, or overwrites it; else empty.
std::string endOf(const plan::Stage &stage, plan::Phase phase,
                  const std::string &name) {
  const plan::Program *program = programOf(stage, phase);
  for (size_t i = 0; program && i < program->ops.size(); ++i) {
    const plan::Op &op = program->ops[i];
    if (namesOf(stage, op.releases).contains(name))
      return op.name;
    for (plan::ValueIndex output : op.outputs)
      if (output != -1)
        if (plan::ValueIndex over =
                stage.values[static_cast<size_t>(output)].overwrites;
            over != -1 && stage.values[static_cast<size_t>(over)].name == name)
          return op.name;
  }
  return "";
}

const plan::Stage &lastStage(const plan::Plan &plan) {
  return plan.stages.back();
}

const plan::Value *find(const plan::Stage &stage, const std::string &name) {
  for (const plan::Value &value : stage.values)
    if (value.name == name)
      return &value;
  return nullptr;
}

} // namespace

// PithTrain, fused cross entropy: logits exist once.
TEST(DeadValues, LogitsAreOverwrittenByTheirGradient) {
  for (const char *schedule : {"1f1b", "zb-h1", "dualpipe-v"}) {
    SCOPED_TRACE(schedule);
    plan::Plan plan = planFor(requestFor(schedule));
    const plan::Stage &stage = lastStage(plan);
    int64_t gradients = 0;
    for (const plan::Value &value : stage.values) {
      if (!value.name.starts_with("loss.input_grad"))
        continue;
      ++gradients;
      ASSERT_NE(value.overwrites, -1);
      EXPECT_EQ(stage.values[static_cast<size_t>(value.overwrites)].name,
                "lm_head");
    }
    EXPECT_GT(gradients, 0);
  }
}

// PithTrain's hazard: not where anybody reads the logits later. Here the loss
// itself does not, and without a backward they end with it.
TEST(DeadValues, LogitsEndWithTheLossWhereNothingIsTrained) {
  driver::PlanRequest request = requestFor("1f1b");
  request.frozen = "*";
  plan::Plan plan = planFor(request);
  EXPECT_EQ(endOf(lastStage(plan), plan::Phase::forward, "lm_head"), "loss");
  EXPECT_EQ(endOf(lastStage(plan), plan::Phase::forward, "labels"), "loss");
  EXPECT_EQ(endOf(lastStage(plan), plan::Phase::forward, "loss:log_sum_exp"),
            "loss");
}

// Megatron deallocate_pipeline_outputs, DualPipeV: what was sent is not kept
// for backward, but gone when the peer has it.
TEST(DeadValues, StageOutputsEndWhenTheyWereSent) {
  for (const char *schedule : {"1f1b", "zb-h1", "dualpipe-v"}) {
    SCOPED_TRACE(schedule);
    plan::Plan plan = planFor(requestFor(schedule));
    int64_t sent = 0;
    for (const plan::Rank &rank : plan.ranks)
      for (const plan::Step &step : rank.steps) {
        if (step.kind != plan::StepKind::send)
          continue;
        ++sent;
        const plan::Stage &stage = plan.stages[static_cast<size_t>(step.stage)];
        for (const plan::Program &program : stage.programs)
          EXPECT_THAT(program.inputs, Not(Contains(step.value)))
              << stage.values[static_cast<size_t>(step.value)].name;
      }
    EXPECT_GT(sent, 0);
  }
}

// torch.distributed.pipelining keeps gradients until the backward is sent and
// the outputs of the last stage to the end of the step: here at most one of
// each stage and direction waits for its peer, and the loss ends where it is
// collected.
TEST(DeadValues, SentGradientsAndLossesDoNotPileUp) {
  for (const char *schedule : {"1f1b", "zb-h1", "dualpipe-v"}) {
    SCOPED_TRACE(schedule);
    plan::Plan plan = planFor(requestFor(schedule));
    for (const plan::Rank &rank : plan.ranks) {
      std::map<std::pair<int64_t, plan::ValueIndex>, int64_t> under;
      std::set<int64_t> losses;
      for (const plan::Step &step : rank.steps) {
        int64_t &count = under[{step.stage, step.value}];
        count += (step.kind == plan::StepKind::send) -
                 (step.kind == plan::StepKind::wait_send);
        EXPECT_LE(count, 1);
        if (step.kind == plan::StepKind::collect_loss)
          losses.insert(step.microbatch);
      }
      bool hasHead =
          std::any_of(rank.stages.begin(), rank.stages.end(), [&](int64_t s) {
            return s + 1 == int64_t(plan.stages.size());
          });
      EXPECT_EQ(losses.size(), hasHead ? 4u : 0u);
    }
  }
}

// torch.distributed.pipelining allocates a receive buffer for each microbatch
// and holds them for the whole run: here those that do not have to be kept are
// one buffer, or as many as arrive ahead.
TEST(DeadValues, ReceiveBuffersAreUsedAgain) {
  driver::PlanRequest request = requestFor("1f1b");
  request.layout.microbatches = 16;
  plan::Plan plan = planFor(request);
  const plan::Value *gradient = find(plan.stages[0], "output_grad");
  ASSERT_NE(gradient, nullptr);
  EXPECT_EQ(gradient->placement, plan::Placement::fixed);
  EXPECT_LT(plan.stages[1].slots.size(), 3u);
}

// PithTrain: gathered tokens end behind the first multiplication, experts'
// outputs behind the combine, tokens behind the dispatch, all once an op has
// waited for the exchange; Megatron #3221: nothing refers to them longer.
TEST(DeadValues, WhatExchangesReadEndsBehindTheirWait) {
  driver::PlanRequest request = requestFor("1f1b");
  request.frozen = "*";
  plan::Plan plan = planFor(request);
  const plan::Stage &stage = plan.stages[0];
  auto end = [&](const std::string &name) {
    return endOf(stage, plan::Phase::forward, "layers.0." + name);
  };
  EXPECT_EQ(end("post_norm"), "layers.0.moe.experts.gate_up");
  EXPECT_EQ(end("moe.dispatch:rows"), "layers.0.moe.experts.gate_up");
  EXPECT_EQ(end("moe.experts.gate_up"), "layers.0.moe.experts.act");
  EXPECT_EQ(end("moe.experts.act"), "layers.0.moe.experts.down");
  EXPECT_EQ(end("moe.experts.down"), "layers.0.ffn_residual");
  EXPECT_EQ(end("moe.combine"), "layers.0.ffn_residual");
  EXPECT_EQ(end("moe.dispatch:handle"), "layers.0.ffn_residual");
}

// The same in training, for what backward does not read: experts' outputs,
// since probabilities multiply the activation, what the residuals add, scores
// before the choice of experts, what RoPE and norms of heads rotate.
TEST(DeadValues, BackwardIsLeftWhatItReadsAlone) {
  for (const std::string &family : test::kFamilies) {
    SCOPED_TRACE(family);
    plan::Plan plan = planFor(requestFor("1f1b", family));
    for (const std::string &name : keptBy(plan)) {
      for (const char *dead : {".experts.down", ".moe.combine", ".moe.router",
                               ".o_proj", ".shared_experts.down"})
        EXPECT_FALSE(name.ends_with(dead)) << name;
      bool isRead = false;
      for (const plan::Stage &stage : plan.stages)
        for (const plan::Program &program : stage.programs)
          if (program.phase != plan::Phase::forward)
            for (const plan::Op &op : program.ops)
              isRead |= namesOf(stage, op.inputs).contains(name);
      EXPECT_TRUE(isRead) << name;
    }
  }
}

// The activation is kept for the weight gradient behind it, the rows for that
// before it: frozen experts keep neither (torchtitan L6 keeps by mode).
TEST(DeadValues, FrozenExpertsKeepNoInputs) {
  driver::PlanRequest request = requestFor("1f1b");
  Names trained = keptBy(planFor(request));
  EXPECT_THAT(trained, Contains("layers.1.moe.experts.act"));
  EXPECT_THAT(trained, Contains("layers.1.moe.dispatch:rows"));
  request.frozen = "layers.*.moe.experts";
  Names frozen = keptBy(planFor(request));
  EXPECT_THAT(frozen, Not(Contains("layers.1.moe.experts.act")));
  EXPECT_THAT(frozen, Not(Contains("layers.1.moe.dispatch:rows")));
  EXPECT_THAT(frozen, Contains("layers.1.moe.experts.gate_up"));
  EXPECT_THAT(frozen, IsSubsetOf(trained));
}

// torchtitan L2, L3, L6: a layer without a backward keeps nothing, whatever
// mode it runs in; its handle ends with the combine.
TEST(DeadValues, FrozenPrefixKeepsNothing) {
  driver::PlanRequest request = requestFor("1f1b");
  request.frozen = "embedding,layers.0-1";
  plan::Plan plan = planFor(request);
  EXPECT_THAT(
      handedOver(plan.stages[0], plan::Phase::forward, plan::Phase::backward),
      IsEmpty());
  for (const std::string &name : keptBy(plan))
    EXPECT_FALSE(name.starts_with("layers.0.") || name.starts_with("layers.1."))
        << name;
}

// torchtitan L4, L5, prime-rl, Megatron #7416: a replay ends with the last
// value that backward reads; its dead tail, the second multiplication and the
// combine, is not run, and yet its handle ends.
TEST(DeadValues, ReplaysHaveNoDeadTail) {
  for (const char *target : {"full", "moe", "routed_experts"}) {
    SCOPED_TRACE(target);
    driver::PlanRequest request = requestFor("1f1b");
    request.recompute = target;
    plan::Plan plan = planFor(request);
    int64_t handles = 0;
    for (const plan::Stage &stage : plan.stages) {
      const plan::Program &backward = *programOf(stage, plan::Phase::backward);
      std::set<plan::ValueIndex> read;
      for (const plan::Op &op : backward.ops)
        read.insert(op.inputs.begin(), op.inputs.end());
      for (const plan::Op &op : backward.ops) {
        if (!op.name.ends_with(".replay"))
          continue;
        EXPECT_THAT(op.name, Not(HasSubstr("combine")));
        EXPECT_THAT(op.name, Not(HasSubstr("experts.down")));
        EXPECT_TRUE(std::any_of(op.outputs.begin(), op.outputs.end(),
                                [&](plan::ValueIndex output) {
                                  return output != -1 && read.contains(output);
                                }))
            << op.name;
        for (const std::string &name : namesOf(stage, op.outputs))
          if (name.ends_with(":handle")) {
            ++handles;
            EXPECT_NE(endOf(stage, plan::Phase::backward, name), "") << name;
          }
      }
    }
    EXPECT_EQ(handles, 4);
  }
}

// DeepSpeed #8581, Megatron #7425: the first handle is kept beside a replay
// only where that was asked for.
TEST(DeadValues, HandleOfForwardEndsThereWhenItIsReplayed) {
  driver::PlanRequest request = requestFor("1f1b");
  request.recompute = "moe";
  auto keepsHandle = [&] {
    return keptBy(planFor(request)).contains("layers.0.moe.dispatch:handle");
  };
  EXPECT_FALSE(keepsHandle());
  request.keepHandles = true;
  EXPECT_TRUE(keepsHandle());
}

// torchtitan L8, torch: the half of the backward for inputs gives back what the
// half for weights does not read, and the first stage's computes no gradient of
// its input, which nobody takes.
TEST(DeadValues, HalvesOfABackwardHandOverNoMore) {
  plan::Plan plan = planFor(requestFor("zb-h1"));
  for (const plan::Stage &stage : plan.stages) {
    Names left = handedOver(stage, plan::Phase::backward_input,
                            plan::Phase::weight_grad);
    const plan::Program *forward = programOf(stage, plan::Phase::forward),
                        *weights = programOf(stage, plan::Phase::weight_grad);
    ASSERT_TRUE(forward && weights);
    Names read;
    for (const plan::Op &op : weights->ops)
      read.merge(namesOf(stage, op.inputs));
    EXPECT_EQ(namesOf(stage, weights->inputs), read);
    EXPECT_THAT(left, IsSubsetOf(read));
    for (const plan::Value &value : stage.values)
      if (value.memoryClass == plan::MemoryClass::handles)
        EXPECT_FALSE(left.contains(value.name)) << value.name;
  }
  for (const plan::Step &step : plan.ranks[0].steps)
    EXPECT_FALSE(step.kind == plan::StepKind::send && step.stage == 0 &&
                 step.phase != plan::Phase::forward);
}

// Tokens are read by the embedding and its gradient alone, labels by the loss
// and its gradient: where these are frozen, they end with forward.
TEST(DeadValues, UnreadArgumentsAreNotKept) {
  driver::PlanRequest request = requestFor("1f1b");
  EXPECT_THAT(keptBy(planFor(request)), Contains("tokens"));
  request.frozen = "embedding";
  plan::Plan plan = planFor(request);
  EXPECT_THAT(keptBy(plan), Not(Contains("tokens")));
  EXPECT_EQ(endOf(plan.stages[0], plan::Phase::forward, "tokens"),
            "embedding.lookup");
}

// PithTrain, fused SiLU: its gradient computes the activation again from the
// product and lies where that was.
TEST(DeadValues, ActivationGradientOverwritesItsInput) {
  plan::Plan plan = planFor(requestFor("1f1b"));
  EXPECT_EQ(endOf(plan.stages[0], plan::Phase::backward,
                  "layers.0.moe.experts.gate_up"),
            "layers.0.moe.experts.act.input_grad");
  const plan::Value *gradient =
      find(plan.stages[0], "layers.0.moe.experts.act.input_grad");
  ASSERT_NE(gradient, nullptr);
  ASSERT_NE(gradient->overwrites, -1);
}
