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

schedule::StageCosts stageCosts(const plan::Stage &stage) {
  std::array<const plan::Program *, plan::kPhaseCount> programs{};
  for (const plan::Program &program : stage.programs)
    programs[static_cast<size_t>(program.phase)] = &program;
  auto [forward, backward, backwardInput, weightGrad] = programs;

  schedule::StageCosts costs;
  if (forward) {
    costs.forwardNs = schedule::durationNs(*forward);
    costs.savedBytes =
        handedOver(stage, forward, {backward, backwardInput, weightGrad});
  }
  if (backwardInput && weightGrad) {
    costs.inputGradNs = schedule::durationNs(*backwardInput);
    costs.weightGradNs = schedule::durationNs(*weightGrad);
    costs.weightGradBytes = handedOver(stage, backwardInput, {weightGrad});
    costs.savedBytes = std::max(costs.savedBytes, costs.weightGradBytes);
  } else if (backward) {
    costs.inputGradNs = schedule::durationNs(*backward);
  }
  return costs;
}

int64_t persistentBytes(const plan::Stage &stage) {
  int64_t bytes = 0;
  for (const plan::Parameter &parameter : stage.parameters) {
    int64_t elements = 1;
    for (int64_t size : parameter.shape)
      elements *= size;
    int64_t wide = plan::alignUp(
        elements *
        byteSize(parameter.dtype == DType::f64 ? DType::f64 : DType::f32));
    bytes += plan::alignUp(elements * byteSize(parameter.dtype));
    if (parameter.trainable)
      bytes += wide * (parameter.dtype == DType::bf16 ? 4 : 3);
  }
  return bytes;
}

} // namespace moe::cost
