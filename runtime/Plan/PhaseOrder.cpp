//===- PhaseOrder.cpp - which programs ran for which microbatch -----------===//

#include "runtime/Plan/PhaseOrder.h"

namespace moe::plan {
namespace {

std::string programOfPhase(Phase phase) {
  return "the " + std::string(name(phase)) + " program";
}

} // namespace

std::optional<std::string> PhaseOrder::whyNot(int64_t stage, Phase phase,
                                              int64_t microbatch) const {
  auto found = ran.find({stage, microbatch});
  auto has = [&](Phase other) {
    return found != ran.end() && found->second[static_cast<size_t>(other)];
  };
  auto reason = [&](Phase other, const char *what, const char *when) {
    return programOfPhase(other) + " has " + what + " for microbatch " +
           std::to_string(microbatch) + " " + when;
  };
  if (has(phase))
    return reason(phase, "run", "already");
  if (phase == Phase::forward)
    return std::nullopt;
  Phase before =
      phase == Phase::weight_grad ? Phase::backward_input : Phase::forward;
  if (!has(before))
    return reason(before, "not run", "before");
  Phase other =
      phase == Phase::backward ? Phase::backward_input : Phase::backward;
  if (has(other))
    return reason(other, "made gradients", "already");
  return std::nullopt;
}

void PhaseOrder::run(int64_t stage, Phase phase, int64_t microbatch) {
  ran[{stage, microbatch}][static_cast<size_t>(phase)] = true;
  used.insert({stage, phase});
}

std::optional<std::string> PhaseOrder::whyIncomplete(const Stage &stage,
                                                     int64_t index) const {
  bool hasGradients = false;
  for (const Program &program : stage.programs) {
    hasGradients |= program.phase != Phase::forward;
    if (used.count({index, program.phase}) == 0)
      return programOfPhase(program.phase) + " of stage \"" + stage.name +
             "\" never runs";
  }
  if (!hasGradients)
    return std::nullopt;
  for (auto next = ran.lower_bound({index, 0});
       next != ran.end() && next->first.first == index; ++next) {
    auto has = [&](Phase phase) {
      return next->second[static_cast<size_t>(phase)];
    };
    if (has(Phase::backward) || has(Phase::weight_grad))
      continue;
    return "microbatch " + std::to_string(next->first.second) + " of stage \"" +
           stage.name + "\" runs forward, but " +
           (has(Phase::backward_input)
                ? programOfPhase(Phase::weight_grad) + " never follows"
                : "no program makes its gradients");
  }
  return std::nullopt;
}

} // namespace moe::plan
