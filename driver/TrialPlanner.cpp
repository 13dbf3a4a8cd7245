//===- TrialPlanner.cpp - plans of what a trial leaves to the planner -----===//

#include "driver/TrialPlanner.h"

#include "compiler/Cost/StageCosts.h"
#include "driver/OrderSearch.h"

#include <utility>

namespace moe::driver {

/// For schedules that go by costs: orders of steps that choices are made for,
/// each by what the choices before it cost.
static constexpr int kMostOrders = 3;

/// What the stages of a plan cost its schedule.
static schedule::Costs costsOf(const plan::Plan &plan, int64_t transferNs) {
  schedule::Costs costs;
  costs.transferNs = transferNs;
  for (const plan::Stage &stage : plan.stages)
    costs.stages.push_back(cost::stageCosts(stage));
  return costs;
}

PlanBudget budgetOf(const Inputs &inputs) {
  return {inputs.budgetBytes, inputs.machine.reserveBytes,
          inputs.machine.hostMemoryBytes};
}

Decided decidedBy(const Inputs &inputs) {
  const PlanRequest &request = inputs.request;
  return {inputs.layers, request.recompute == kAuto ? "" : request.recompute,
          request.offload == kAuto ? "" : request.offload};
}

TrialPlanner::TrialPlanner(const Inputs &inputs, Compiler &compiler,
                           bool writes, OnProgress onProgress)
    : inputs(inputs), compiler(compiler), budget(budgetOf(inputs)),
      onProgress(std::move(onProgress)),
      writes(writes && (!inputs.request.irPath.empty() ||
                        !inputs.request.schedulePath.empty())) {}

Result<Prepared> TrialPlanner::prepare(OrderedTrial first) const {
  Prepared prepared{first, std::move(first)};
  if (budget.wholeBytes > budget.reserveBytes)
    MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, budget, prepared.ordered));
  return prepared;
}

Result<std::optional<PlanAnswer>>
TrialPlanner::fitting(const Prepared &prepared) const {
  if (budget.wholeBytes <= budget.reserveBytes)
    return std::optional<PlanAnswer>();
  OrderedTrial ordered = prepared.ordered;
  const bool isOnlyOrder = !ordered.goesByCosts();
  Result<std::optional<PlanAnswer>> fitting =
      choose(ordered, writes && isOnlyOrder);
  // What suits less may have room for what fits.
  if (fitting && !*fitting && !isOnlyOrder) {
    PlanBudget smaller = budget;
    smaller.wholeBytes -= budget.wholeBytes / kSmaller;
    ordered = prepared.first;
    MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, smaller, ordered));
    fitting = choose(ordered, false);
  }
  if (!fitting || !*fitting || isOnlyOrder)
    return fitting;
  PlanAnswer answer = std::move(**fitting);
  // Choices are made for an order of steps, and this for what stages cost.
  for (int round = 1; round < kMostOrders; ++round) {
    Trial next = ordered.trial;
    next.costs = costsOf(answer.plan, next.costs.transferNs);
    Result<OrderedTrial> other =
        orderBy(inputs, compiler, std::move(next), ordered.chooser.get());
    if (!other || other->chooser->steps() == ordered.chooser->steps())
      break;
    Result<Chosen> promised =
        chosenBy(*other->chooser, budget, optimize::Effort::fast);
    if (!promised || promised->stepNs >= answer.plan.prediction.stepNs)
      break;
    Result<std::optional<PlanAnswer>> again = choose(*other, false);
    if (!again || !*again || !isBetter((*again)->plan, answer.plan))
      break;
    answer = std::move(**again);
    ordered = std::move(*other);
  }
  if (writes)
    if (Result<std::optional<PlanAnswer>> written = choose(ordered, true);
        !written)
      return written.error();
  tellOrder(ordered, answer.plan);
  return std::optional(std::move(answer));
}

Result<PlanAnswer> TrialPlanner::least(const Prepared &prepared) const {
  Result<OrderedTrial> ordered = leastOrder(prepared);
  if (!ordered)
    return ordered.error();
  Result<PlanAnswer> answer = leastPlan(ordered->chooser, budget, writes,
                                        draftsOf(*ordered), onProgress);
  if (answer)
    tellOrder(*ordered, answer->plan);
  return answer;
}

Result<int64_t> TrialPlanner::leastArenaBytes(const Prepared &prepared) const {
  Result<OrderedTrial> ordered = leastOrder(prepared);
  if (!ordered)
    return ordered.error();
  return driver::leastArenaBytes(ordered->chooser, budget, draftsOf(*ordered));
}

Result<OrderedTrial> TrialPlanner::leastOrder(const Prepared &prepared) const {
  OrderedTrial ordered = prepared.first;
  PlanBudget none = budget;
  none.wholeBytes = 0;
  MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, none, ordered));
  return ordered;
}

Result<std::optional<PlanAnswer>>
TrialPlanner::choose(const OrderedTrial &ordered, bool writesFiles) const {
  return choosePlan(ordered.chooser, budget, writesFiles, draftsOf(ordered),
                    onProgress);
}

void TrialPlanner::tellOrder(const OrderedTrial &ordered,
                             plan::Plan &plan) const {
  if (!ordered.goesByCosts())
    return;
  const int64_t pending = mostPendingOf(inputs.request, ordered.trial);
  plan.assumptions.push_back(
      {"schedule.pending_weight_grads",
       pending == schedule::kAnyPending ? "any" : std::to_string(pending),
       "how many weight gradients of a rank may wait while it begins another "
       "action, chosen by the planner"});
}

MakeDraft TrialPlanner::draftsOf(const OrderedTrial &ordered) const {
  return [this, &ordered](const Chosen &chosen, int64_t budgetBytes,
                          bool isAnswer) {
    Decided decided = decidedBy(inputs);
    decided.layers = chosen.layers;
    if (inputs.request.recompute == kAuto)
      decided.recompute = chosen.recompute;
    if (inputs.request.offload == kAuto)
      decided.offload = chosen.offload;
    return compiler.draft(ordered.settled(), decided, budgetBytes, isAnswer);
  };
}

} // namespace moe::driver
