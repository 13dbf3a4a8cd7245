//===- NaiveStreams.cpp - what must wait for what, pair by pair -----------===//

#include "NaiveStreams.h"

namespace moe::plan {
namespace {

using Range = IssuedOp::Range;

Range rangeOf(const Stage &stage, ValueIndex index, int64_t slot) {
  const Value &value = stage.values[index];
  int64_t begin = value.offset;
  if (value.placement == Placement::slot)
    begin += stage.slots[slot][value.group];
  if (value.isOnHost())
    begin += int64_t{1} << 60; // no device has that many bytes
  return {begin, begin + value.bytes};
}

bool anyShared(const std::vector<Range> &some,
               const std::vector<Range> &other) {
  for (const Range &a : some)
    for (const Range &b : other)
      if (a.begin < b.end && b.begin < a.end)
        return true;
  return false;
}

IssuedOp issueOp(const Stage &stage, const Op &op, int64_t slot) {
  IssuedOp issued;
  issued.stream = op.stream;
  for (ValueIndex input : op.inputs)
    if (input != -1)
      issued.reads.push_back(rangeOf(stage, input, slot));
  for (ValueIndex output : op.outputs)
    if (output != -1)
      issued.writes.push_back(rangeOf(stage, output, slot));
  if (op.scratchBytes > 0)
    issued.writes.push_back(
        {op.scratchOffset, op.scratchOffset + op.scratchBytes});
  if (op.kind.find("_weight_grad") != std::string::npos)
    for (ParameterIndex parameter : op.parameters)
      if (parameter != -1)
        issued.gradients.push_back(stage.parameters[parameter].name);
  for (ValueIndex released : op.releases)
    issued.releases.push_back(rangeOf(stage, released, slot));
  return issued;
}

bool races(const std::vector<IssuedOp> &ops) {
  std::vector<std::vector<bool>> done = doneBefore(ops);
  for (size_t i = 0; i < ops.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (!done[i][j] && mustWait(ops[i], ops[j]))
        return true;
  return false;
}

const Program &programOf(const Plan &plan, int64_t stage, Phase phase) {
  for (const Program &program : plan.stages[stage].programs)
    if (program.phase == phase)
      return program;
  static const Program none;
  return none;
}

} // namespace

std::vector<IssuedOp> issueProgram(const Plan &plan, int64_t stage,
                                   const Program &program, int64_t slot) {
  std::vector<IssuedOp> ops;
  for (const Op &op : program.ops)
    ops.push_back(issueOp(plan.stages[stage], op, slot));
  return ops;
}

std::vector<IssuedOp> issueOverlap(const Plan &plan, const Overlap &overlap,
                                   int64_t slot, int64_t secondSlot) {
  std::vector<IssuedOp> ops;
  std::array<std::vector<int64_t>, 2> positions;
  for (int64_t m : overlap.order) {
    const Overlap::Member &member = overlap.members[m];
    const Op &op =
        programOf(plan, member.stage, member.phase).ops[positions[m].size()];
    positions[m].push_back(static_cast<int64_t>(ops.size()));
    ops.push_back(
        issueOp(plan.stages[member.stage], op, m == 0 ? slot : secondSlot));
    for (int64_t on : op.waits)
      ops.back().waits.push_back(positions[m][on]);
  }
  for (const Overlap::Wait &wait : overlap.waits)
    ops[wait.op].waits.push_back(wait.on);
  return ops;
}

std::vector<std::vector<bool>> doneBefore(const std::vector<IssuedOp> &ops) {
  std::vector<std::vector<bool>> done;
  for (size_t i = 0; i < ops.size(); ++i) {
    done.emplace_back(ops.size());
    std::vector<int64_t> direct = ops[i].waits;
    for (size_t j = 0; j < i; ++j)
      if (ops[j].stream == ops[i].stream)
        direct.push_back(static_cast<int64_t>(j));
    for (int64_t j : direct) {
      done[i][j] = true;
      for (size_t k = 0; k < ops.size(); ++k)
        if (done[j][k])
          done[i][k] = true;
    }
  }
  return done;
}

bool mustWait(const IssuedOp &later, const IssuedOp &earlier) {
  for (const std::string &gradient : later.gradients)
    for (const std::string &other : earlier.gradients)
      if (gradient == other)
        return true;
  return anyShared(later.reads, earlier.writes) ||
         anyShared(later.writes, earlier.reads) ||
         anyShared(later.writes, earlier.writes) ||
         anyShared(later.releases, earlier.reads) ||
         anyShared(later.releases, earlier.writes);
}

bool racesSomewhere(const Plan &plan) {
  for (const Rank &rank : plan.ranks)
    for (const Step &step : rank.steps) {
      if (step.kind == StepKind::run) {
        const Program &program = programOf(plan, step.stage, step.phase);
        std::vector<IssuedOp> ops =
            issueProgram(plan, step.stage, program, step.slot);
        for (size_t i = 0; i < ops.size(); ++i)
          ops[i].waits = program.ops[i].waits;
        if (races(ops))
          return true;
      }
      if (step.kind == StepKind::overlap &&
          races(issueOverlap(plan, rank.overlaps[step.overlap], step.slot,
                             step.secondSlot)))
        return true;
    }
  return false;
}

} // namespace moe::plan
