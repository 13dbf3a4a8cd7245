#include "PlanBuilder.h"

#include "runtime/Plan/Replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace moe::test {

using namespace plan;

PlanBuilder::PlanBuilder(Layout layout, DType dtype) {
  result.generator = "test";
  result.layout = layout;
  result.dtype = dtype;
  result.schedule = "gpipe";
  result.model.name = "tiny";
  result.model.architecture = "test";
  result.machine.name = "test";
  result.ranks.resize(static_cast<size_t>(layout.pipeline));
  for (size_t r = 0; r < result.ranks.size(); ++r)
    result.ranks[r].rank = static_cast<int64_t>(r);
}

int64_t PlanBuilder::stage(int64_t rank) {
  int64_t index = static_cast<int64_t>(result.stages.size());
  Stage stage;
  stage.name = "s" + std::to_string(index);
  stage.rank = rank;
  stage.programs = {{Phase::forward, {}, {}, {}},
                    {Phase::backward, {}, {}, {}}};
  result.stages.push_back(stage);
  result.ranks[static_cast<size_t>(rank)].stages.push_back(index);
  return index;
}

int64_t PlanBuilder::parameter(int64_t stage, const std::string &name,
                               std::vector<int64_t> shape,
                               Initializer initializer,
                               Replication replication) {
  Parameter parameter;
  parameter.name = name;
  parameter.dtype = result.dtype;
  parameter.shape = std::move(shape);
  parameter.initializer = std::move(initializer);
  parameter.replication = replication;
  auto &list = result.stages[static_cast<size_t>(stage)].parameters;
  list.push_back(parameter);
  return static_cast<int64_t>(list.size()) - 1;
}

static int64_t alignedBytes(const std::vector<int64_t> &shape, DType dtype) {
  int64_t elements = 1;
  for (int64_t dim : shape)
    elements *= dim;
  return alignUp(elements * byteSize(dtype));
}

int64_t PlanBuilder::value(int64_t stage, const std::string &name, DType dtype,
                           std::vector<int64_t> shape,
                           MemoryClass memoryClass) {
  Value value;
  value.name = name;
  value.dtype = dtype;
  value.bytes = alignedBytes(shape, dtype);
  value.shape = std::move(shape);
  value.memoryClass = memoryClass;
  auto &list = result.stages[static_cast<size_t>(stage)].values;
  list.push_back(value);
  return static_cast<int64_t>(list.size()) - 1;
}

Op &PlanBuilder::op(int64_t stage, Phase phase, const std::string &kind,
                    const std::string &name, std::vector<int64_t> inputs,
                    std::vector<int64_t> parameters,
                    std::vector<int64_t> outputs) {
  auto &ops = result.stages[static_cast<size_t>(stage)]
                  .programs[static_cast<size_t>(phase)]
                  .ops;
  Op op;
  op.kind = kind;
  op.name = name;
  op.inputs = std::move(inputs);
  op.parameters = std::move(parameters);
  op.outputs = std::move(outputs);
  ops.push_back(op);
  return ops.back();
}

void PlanBuilder::step(int64_t rank, Step step) {
  result.ranks[static_cast<size_t>(rank)].steps.push_back(std::move(step));
}

