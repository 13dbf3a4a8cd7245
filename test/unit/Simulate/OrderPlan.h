//===- OrderPlan.h - the plan of an order of actions ------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Evaluate.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <utility>

namespace moe {

/// Programs of two ops, forwards on another stream than the rest: of a pair
/// that overlaps, neither waits for the other. Ends of the step take no time.
inline plan::Plan makePlan(const schedule::Schedule &order,
                           const schedule::Costs &costs) {
  using plan::Phase;
  using plan::StepKind;
  PlanBuilder builder(order.ranks.size());
  const bool isSplit = schedule::splitsBackwards(order);
  for (int64_t s = 0; s < order.problem.stages(); ++s) {
    const schedule::StageCosts &of = costs.stages[static_cast<size_t>(s)];
    builder.addStage(order.problem.rankOf(s), costs.localTransferNs);
    auto add = [&](Phase phase, int64_t ns) {
      const plan::Stream stream = phase == Phase::forward
                                      ? plan::Stream::compute
                                      : plan::Stream::expert_communication;
      builder.addProgram(s, phase,
                         {makeOp(ns / 4, stream), makeOp(ns - ns / 4, stream)});
    };
    add(Phase::forward, of.forwardNs);
    add(Phase::backward, of.inputGradNs + of.weightGradNs);
    if (isSplit) {
      add(Phase::backward_input, of.inputGradNs);
      add(Phase::weight_grad, of.weightGradNs);
    }
  }
  auto overlap = [&](size_t rank, const schedule::Step &step) {
    plan::Overlap both;
    both.members = {
        {{step.stage, step.phase}, {step.second.stage, step.second.phase}}};
    both.order = {0, 0, 1, 1};
    both.live.resize(both.order.size());
    auto &overlaps = builder.plan.ranks[rank].overlaps;
    overlaps.push_back(std::move(both));
    builder.overlap(static_cast<int64_t>(rank), std::ssize(overlaps) - 1,
                    step.microbatch, step.second.microbatch);
  };
  const schedule::StepSchedule steps = schedule::insertTransfers(order);
  for (size_t rank = 0; rank < steps.ranks.size(); ++rank)
    for (const schedule::Step &step : steps.ranks[rank])
      switch (step.kind) {
      case StepKind::run:
        builder.run(step.stage, step.microbatch, step.phase);
        break;
      case StepKind::overlap:
        overlap(rank, step);
        break;
      case StepKind::send:
        builder.send(step.stage, step.microbatch, step.phase, step.peer);
        break;
      case StepKind::receive:
        builder.receive(step.stage, step.microbatch, step.phase, step.peer);
        break;
      case StepKind::wait_send:
        builder.waitSend(step.stage, step.microbatch, step.phase, step.peer);
        break;
      default:
        break;
      }
  builder.plan.machine.linkLatencyNs = costs.transferNs;
  builder.plan.machine.localBytesPerSecond = 1e9;
  return std::move(builder.plan);
}

} // namespace moe
