#include "compiler/Cost/StageCosts.h"

#include "compiler/Schedule/Interleave.h"

#include <algorithm>
#include <array>
#include <set>

namespace moe::cost {

/// Bytes of the device of what `made` leaves and one of `users` takes.
static int64_t handedOver(const plan::Stage &stage, const plan::Program *made,
                          std::initializer_list<const plan::Program *> users) {
  std::set<plan::ValueIndex> taken;
  for (const plan::Program *user : users)
    if (user)
      taken.insert(user->inputs.begin(), user->inputs.end());
  std::set<plan::ValueIndex> left(made->outputs.begin(), made->outputs.end());
  int64_t bytes = 0;
  for (plan::ValueIndex value : left)
    if (taken.contains(value) && !stage.values[value].isOnHost())
      bytes += stage.values[value].bytes;
  return bytes;
}

/// The most that is live at once in a program of what it does not leave to
/// later ones of the microbatch, or take from earlier ones.
static int64_t transientBytes(const plan::Stage &stage,
                              const plan::Program &program) {
  auto bytesOf = [&](plan::ValueIndex index) {
    const plan::Value &value = stage.values[index];
    bool counts =
        value.placement == plan::Placement::fixed && !value.isOnHost();
    return counts ? value.bytes : 0;
  };
  int64_t live = 0, most = 0;
  for (plan::ValueIndex input : program.inputs)
    live += bytesOf(input);
  for (const plan::Op &op : program.ops) {
    for (plan::ValueIndex output : op.outputs)
      if (output >= 0 && stage.values[output].overwrites == -1)
        live += bytesOf(output);
    most = std::max(most, live + op.scratchBytes);
    for (plan::ValueIndex released : op.releases)
      live -= bytesOf(released);
  }
  return std::max(most, live);
}

namespace {

using Programs = std::array<const plan::Program *, plan::kPhaseCount>;

Programs programsOf(const plan::Stage &stage) {
  Programs programs{};
  for (const plan::Program &program : stage.programs)
    programs[static_cast<size_t>(program.phase)] = &program;
  return programs;
}

/// Of the forward, and the bytes of `backwards`.
schedule::StageCosts
forwardCosts(const plan::Stage &stage, const plan::Program *forward,
             std::initializer_list<const plan::Program *> backwards) {
  schedule::StageCosts costs;
  if (forward) {
    costs.forwardNs = schedule::durationNs(*forward);
    costs.savedBytes = handedOver(stage, forward, backwards);
    costs.forwardTransientBytes = transientBytes(stage, *forward);
  }
  for (const plan::Program *program : backwards)
    if (program)
      costs.backwardTransientBytes = std::max(costs.backwardTransientBytes,
                                              transientBytes(stage, *program));
  return costs;
}

} // namespace

schedule::StageCosts wholeStageCosts(const plan::Stage &stage) {
  auto [forward, backward, backwardInput, weightGrad] = programsOf(stage);
  schedule::StageCosts costs = forwardCosts(stage, forward, {backward});
  if (backward)
    costs.inputGradNs = schedule::durationNs(*backward);
  return costs;
}

schedule::StageCosts stageCosts(const plan::Stage &stage) {
  auto [forward, backward, backwardInput, weightGrad] = programsOf(stage);
  if (!backwardInput || !weightGrad)
    return wholeStageCosts(stage);
  schedule::StageCosts costs =
      forwardCosts(stage, forward, {backward, backwardInput, weightGrad});
  costs.inputGradNs = schedule::durationNs(*backwardInput);
  costs.weightGradNs = schedule::durationNs(*weightGrad);
  costs.weightGradBytes = handedOver(stage, backwardInput, {weightGrad});
  costs.savedBytes = std::max(costs.savedBytes, costs.weightGradBytes);
  return costs;
}

static int64_t countElements(const plan::Parameter &parameter) {
  int64_t elements = 1;
  for (int64_t size : parameter.shape)
    elements *= size;
  return elements;
}

int64_t persistentBytes(const plan::Stage &stage) {
  int64_t bytes = 0;
  for (const plan::Parameter &parameter : stage.parameters) {
    const int64_t elements = countElements(parameter);
    int64_t wide = plan::alignUp(
        elements *
        byteSize(parameter.dtype == DType::f64 ? DType::f64 : DType::f32));
    bytes += plan::alignUp(elements * byteSize(parameter.dtype));
    if (parameter.trainable)
      bytes += wide * (parameter.dtype == DType::bf16 ? 4 : 3);
  }
  return bytes;
}

TrainableElements trainableElements(const plan::Stage &stage) {
  TrainableElements elements;
  for (const plan::Parameter &parameter : stage.parameters)
    if (parameter.trainable)
      (parameter.replication == plan::Replication::dense ? elements.dense
                                                         : elements.expert) +=
          countElements(parameter);
  return elements;
}

int64_t sumBytes(DType storage) { return storage == DType::f64 ? 8 : 4; }

int64_t EndOfStep::reduceNs(const TrainableElements &elements) const {
  return allReduceNs(*machine, elements.dense * sumBytes(storage),
                     expertWays * dataWays) +
         allReduceNs(*machine, elements.expert * sumBytes(storage), dataWays,
                     expertWays);
}

int64_t EndOfStep::reduceSharedNs(const Link &link, int64_t elements) const {
  return elements > 0 ? transferNs(link, elements * sumBytes(storage)) : 0;
}

int64_t EndOfStep::updateNs(const TrainableElements &elements) const {
  return optimizerNs(*machine, elements.dense + elements.expert, storage);
}

} // namespace moe::cost
