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
  auto &programs = result.stages[static_cast<size_t>(stage)].programs;
  auto at = std::find_if(programs.begin(), programs.end(),
                         [&](const Program &p) { return p.phase >= phase; });
  if (at == programs.end() || at->phase != phase)
    at = programs.insert(at, Program{phase, {}, {}, {}});
  auto &ops = at->ops;
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

static const Program &programOf(const Plan &plan,
                                const Overlap::Member &member) {
  for (const Program &program :
       plan.stages[static_cast<size_t>(member.stage)].programs)
    if (program.phase == member.phase)
      return program;
  ADD_FAILURE() << "no such program";
  return plan.stages[0].programs[0];
}

int64_t PlanBuilder::overlap(int64_t rank, Overlap::Member first,
                             Overlap::Member second, std::mt19937 &random) {
  Overlap overlap;
  overlap.members = {first, second};
  size_t left[2] = {programOf(result, first).ops.size(),
                    programOf(result, second).ops.size()};
  while (left[0] + left[1] > 0) {
    size_t member = random() % (left[0] + left[1]) < left[0] ? 0 : 1;
    --left[member];
    overlap.order.push_back(static_cast<int64_t>(member));
  }
  auto &list = result.ranks[static_cast<size_t>(rank)].overlaps;
  list.push_back(std::move(overlap));
  return static_cast<int64_t>(list.size()) - 1;
}

void PlanBuilder::spreadOverStreams(std::mt19937 &random) {
  for (Stage &stage : result.stages)
    for (Program &program : stage.programs)
      for (Op &op : program.ops)
        if (!op.kind.ends_with("weight_grad") && random() % 3 == 0)
          op.stream = Stream::expert_communication;
}

static bool touches(const Op &op, ValueIndex v) {
  return std::count(op.inputs.begin(), op.inputs.end(), v) +
             std::count(op.outputs.begin(), op.outputs.end(), v) >
         0;
}

/// Waits for whatever makes the inputs, and for all uses of what is released.
static void addWaits(Program &program) {
  for (size_t i = 0; i < program.ops.size(); ++i) {
    Op &op = program.ops[i];
    int64_t last = -1;
    for (size_t k = 0; k < i; ++k) {
      const Op &other = program.ops[k];
      if (other.stream == op.stream)
        continue;
      auto isMade = [&](ValueIndex v) {
        return v >= 0 &&
               std::count(other.outputs.begin(), other.outputs.end(), v);
      };
      auto isUsed = [&](ValueIndex v) { return touches(other, v); };
      if (std::any_of(op.inputs.begin(), op.inputs.end(), isMade) ||
          std::any_of(op.releases.begin(), op.releases.end(), isUsed))
        last = static_cast<int64_t>(k);
    }
    if (last >= 0)
      op.waits = {last};
  }
}

void PlanBuilder::closePrograms(Stage &stage) {
  std::set<ValueIndex> freedByStep;
  for (const Step &step : result.ranks[static_cast<size_t>(stage.rank)].steps)
    if (step.stage >= 0 &&
        &result.stages[static_cast<size_t>(step.stage)] == &stage &&
        (step.kind == StepKind::wait_send ||
         step.kind == StepKind::collect_loss))
      freedByStep.insert(step.value);
  size_t count = stage.programs.size();
  std::vector<std::set<ValueIndex>> used(count), made(count);
  for (size_t p = 0; p < count; ++p)
    for (const Op &op : stage.programs[p].ops) {
      used[p].insert(op.inputs.begin(), op.inputs.end());
      made[p].insert(op.outputs.begin(), op.outputs.end());
    }
  for (size_t p = 0; p < count; ++p) {
    Program &program = stage.programs[p];
    for (ValueIndex v = 0; v < static_cast<ValueIndex>(stage.values.size());
         ++v) {
      bool isMade = made[p].contains(v);
      if (!isMade && !used[p].contains(v))
        continue;
      bool stays = freedByStep.contains(v);
      for (size_t later = p + 1; later < count; ++later)
        stays |= used[later].contains(v);
      if (!isMade)
        program.inputs.push_back(v);
      if (stays)
        program.outputs.push_back(v);
      Value &value = stage.values[static_cast<size_t>(v)];
      if (stays || !isMade) {
        value.placement = Placement::slot;
        value.group = v % 2;
        if (value.memoryClass == MemoryClass::transient)
          value.memoryClass = MemoryClass::saved;
      }
      if (!stays) // freed behind the last op that touches it
        std::find_if(program.ops.rbegin(), program.ops.rend(),
                     [&](const Op &op) { return touches(op, v); })
            ->releases.push_back(v);
    }
    addWaits(program);
  }
}

int64_t PlanBuilder::placeScratch(int64_t rank, int64_t begin) {
  for (Stream stream : {Stream::compute, Stream::expert_communication}) {
    int64_t largest = 0;
    for (Stage &stage : result.stages)
      for (Program &program : stage.programs)
        for (Op &op : program.ops)
          if (stage.rank == rank && op.stream == stream) {
            op.scratchOffset = op.scratchBytes > 0 ? begin : 0;
            largest = std::max(largest, op.scratchBytes);
          }
    begin += largest;
  }
  return begin;
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
    std::vector<int64_t> groupBytes(2);
    for (Value &value : stage.values) {
      if (value.placement == Placement::fixed) {
        value.offset = take(value.bytes);
      } else {
        int64_t &end = groupBytes[static_cast<size_t>(value.group)];
        value.offset = end;
        end += value.bytes;
      }
    }
    for (int64_t m = 0; m < result.layout.microbatches; ++m)
      stage.slots.push_back({take(groupBytes[0]), take(groupBytes[1])});
  }
  for (size_t r = 0; r < next.size(); ++r)
    result.ranks[r].arenaBytes = placeScratch(static_cast<int64_t>(r), next[r]);
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
    for (size_t i = 0; i < rank.overlaps.size(); ++i) {
      auto live = replayOverlap(plan, rank.rank, static_cast<int64_t>(i));
      ASSERT_TRUE(live.ok()) << live.error().message;
      rank.overlaps[i].live = *live;
    }
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
