//===- Trials.cpp - plans of one schedule ---------------------------------===//

#include "driver/Trials.h"

#include "compiler/Cost/StageCosts.h"
#include "driver/OrderSearch.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace moe::driver {

namespace {

Decided decidedBy(const Inputs &inputs) {
  const PlanRequest &request = inputs.request;
  return {inputs.layers, request.recompute == kAuto ? "" : request.recompute,
          request.offload == kAuto ? "" : request.offload};
}

/// For schedules that go by costs: orders of steps that choices are made for,
/// each by what the choices before it cost.
constexpr int kMostOrders = 3;

/// What the stages of a plan cost its schedule.
schedule::Costs costsOf(const plan::Plan &plan, int64_t transferNs) {
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

/// Plans of the choices that a request leaves to the planner.
class TrialPlanner {
public:
  TrialPlanner(const Inputs &inputs, Compiler &compiler, bool writes)
      : inputs(inputs), compiler(compiler), budget(budgetOf(inputs)),
        // A search over schedules tells of these.
        onProgress(inputs.request.schedule == kAuto
                       ? OnProgress()
                       : inputs.request.onProgress),
        writes(writes && (!inputs.request.irPath.empty() ||
                          !inputs.request.schedulePath.empty())) {}

  Result<PlanAnswer> run(const Trial &trial) {
    Result<OrderedTrial> first = orderBy(inputs, compiler, trial, nullptr);
    if (!first)
      return first.error();
    if (budget.wholeBytes <= budget.reserveBytes)
      return least(std::move(*first));
    OrderedTrial ordered = *first;
    MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, budget, ordered));
    const bool isOnlyOrder = !ordered.goesByCosts();
    Result<std::optional<PlanAnswer>> fitting =
        choose(ordered, writes && isOnlyOrder);
    // What suits less may have room for what fits.
    if (fitting && !*fitting && !isOnlyOrder) {
      PlanBudget smaller = budget;
      smaller.wholeBytes -= budget.wholeBytes / kSmaller;
      ordered = *first;
      MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, smaller, ordered));
      fitting = choose(ordered, false);
    }
    if (!fitting)
      return fitting.error();
    if (!*fitting)
      return least(std::move(*first));
    PlanAnswer answer = std::move(**fitting);
    if (isOnlyOrder)
      return answer;
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
    return answer;
  }

private:
  Result<std::optional<PlanAnswer>> choose(const OrderedTrial &ordered,
                                           bool writesFiles) {
    return choosePlan(ordered.chooser, budget, writesFiles, draftsOf(ordered),
                      onProgress);
  }

  /// Whatever the budget, this is the same plan: where it says that a budget is
  /// enough, it is.
  Result<PlanAnswer> least(OrderedTrial ordered) {
    PlanBudget none = budget;
    none.wholeBytes = 0;
    MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, none, ordered));
    Result<PlanAnswer> answer = leastPlan(ordered.chooser, budget, writes,
                                          draftsOf(ordered), onProgress);
    if (answer)
      tellOrder(ordered, answer->plan);
    return answer;
  }

  void tellOrder(const OrderedTrial &ordered, plan::Plan &plan) const {
    if (!ordered.goesByCosts())
      return;
    const int64_t pending = mostPendingOf(inputs.request, ordered.trial);
    plan.assumptions.push_back(
        {"schedule.pending_weight_grads",
         pending == schedule::kAnyPending ? "any" : std::to_string(pending),
         "how many weight gradients of a rank may wait while it begins another "
         "action, chosen by the planner"});
  }

  MakeDraft draftsOf(const OrderedTrial &ordered) {
    return [this, &ordered](const Chosen &chosen, int64_t budgetBytes,
                            bool isAnswer) {
      Decided decided = decidedBy(inputs);
      decided.layers = chosen.layers;
      if (inputs.request.recompute == kAuto)
        decided.recompute = chosen.recompute;
      if (inputs.request.offload == kAuto)
        decided.offload = chosen.offload;
      return compiler.draft(ordered.trial, decided, budgetBytes, isAnswer);
    };
  }

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget budget;
  const OnProgress onProgress;
  const bool writes; ///< files besides the plan
};

} // namespace

Result<PlanAnswer> planTrial(const Inputs &inputs, Compiler &compiler,
                             const Trial &trial, bool writes) {
  if (leavesChoices(inputs.request) && trial.schedule != kAuto)
    return TrialPlanner(inputs, compiler, writes).run(trial);
  Decided decided = decidedBy(inputs);
  if (inputs.request.recompute == kAuto)
    decided.recompute = trial.recompute;
  if (inputs.request.offload == kAuto)
    decided.offload = trial.offload;
  Result<Draft> draft =
      compiler.draft(trial, decided, inputs.budgetBytes, writes);
  return draft ? draft->finish() : Result<PlanAnswer>(draft.error());
}

} // namespace moe::driver
