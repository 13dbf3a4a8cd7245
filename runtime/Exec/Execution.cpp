// How the executor runs programs.
#include "runtime/Exec/Executor.h"

#include <algorithm>

namespace moe::exec {

using kernels::Tensor;

/// An op that was issued: its number on its stream; of the compute stream,
/// whose ops are done once they were issued, 0.
struct Executor::Mark {
  plan::Stream stream = plan::Stream::compute;
  int64_t number = 0;
};

/// A program under way.
struct Executor::Member {
  int64_t stage, microbatch, slot;
  const plan::Program *program;
  const std::vector<BoundOp> *ops;
  std::string suffix = {};       ///< of the names of its ops in errors
  std::vector<Mark> issued = {}; ///< by op
};

/// An op with its operands, ready to be called on any thread.
struct Executor::Call {
  static constexpr size_t kMost = 8; // operands of a list; the widest op has 6
  using Operands = std::array<Tensor, kMost>;

  const BoundOp *op = nullptr;
  Instance at; ///< stage and slot of its values
  std::string suffix;
  Operands inputs, outputs, weights, gradients;
  std::byte *scratch = nullptr;
  std::vector<Place> freed = {}; ///< by the call, on its own thread

  Error error(const Status &status) const {
    return {"op '" + op->op->name + "' (" + op->op->kind + ")" + suffix + ": " +
            status.error().message};
  }
};

Result<Executor::Member> Executor::begin(const plan::Overlap::Member &what,
                                         int64_t microbatch, int64_t slot) {
  const plan::Stage &stage =
      bound.plan().stages[static_cast<size_t>(what.stage)];
  const auto &ops =
      bound.stage(what.stage).programs[static_cast<size_t>(what.phase)];
  for (const plan::Program &program : stage.programs)
    if (program.phase == what.phase && ops)
      return Member{what.stage, microbatch, slot, &program, &*ops};
  return Error{"stage " + stage.name + " has no " +
               std::string(plan::name(what.phase)) + " program"};
}

Status Executor::run(int64_t index) {
  const plan::Step &step = rank.steps[static_cast<size_t>(index)];
  Result<Member> member =
      begin({step.stage, step.phase}, step.microbatch, step.slot);
  if (!member)
    return member.error();
  MOE_RETURN_IF_ERROR(waitForInputs(*member));
  for (const BoundOp &op : *member->ops) {
    plan::ByteCounts expected = step.live;
    expected += op.op->live;
    MOE_RETURN_IF_ERROR(issue(*member, expected, {}, index));
  }
  return joinStreams();
}

Status Executor::overlap(int64_t index) {
  const plan::Step &step = rank.steps[static_cast<size_t>(index)];
  const plan::Overlap &overlap =
      rank.overlaps[static_cast<size_t>(step.overlap)];
  std::vector<Member> members;
  for (size_t m : {0, 1}) {
    Result<Member> member =
        begin(overlap.members[m], m ? step.secondMicrobatch : step.microbatch,
              m ? step.secondSlot : step.slot);
    if (!member)
      return member.error();
    member->suffix =
        " of " + bound.plan().stages[static_cast<size_t>(member->stage)].name +
        ", microbatch " + std::to_string(member->microbatch);
    MOE_RETURN_IF_ERROR(waitForInputs(*member));
    members.push_back(std::move(*member));
  }
  std::vector<Mark> issued; // by position
  auto wait = overlap.waits.begin();
  for (size_t position = 0; position < overlap.order.size(); ++position) {
    Member &member = members[static_cast<size_t>(overlap.order[position])];
    std::vector<Mark> waits;
    for (; wait != overlap.waits.end() &&
           wait->op == static_cast<int64_t>(position);
         ++wait)
      waits.push_back(issued[static_cast<size_t>(wait->on)]);
    plan::ByteCounts expected = step.live;
    expected += overlap.live[position];
    MOE_RETURN_IF_ERROR(issue(member, expected, std::move(waits), index));
    issued.push_back(member.issued.back());
  }
  return joinStreams();
}

Status Executor::issue(Member &member, const plan::ByteCounts &expected,
                       std::vector<Mark> waits, int64_t index) {
  const BoundOp &op = (*member.ops)[member.issued.size()];
  Result<std::shared_ptr<Call>> call = prepare(member, op, expected, index);
  if (!call)
    return call.error();
  for (int64_t on : op.op->waits)
    waits.push_back(member.issued[static_cast<size_t>(on)]);
  Mark mark{op.op->stream, 0};
  if (mark.stream == plan::Stream::compute) {
    MOE_RETURN_IF_ERROR(wait(waits));
    MOE_RETURN_IF_ERROR(compute(**call));
  } else {
    Result<int64_t> number = handOver(*call, std::move(waits));
    if (!number)
      return number.error();
    mark.number = *number;
  }
  member.issued.push_back(mark);
  return {};
}

Status Executor::wait(const std::vector<Mark> &marks) {
  for (const Mark &mark : marks)
    if (mark.stream != plan::Stream::compute)
      MOE_RETURN_IF_ERROR(
          streams[static_cast<size_t>(mark.stream)].wait(mark.number));
  return {};
}

Status Executor::joinStreams() {
  // Every one, also when another has failed: nothing may be under way.
  Status joined;
  for (StreamThread &stream : streams)
    if (Status status = stream.join(); !status && joined)
      joined = status;
  return joined;
}

Status Executor::waitForInputs(const Member &member) {
  for (plan::ValueIndex value : member.program->inputs) {
    Instance instance{member.stage, value, member.slot};
    if (std::optional<comm::ReceiveHandle> posted =
            values.takeReceive(instance))
      MOE_RETURN_IF_ERROR(
          wire.waitReceive(*posted, values.value(instance).name));
  }
  return {};
}

Result<std::shared_ptr<Executor::Call>>
Executor::prepare(const Member &member, const BoundOp &op,
                  const plan::ByteCounts &expected, int64_t index) {
  auto call = std::make_shared<Call>();
  call->op = &op;
  call->at = {member.stage, -1, member.slot};
  call->suffix = member.suffix;
  auto instance = [&](plan::ValueIndex value) {
    return Instance{member.stage, value, member.slot};
  };
  auto allocate = [&]() -> Status {
    // Before outputs: these may take over the bytes of inputs.
    for (size_t i = 0; i < op.op->inputs.size(); ++i)
      if (op.op->inputs[i] >= 0) {
        Result<Tensor> input = values.get(instance(op.op->inputs[i]));
        if (!input)
          return input.error();
        call->inputs[i] = *input;
      }
    for (size_t i = 0; i < op.op->outputs.size(); ++i)
      if (op.op->outputs[i] >= 0) {
        Instance output = instance(op.op->outputs[i]);
        Result<Tensor> made = values.value(output).overwrites >= 0
                                  ? values.takeOver(output)
                                  : values.allocate(output);
        if (!made)
          return made.error();
        call->outputs[i] = *made;
      }
    if (op.op->scratchBytes > 0) {
      Result<std::byte *> made =
          arena.allocate(op.op->scratchOffset, op.op->scratchBytes,
                         op.op->scratchClass, op.op->name);
      if (!made)
        return made.error();
      call->scratch = *made;
    }
    plan::ByteCounts now = live();
    MOE_RETURN_IF_ERROR(LiveCheck::compare(expected, now));
    check.note(now, index, op.op->name);
    return {};
  };
  if (Status status = allocate(); !status)
    return call->error(status);
  const plan::Stage &stage =
      bound.plan().stages[static_cast<size_t>(member.stage)];
  const BoundStage &boundStage = bound.stage(member.stage);
  for (size_t i = 0; i < op.op->parameters.size(); ++i) {
    plan::ParameterIndex p = op.op->parameters[i];
    if (p < 0)
      continue;
    const plan::Parameter &parameter = stage.parameters[static_cast<size_t>(p)];
    call->weights[i] = boundStage.weights[static_cast<size_t>(p)];
    call->weights[i].data = arena.at(parameter.weightOffset);
    if (parameter.gradientOffset < 0)
      continue;
    call->gradients[i] = boundStage.gradients[static_cast<size_t>(p)];
    call->gradients[i].data = arena.at(parameter.gradientOffset);
  }
  return call;
}

Status Executor::compute(Call &call) {
  const plan::Op &op = *call.op->op;
  auto run = [&]() -> Status {
    MOE_RETURN_IF_ERROR(invoke(call, parallel));
    if (call.scratch)
      MOE_RETURN_IF_ERROR(arena.release(op.scratchOffset));
    for (plan::ValueIndex value : op.releases)
      MOE_RETURN_IF_ERROR(values.release({call.at.stage, value, call.at.slot}));
    return {};
  };
  Status status = run();
  return status ? status : Status(call.error(status));
}

// The account moves on as if the op were done: whoever uses the bytes next
// waits for it, or comes behind it on its stream.
Result<int64_t> Executor::handOver(const std::shared_ptr<Call> &call,
                                   std::vector<Mark> waits) {
  const plan::Op &op = *call->op->op;
  if (call->scratch) {
    MOE_RETURN_IF_ERROR(arena.releaseUnspoiled(op.scratchOffset));
    call->freed.push_back({&arena, op.scratchOffset, op.scratchBytes});
  }
  for (plan::ValueIndex value : op.releases) {
    Result<Place> place =
        values.releaseUnspoiled({call->at.stage, value, call->at.slot});
    if (!place)
      return call->error(place.error());
    call->freed.push_back(*place);
  }
  // Computation that it waits for is done, since it was issued before.
  return streams[static_cast<size_t>(op.stream)].issue(
      [this, call, waits = std::move(waits)]() -> Status {
        MOE_RETURN_IF_ERROR(wait(waits));
        if (Status status = invoke(*call, {}); !status)
          return call->error(status);
        for (const Place &place : call->freed)
          place.arena->spoil(place.offset, place.bytes);
        return {};
      });
}

Status Executor::invoke(const Call &call, const kernels::Parallel &threads) {
  const plan::Op &op = *call.op->op;
  return call.op->signature->call(
      {kernels, threads, call.op->attributes, op.name,
       std::span(call.inputs).first(op.inputs.size()),
       std::span(call.outputs).first(op.outputs.size()),
       std::span(call.weights).first(op.parameters.size()),
       std::span(call.gradients).first(op.parameters.size()), call.scratch,
       wire, expertGroup, at.expert, buffers});
}

} // namespace moe::exec
