//===- TrialPlanner.cpp - plans of what a trial leaves to the planner -----===//

#include "driver/TrialPlanner.h"

#include "compiler/Cost/StageCosts.h"

#include <utility>

namespace moe::driver {

/// For schedules that go by costs: orders of steps that drafts are made for, of
/// those that were found; and with those that are made for what the plan costs.
static constexpr int kMostOrders = 3;
/// Of a step, what another order has to promise.
static constexpr int64_t kWorthAnOrder = 4096;
/// Of a promise, what more it has to have taken for another order that differs
/// by little to be tried.
static constexpr int64_t kBadLuck = 64;

/// Whether drafts are to be made for an order as well.
static bool isWorthIt(const PromisedOrder &order, const OrderedPlan &known) {
  return order.excessBytes == 0 &&
         order.stepNs <
             known.made.accountNs - known.made.accountNs / kWorthAnOrder;
}

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

Result<Prepared> TrialPlanner::prepare(OrderedTrial first,
                                       bool isOneOfMany) const {
  if (budget.wholeBytes <= budget.reserveBytes)
    return Prepared{first, {{first, 0, 0}}};
  Result<std::vector<PromisedOrder>> orders =
      findOrders(inputs, compiler, budget, first, isOneOfMany);
  if (!orders)
    return orders.error();
  return Prepared{std::move(first), std::move(*orders)};
}

Result<std::optional<PlanAnswer>>
TrialPlanner::fitting(const Prepared &prepared) const {
  if (budget.wholeBytes <= budget.reserveBytes)
    return std::optional<PlanAnswer>();
  if (!prepared.first.goesByCosts()) {
    Result<std::optional<ChosenPlan>> only = choose(prepared.first, writes);
    if (!only)
      return only.error();
    return *only ? std::optional(std::move((*only)->answer)) : std::nullopt;
  }
  Result<std::optional<PlanAnswer>> fitting = chooseAmong(prepared.orders);
  if (!fitting || *fitting)
    return fitting;
  // What suits less may have room for what fits.
  PlanBudget smaller = budget;
  smaller.wholeBytes -= budget.wholeBytes / kSmaller;
  Result<std::vector<PromisedOrder>> orders =
      findOrders(inputs, compiler, smaller, prepared.first);
  if (!orders)
    return orders.error();
  return chooseAmong(std::move(*orders));
}

Result<std::optional<PlanAnswer>>
TrialPlanner::chooseAmong(std::vector<PromisedOrder> orders) const {
  std::optional<OrderedPlan> best;
  for (int round = 0; round < kMostOrders && !orders.empty(); ++round) {
    const PromisedOrder next = std::move(orders.front());
    orders.erase(orders.begin());
    if (best && !isWorthIt(next, *best))
      break;
    Result<std::optional<ChosenPlan>> fitting = choose(next.ordered, false);
    if (!fitting)
      return fitting.error();
    if (!*fitting && !best)
      break; // a smaller budget leads to orders that hold less
    if (!*fitting)
      continue;
    // What drafts say of one holds for those that are like it, unless it was
    // bad luck.
    if ((*fitting)->accountNs <= next.stepNs + next.stepNs / kBadLuck)
      std::erase_if(orders, [&](const PromisedOrder &order) {
        return order.ordered.trial.mostPending ==
               next.ordered.trial.mostPending;
      });
    if (!best || isBetter((*fitting)->answer.plan, best->made.answer.plan))
      best = {std::move(**fitting), next.ordered};
  }
  if (!best)
    return std::optional<PlanAnswer>();
  reorder(*best);
  if (writes)
    if (Result<std::optional<ChosenPlan>> written = choose(best->ordered, true);
        !written)
      return written.error();
  tellOrder(best->ordered, best->made.answer.plan);
  return std::optional(std::move(best->made.answer));
}

void TrialPlanner::reorder(OrderedPlan &best) const {
  for (int round = 1; round < kMostOrders; ++round) {
    Trial next = best.ordered.trial;
    next.costs = costsOf(best.made.answer.plan, next.costs.transferNs);
    Result<OrderedTrial> other =
        orderBy(inputs, compiler, std::move(next), best.ordered.chooser.get());
    if (!other || other->chooser->steps() == best.ordered.chooser->steps())
      break;
    Result<Chosen> promised =
        chosenBy(*other->chooser, budget, optimize::Effort::fast);
    if (!promised ||
        promised->stepNs >= best.made.answer.plan.prediction.stepNs)
      break;
    Result<std::optional<ChosenPlan>> again = choose(*other, false);
    if (!again || !*again ||
        !isBetter((*again)->answer.plan, best.made.answer.plan))
      break;
    best = {std::move(**again), std::move(*other)};
  }
}

Result<PlanAnswer> TrialPlanner::least(const OrderedTrial &first) const {
  Result<OrderedTrial> ordered = leastOrder(first);
  if (!ordered)
    return ordered.error();
  Result<PlanAnswer> answer = leastPlan(ordered->chooser, budget, writes,
                                        draftsOf(*ordered), onProgress);
  if (answer)
    tellOrder(*ordered, answer->plan);
  return answer;
}

Result<int64_t> TrialPlanner::leastArenaBytes(const OrderedTrial &first) const {
  Result<OrderedTrial> ordered = leastOrder(first);
  if (!ordered)
    return ordered.error();
  return driver::leastArenaBytes(ordered->chooser, budget, draftsOf(*ordered));
}

Result<OrderedTrial> TrialPlanner::leastOrder(const OrderedTrial &first) const {
  PlanBudget none = budget;
  none.wholeBytes = 0;
  Result<std::vector<PromisedOrder>> orders =
      findOrders(inputs, compiler, none, first);
  if (!orders)
    return orders.error();
  return std::move(orders->front().ordered);
}

Result<std::optional<ChosenPlan>>
TrialPlanner::choose(const OrderedTrial &ordered, bool writesFiles) const {
  // Of an order that was made for the budget, nothing is known of smaller ones.
  const bool triesSmaller =
      ordered.chooser->effort() == optimize::Effort::exact ||
      !ordered.goesByCosts();
  return choosePlan(ordered.chooser, budget, triesSmaller, writesFiles,
                    draftsOf(ordered), onProgress);
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
