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
  const plan::Rank &rank = plan.ranks[static_cast<size_t>(pipeline)];
  Result<Arena> arena = Arena::create(rank.arenaBytes, options.poison);
  if (!arena)
    return arena.error();
  Result<Arena> host = Arena::create(rank.hostArenaBytes, options.poison);
  if (!host)
    return Error{"values on the host: " + host.error().message};
  return std::unique_ptr<Executor>(
      new Executor(binding, worldRank, transport, kernels, data, options,
                   std::move(*arena), std::move(*host)));
}

Executor::Executor(const Binding &binding, int64_t worldRank,
                   comm::Transport &wire, const kernels::KernelTable &kernels,
                   const Dataset &data, const ExecutorOptions &options,
                   Arena arenaOfRank, Arena hostOfRank)
    : bound(binding), at(binding.topology().coordinates(worldRank)),
      rank(binding.plan().ranks[static_cast<size_t>(at.pipeline)]), wire(wire),
      kernels(kernels), data(data), options(options), pool(options.threads),
      parallel(pool.parallel()), arena(std::move(arenaOfRank)),
      host(std::move(hostOfRank)), values(binding, arena, host),
      weights(binding, at, arena, wire, pool, kernels), check(rank),
      expertGroup(binding.topology().expertGroup(at)),
      world(binding.topology().world()) {}

plan::ByteCounts Executor::live() const {
  plan::ByteCounts both = arena.live();
  both += host.live();
  return both;
}

Status Executor::start() {
  MOE_RETURN_IF_ERROR(weights.create(options.seed));
  if (Status status = LiveCheck::compare(rank.persistent, live()); !status)
    return Error{"parameters: " + status.error().message};
  return {};
}

std::string Executor::describe(const plan::Step &step) const {
  std::string text(plan::name(step.kind));
  if (step.stage < 0)
    return text;
  auto of = [&](int64_t stage, int64_t microbatch) {
    return " of " + bound.plan().stages[static_cast<size_t>(stage)].name +
           ", microbatch " + std::to_string(microbatch);
  };
  if (plan::isExecution(step.kind))
    text += " " + std::string(plan::name(step.phase));
  if (step.value >= 0)
    text += " '" + values.value(instanceOf(step)).name + "'";
  text += of(step.stage, step.microbatch);
  if (step.kind == plan::StepKind::overlap) {
    const plan::Overlap::Member &second =
        rank.overlaps[static_cast<size_t>(step.overlap)].members[1];
    text += ", with " + std::string(plan::name(second.phase)) +
            of(second.stage, step.secondMicrobatch);
  }
  if (step.peer >= 0)
    text += ", peer pp " + std::to_string(step.peer);
  return text;
}

Result<StepResult> Executor::train(int64_t number) {
  losses.assign(static_cast<size_t>(bound.plan().layout.microbatches), 0.0);
  gradientNorm = 0;
  weights.zeroGradients();
  for (size_t i = 0; i < rank.steps.size(); ++i)
    if (Status status = runStep(static_cast<int64_t>(i), number); !status) {
      Error error{"training step " + std::to_string(number) +
                  ", schedule step " + std::to_string(i) + " (" +
                  describe(rank.steps[i]) + "): " + status.error().message};
      // What is under way may wait for a peer that waits for this rank.
      wire.abort(error);
      (void)joinStreams();
      return error;
    }
  if (Status status = LiveCheck::compare(rank.persistent, live()); !status)
    return Error{"after training step " + std::to_string(number) + ": " +
                 status.error().message};
  return summarize();
}

Status Executor::runStep(int64_t index, int64_t number) {
  const plan::Step &step = rank.steps[static_cast<size_t>(index)];
  MOE_RETURN_IF_ERROR(LiveCheck::compare(step.live, live()));
  using plan::StepKind;
  // Of steps that allocate, the moment that counts is the one after it.
  bool allocates =
      step.kind == StepKind::load || step.kind == StepKind::receive;
  if (!allocates)
    check.note(live(), index, {});
  switch (step.kind) {
  case StepKind::load:
    MOE_RETURN_IF_ERROR(load(step, number));
    break;
  case StepKind::receive:
    MOE_RETURN_IF_ERROR(receive(step));
    break;
  case StepKind::run:
    return run(index);
  case StepKind::overlap:
    return overlap(index);
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
  check.note(live(), index, {});
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
  Result<comm::ReceiveHandle> posted = wire.postReceive(
      bytesOf(*tensor), bound.topology().pipelinePeer(at, step.peer),
      step.microbatch, describe(step));
  if (!posted)
    return posted.error();
  values.setReceive(instanceOf(step), *posted);
  return {};
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
