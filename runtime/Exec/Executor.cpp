#include "runtime/Exec/Executor.h"

#include "support/TokenRole.h"

#include <cmath>
#include <cstring>

namespace moe::exec {

using kernels::Tensor;

static std::span<std::byte> bytesOf(const Tensor &tensor) {
  return {tensor.as<std::byte>(),
          static_cast<size_t>(tensor.elements() * byteSize(tensor.dtype))};
}

static Instance instanceOf(const plan::Step &step) {
  return {step.stage, step.value, step.slot};
}

Result<std::unique_ptr<Executor>>
Executor::create(const Binding &binding, int64_t worldRank,
                 comm::Transport &transport,
                 const kernels::KernelTable &kernels, const Dataset &data,
                 const ExecutorOptions &options) {
  if (data.largestToken() >= binding.vocabulary())
    return Error{"the data has tokens up to " +
                 std::to_string(data.largestToken()) +
                 ", the model's vocabulary ends at " +
                 std::to_string(binding.vocabulary() - 1)};
  const plan::Plan &plan = binding.plan();
  if (data.sequenceLength() != plan.layout.sequenceLength)
    return Error{"the data was read in sequences of " +
                 std::to_string(data.sequenceLength()) +
                 " tokens, the plan has sequences of " +
                 std::to_string(plan.layout.sequenceLength)};
  if (data.furthestShift() < binding.furthestShift())
    return Error{"the data was read for labels up to '" +
                 tokenRole(data.furthestShift()) + "', the plan loads '" +
                 tokenRole(binding.furthestShift()) + "'"};
  int64_t pipeline = binding.topology().coordinates(worldRank).pipeline;
  Result<Arena> arena = Arena::create(
      plan.ranks[static_cast<size_t>(pipeline)].arenaBytes, options.poison);
  if (!arena)
    return arena.error();
  return std::unique_ptr<Executor>(new Executor(binding, worldRank, transport,
                                                kernels, data, options,
                                                std::move(*arena)));
}

Executor::Executor(const Binding &binding, int64_t worldRank,
                   comm::Transport &wire, const kernels::KernelTable &kernels,
                   const Dataset &data, const ExecutorOptions &options,
                   Arena arenaOfRank)
    : bound(binding), at(binding.topology().coordinates(worldRank)),
      rank(binding.plan().ranks[static_cast<size_t>(at.pipeline)]), wire(wire),
      kernels(kernels), data(data), options(options), pool(options.threads),
      parallel(pool.parallel()), arena(std::move(arenaOfRank)),
      values(binding, arena), weights(binding, at, arena, wire, pool, kernels),
      check(rank), expertGroup(binding.topology().expertGroup(at)),
      world(binding.topology().world()) {}

Status Executor::start() {
  MOE_RETURN_IF_ERROR(weights.create(options.seed));
  if (Status status = LiveCheck::compare(rank.persistent, arena.live());
      !status)
    return Error{"parameters: " + status.error().message};
  return {};
}

std::string Executor::describe(const plan::Step &step) const {
  std::string text(plan::name(step.kind));
  if (step.stage < 0)
    return text;
  const plan::Stage &stage =
      bound.plan().stages[static_cast<size_t>(step.stage)];
  if (step.kind == plan::StepKind::run)
    text += " " + std::string(plan::name(step.phase));
  if (step.value >= 0)
    text += " '" + stage.values[static_cast<size_t>(step.value)].name + "'";
  text +=
      " of " + stage.name + ", microbatch " + std::to_string(step.microbatch);
  if (step.peer >= 0)
    text += ", peer pp " + std::to_string(step.peer);
  return text;
}

Result<StepResult> Executor::train(int64_t number) {
  losses.assign(static_cast<size_t>(bound.plan().layout.microbatches), 0.0);
  gradientNorm = 0;
  weights.zeroGradients();
  for (size_t i = 0; i < rank.steps.size(); ++i)
    if (Status status = runStep(static_cast<int64_t>(i), number); !status)
      return Error{"training step " + std::to_string(number) +
                   ", schedule step " + std::to_string(i) + " (" +
                   describe(rank.steps[i]) + "): " + status.error().message};
  if (Status status = LiveCheck::compare(rank.persistent, arena.live());
      !status)
    return Error{"after training step " + std::to_string(number) + ": " +
                 status.error().message};
  return summarize();
}

Status Executor::runStep(int64_t index, int64_t number) {
  const plan::Step &step = rank.steps[static_cast<size_t>(index)];
  MOE_RETURN_IF_ERROR(LiveCheck::compare(step.live, arena.live()));
  using plan::StepKind;
  // Of steps that allocate, the moment that counts is the one after it.
  bool allocates =
      step.kind == StepKind::load || step.kind == StepKind::receive;
  if (!allocates)
    check.note(arena.live(), index, {});
  switch (step.kind) {
  case StepKind::load:
    MOE_RETURN_IF_ERROR(load(step, number));
    break;
  case StepKind::receive:
    MOE_RETURN_IF_ERROR(receive(step));
    break;
  case StepKind::run:
    return runProgram(index);
  case StepKind::send:
    return send(step);
  case StepKind::wait_send:
    return waitSend(step);
  case StepKind::collect_loss:
    return collectLoss(step);
  case StepKind::reduce_gradients:
    return weights.reduceGradients();
  case StepKind::update:
    return update(number);
  }
  check.note(arena.live(), index, {});
  return {};
}

Status Executor::load(const plan::Step &step, int64_t number) {
  Result<Tensor> tensor = values.allocate(instanceOf(step));
  if (!tensor)
    return tensor.error();
  const plan::Layout &layout = bound.plan().layout;
  BatchShape batch{layout.microbatches, bound.topology().replicas(),
                   layout.microbatchSize};
  int64_t first = batch.firstSequence(number - 1, step.microbatch,
                                      bound.topology().replica(at));
  for (int64_t b = 0; b < layout.microbatchSize; ++b)
    data.copySequence(
        first + b, parseTokenRole(step.role).value_or(0),
        std::span(tensor->as<int32_t>() + b * layout.sequenceLength,
                  static_cast<size_t>(layout.sequenceLength)));
  return {};
}

// The plan pairs the n-th send to a peer with the peer's n-th receive, and both
// name the same microbatch; as a tag it makes a mistake visible.
Status Executor::receive(const plan::Step &step) {
  Result<Tensor> tensor = values.allocate(instanceOf(step));
  if (!tensor)
    return tensor.error();
  return wire.receive(bytesOf(*tensor),
                      bound.topology().pipelinePeer(at, step.peer),
                      step.microbatch, describe(step));
}

Status Executor::send(const plan::Step &step) {
  Result<Tensor> tensor = values.get(instanceOf(step));
  if (!tensor)
    return tensor.error();
  Result<comm::SendHandle> posted = wire.postSend(
      bytesOf(*tensor), bound.topology().pipelinePeer(at, step.peer),
      step.microbatch, describe(step));
  if (!posted)
    return posted.error();
  return values.setSend(instanceOf(step), *posted);
}

Status Executor::waitSend(const plan::Step &step) {
  Result<comm::SendHandle> posted = values.takeSend(instanceOf(step));
  if (!posted)
    return posted.error();
  MOE_RETURN_IF_ERROR(wire.waitSend(*posted, describe(step)));
  return values.release(instanceOf(step));
}

Status Executor::collectLoss(const plan::Step &step) {
  Result<Tensor> tensor = values.get(instanceOf(step));
  if (!tensor)
    return tensor.error();
  double loss = tensor->dtype == DType::f64
                    ? *tensor->as<double>()
                    : static_cast<double>(*tensor->as<float>());
  losses[static_cast<size_t>(step.microbatch)] += loss;
  return values.release(instanceOf(step));
}

Status Executor::runProgram(int64_t index) {
  const plan::Step &step = rank.steps[static_cast<size_t>(index)];
  const auto &program =
      bound.stage(step.stage).programs[static_cast<size_t>(step.phase)];
  if (!program)
    return Error{"the stage has no such program"};
  for (const BoundOp &op : *program)
    if (Status status = runOp(index, op); !status)
      return Error{"op '" + op.op->name + "' (" + op.op->kind +
                   "): " + status.error().message};
  return {};
}

Status Executor::runOp(int64_t index, const BoundOp &op) {
  const plan::Step &step = rank.steps[static_cast<size_t>(index)];
  auto instance = [&](plan::ValueIndex value) {
    return Instance{step.stage, value, step.slot};
  };
  for (plan::ValueIndex value : op.op->outputs)
    if (value >= 0)
      if (Result<Tensor> made = values.allocate(instance(value)); !made)
        return made.error();
  std::byte *scratch = nullptr;
  if (op.op->scratchBytes > 0) {
    Result<std::byte *> made =
        arena.allocate(op.op->scratchOffset, op.op->scratchBytes,
                       op.op->scratchClass, op.op->name);
    if (!made)
      return made.error();
    scratch = *made;
  }
  plan::ByteCounts expected = step.live;
  expected += op.op->live;
  MOE_RETURN_IF_ERROR(LiveCheck::compare(expected, arena.live()));
  check.note(arena.live(), index, op.op->name);
  MOE_RETURN_IF_ERROR(callOp(op, step, scratch));
  if (scratch)
    MOE_RETURN_IF_ERROR(arena.release(op.op->scratchOffset));
  for (plan::ValueIndex value : op.op->releases)
    MOE_RETURN_IF_ERROR(values.release(instance(value)));
  return {};
}

Status Executor::callOp(const BoundOp &op, const plan::Step &step,
                        std::byte *scratch) {
  constexpr size_t kMost = 8; // operands of a list; the widest op has 6
  std::array<Tensor, kMost> inputs, outputs, ownWeights, gradients;
  auto collect = [&](const std::vector<plan::ValueIndex> &indices,
                     std::array<Tensor, kMost> &tensors) -> Status {
    for (size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] < 0)
        continue;
      Result<Tensor> tensor = values.get({step.stage, indices[i], step.slot});
      if (!tensor)
        return tensor.error();
      tensors[i] = *tensor;
    }
    return {};
  };
  MOE_RETURN_IF_ERROR(collect(op.op->inputs, inputs));
  MOE_RETURN_IF_ERROR(collect(op.op->outputs, outputs));
  const plan::Stage &stage =
      bound.plan().stages[static_cast<size_t>(step.stage)];
  const BoundStage &boundStage = bound.stage(step.stage);
  for (size_t i = 0; i < op.op->parameters.size(); ++i) {
    plan::ParameterIndex index = op.op->parameters[i];
    if (index < 0)
      continue;
    const plan::Parameter &parameter =
        stage.parameters[static_cast<size_t>(index)];
    ownWeights[i] = boundStage.weights[static_cast<size_t>(index)];
    ownWeights[i].data = arena.at(parameter.weightOffset);
    if (parameter.gradientOffset < 0)
      continue;
    gradients[i] = boundStage.gradients[static_cast<size_t>(index)];
    gradients[i].data = arena.at(parameter.gradientOffset);
  }
  return op.signature->call(
      {kernels, parallel, op.attributes, op.op->name,
       std::span(inputs).first(op.op->inputs.size()),
       std::span(outputs).first(op.op->outputs.size()),
       std::span(ownWeights).first(op.op->parameters.size()),
       std::span(gradients).first(op.op->parameters.size()), scratch, wire,
       expertGroup, at.expert, buffers});
}