void PlanBuilder::closePrograms(Stage &stage) {
  std::set<ValueIndex> freedByStep, madeByStep;
  for (const Step &step : result.ranks[static_cast<size_t>(stage.rank)].steps) {
    if (step.stage < 0 ||
        &result.stages[static_cast<size_t>(step.stage)] != &stage)
      continue;
    if (step.kind == StepKind::load || step.kind == StepKind::receive)
      madeByStep.insert(step.value);
    if (step.kind == StepKind::wait_send || step.kind == StepKind::collect_loss)
      freedByStep.insert(step.value);
  }
  std::set<ValueIndex> used[2], made[2];
  for (size_t p : {0, 1})
    for (Op &op : stage.programs[p].ops) {
      for (ValueIndex v : op.inputs)
        if (v >= 0)
          used[p].insert(v);
      for (ValueIndex v : op.outputs)
        if (v >= 0)
          made[p].insert(v);
    }
  for (size_t p : {0, 1}) {
    Program &program = stage.programs[p];
    for (ValueIndex v = 0; v < static_cast<ValueIndex>(stage.values.size());
         ++v) {
      Value &value = stage.values[static_cast<size_t>(v)];
      bool later = p == 0 && used[1].contains(v);
      bool ours = made[p].contains(v);
      if (used[p].contains(v) && !ours)
        program.inputs.push_back(v);
      if ((ours || (used[p].contains(v) && p == 0)) &&
          (later || freedByStep.contains(v)))
        program.outputs.push_back(v);
      if (ours || used[p].contains(v)) {
        if (later || !ours || freedByStep.contains(v)) {
          value.placement = Placement::slot;
          if (value.memoryClass == MemoryClass::transient)
            value.memoryClass = MemoryClass::saved;
        }
        if (later || freedByStep.contains(v))
          continue;
        // Freed behind the last op that touches it.
        auto touches = [&](const Op &op) {
          return std::count(op.inputs.begin(), op.inputs.end(), v) +
                     std::count(op.outputs.begin(), op.outputs.end(), v) >
                 0;
        };
        auto last =
            std::find_if(program.ops.rbegin(), program.ops.rend(), touches);
        last->releases.push_back(v);
      }
    }
  }
}

void PlanBuilder::place() {
  std::vector<int64_t> next(result.ranks.size(), 0);
  for (Stage &stage : result.stages) {
    int64_t &end = next[static_cast<size_t>(stage.rank)];
    auto take = [&](int64_t bytes) { return std::exchange(end, end + bytes); };
    for (Parameter &parameter : stage.parameters) {
      parameter.weightOffset = take(alignedBytes(parameter.shape, storage()));
      if (!parameter.trainable)
        continue;
      parameter.gradientOffset = take(alignedBytes(parameter.shape, wide()));
      if (storage() == DType::bf16)
        parameter.masterOffset = take(alignedBytes(parameter.shape, wide()));
      parameter.firstMomentOffset = take(alignedBytes(parameter.shape, wide()));
      parameter.secondMomentOffset =
          take(alignedBytes(parameter.shape, wide()));
    }
    int64_t slotBytes = 0;
    for (Value &value : stage.values) {
      if (value.placement == Placement::fixed) {
        value.offset = take(value.bytes);
      } else {
        value.offset = slotBytes;
        slotBytes += value.bytes;
      }
    }
    for (int64_t m = 0; m < result.layout.microbatches; ++m)
      stage.slots.push_back(take(slotBytes));
    for (Program &program : stage.programs)
      for (Op &op : program.ops)
        if (op.scratchBytes > 0)
          op.scratchOffset = take(op.scratchBytes);
  }
  for (size_t r = 0; r < next.size(); ++r)
    result.ranks[r].arenaBytes = next[r];
}

void claimLive(Plan &plan) {
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (size_t p = 0; p < plan.stages[s].programs.size(); ++p) {
      auto live =
          replayProgram(plan, static_cast<int64_t>(s), static_cast<int64_t>(p));
      ASSERT_TRUE(live.ok()) << live.error().message;
      auto &ops = plan.stages[s].programs[p].ops;
      for (size_t i = 0; i < ops.size(); ++i)
        ops[i].live = (*live)[i];
    }
  for (Rank &rank : plan.ranks) {
    auto account = replay(plan, rank.rank);
    ASSERT_TRUE(account.ok()) << account.error().message;
    rank.persistent = account->persistent;
    rank.peak = account->peak;
    rank.peakStep = account->peakStep;
    rank.peakOp = account->peakOp;
    for (size_t i = 0; i < rank.steps.size(); ++i)
      rank.steps[i].live = account->stepLive[i];
  }
}

Plan PlanBuilder::finish() {
  for (Stage &stage : result.stages)
    closePrograms(stage);
  place();
  claimLive(result);
  Status status = check(result);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return result;
}

} // namespace moe::test