Status Executor::update(int64_t number) {
  if (number == options.gradientStep && options.onGradients)
    MOE_RETURN_IF_ERROR(options.onGradients(*this));
  Result<double> norm = weights.gradientNorm();
  if (!norm)
    return norm.error();
  gradientNorm = *norm;
  if (!std::isfinite(gradientNorm))
    return Error{"the gradient norm is not finite; a lower learning rate may "
                 "help"};
  weights.update(options.optimizer, number, gradientNorm);
  return {};
}

Result<StepResult> Executor::summarize() {
  std::vector<double> mine = losses;
  mine.push_back(static_cast<double>(check.peak().live.total()));
  Result<std::vector<double>> all = wire.allGather(world, mine, "step summary");
  if (!all)
    return all.error();
  const comm::Topology &topology = bound.topology();
  size_t width = mine.size(), microbatches = losses.size();
  StepResult result;
  result.gradientNorm = gradientNorm;
  for (int64_t r = 0; r < topology.size(); ++r)
    result.peakBytes.push_back(static_cast<int64_t>(
        (*all)[static_cast<size_t>(r) * width + microbatches]));
  // In the order of the sequences, so that the sum does not depend on how ranks
  // and microbatches share them.
  for (size_t m = 0; m < microbatches; ++m)
    for (int64_t replica = 0; replica < topology.replicas(); ++replica)
      for (int64_t pp = 0; pp < topology.pipeline; ++pp)
        result.loss +=
            (*all)[static_cast<size_t>(pp * topology.replicas() + replica) *
                       width +
                   m];
  result.loss /= static_cast<double>(static_cast<int64_t>(microbatches) *
                                     topology.replicas());
  if (!std::isfinite(result.loss))
    return Error{"the loss is not finite"};
  return result;
}

} // namespace moe::exec
