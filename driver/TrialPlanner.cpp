//===- TrialPlanner.cpp - plans of what a trial leaves to the planner -----===//

#include "driver/TrialPlanner.h"

#include <algorithm>
#include <utility>

namespace moe::driver {

/// For schedules that go by costs: orders of steps that drafts are made for, of
/// those that were found.
static constexpr int kMostOrders = 3;
/// Of a step, what another order, or a smaller budget, has to promise.
static constexpr int64_t kWorthAnOrder = 4096;
/// Of a promise, what more it has to have taken for another order that differs
/// by little to be tried.
static constexpr int64_t kBadLuck = 64;
/// Budgets that are tried one below the other.
static constexpr int kMostBudgets = 8;

/// Whether a promise is worth drafts beside what is known.
static bool isWorthIt(int64_t promisedNs, int64_t knownNs) {
  return promisedNs < knownNs - knownNs / kWorthAnOrder;
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
  auto search = std::make_shared<OrderSearch>(inputs, compiler, first);
  Result<std::vector<PromisedOrder>> orders =
      isOneOfMany ? search->findFor(budget)
                  : search->findWithin(partOf(firstStep().bytes()));
  if (!orders)
    return orders.error();
  return Prepared{std::move(first), std::move(*orders),
                  isOneOfMany ? nullptr : std::move(search)};
}

Result<std::optional<PlanAnswer>>
TrialPlanner::fitting(const Prepared &prepared) const {
  if (budget.wholeBytes <= budget.reserveBytes)
    return std::optional<PlanAnswer>();
  if (!prepared.first.goesByCosts()) {
    Result<std::optional<ChosenPlan>> only =
        choose(prepared.first, budget, writes);
    if (!only)
      return only.error();
    return *only ? std::optional(std::move((*only)->answer)) : std::nullopt;
  }
  std::optional<OrderedPlan> best;
  MOE_RETURN_IF_ERROR(prepared.search
                          ? descend(prepared, best)
                          : chooseAmong(prepared.orders, budget, best));
  if (!best) {
    // What suits less may have room for what fits.
    OrderSearch search(inputs, compiler, prepared.first);
    for (int64_t less : {int64_t{0}, budget.wholeBytes / kSmaller}) {
      Result<std::vector<PromisedOrder>> orders =
          search.findFor(partOf(budget.wholeBytes - less));
      if (!orders)
        return orders.error();
      MOE_RETURN_IF_ERROR(chooseAmong(std::move(*orders), budget, best));
      if (best)
        break;
    }
  }
  if (!best)
    return std::optional<PlanAnswer>();
  if (writes)
    if (Result<std::optional<ChosenPlan>> written =
            choose(best->ordered, best->used, true);
        !written)
      return written.error();
  tellOrder(best->ordered, best->made.answer.plan);
  return std::optional(std::move(best->made.answer));
}

BudgetStep TrialPlanner::firstStep() const {
  return BudgetStep::within(budget.wholeBytes)
      .roundedDown(BudgetStep::kOfEightBits);
}

PlanBudget TrialPlanner::partOf(int64_t wholeBytes) const {
  PlanBudget used = budget;
  used.givenBytes = budget.toldBytes();
  used.wholeBytes = wholeBytes;
  return used;
}

Status TrialPlanner::descend(const Prepared &prepared,
                             std::optional<OrderedPlan> &best) const {
  std::vector<PromisedOrder> orders = prepared.orders;
  BudgetStep step = firstStep();
  // Effort::exact goes down by itself, with each order.
  const int most = prepared.first.chooser->effort() == optimize::Effort::exact
                       ? 1
                       : kMostBudgets;
  for (int budgets = 0; budgets < most; ++budgets) {
    const PlanBudget used = partOf(step.bytes());
    if (budgets > 0) {
      if (!isPromising(orders, used, *best))
        break;
      Result<std::vector<PromisedOrder>> found =
          prepared.search->findWithin(used);
      if (!found)
        return found.error();
      orders = std::move(*found);
    }
    MOE_RETURN_IF_ERROR(chooseAmong(orders, used, best));
    step.index -= BudgetStep::kOfEightBits;
    if (!best || step.index < 0 || step.bytes() <= budget.reserveBytes)
      break;
  }
  return {};
}

bool TrialPlanner::isPromising(const std::vector<PromisedOrder> &orders,
                               const PlanBudget &used,
                               const OrderedPlan &best) const {
  const int64_t knownNs = best.stepNs();
  // With less memory none promises more than it does with more.
  for (const PromisedOrder &each : orders) {
    if (!each.fits() || !isWorthIt(each.stepNs, knownNs))
      break;
    Result<Chosen> chosen =
        chosenBy(*each.ordered.chooser, used, optimize::Effort::brief);
    if (chosen && chosen->fits() && isWorthIt(chosen->stepNs, knownNs))
      return true;
  }
  return false;
}

Status TrialPlanner::chooseAmong(std::vector<PromisedOrder> orders,
                                 const PlanBudget &used,
                                 std::optional<OrderedPlan> &best) const {
  std::optional<int64_t> ownNs; // of the quickest of these
  for (int round = 0; round < kMostOrders && !orders.empty(); ++round) {
    const PromisedOrder next = std::move(orders.front());
    orders.erase(orders.begin());
    if (ownNs && (!next.fits() || !isWorthIt(next.stepNs, *ownNs)))
      break;
    Result<std::optional<ChosenPlan>> fitting =
        choose(next.ordered, used, false);
    if (!fitting)
      return fitting.error();
    if (!*fitting && !ownNs)
      break; // a smaller budget leads to orders that hold less
    if (!*fitting)
      continue;
    // What drafts say of one holds for those that are like it, unless it was
    // bad luck.
    const int64_t stepNs = (*fitting)->stepNs();
    if (stepNs <= next.stepNs + next.stepNs / kBadLuck)
      std::erase_if(orders, [&](const PromisedOrder &order) {
        return order.ordered.trial.mostPending ==
               next.ordered.trial.mostPending;
      });
    ownNs = std::min(ownNs.value_or(stepNs), stepNs);
    if (!best || isBetter((*fitting)->answer.plan, best->made.answer.plan))
      best = {std::move(**fitting), next.ordered, used};
  }
  return {};
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
      OrderSearch(inputs, compiler, first).findFor(none);
  if (!orders)
    return orders.error();
  return std::move(orders->front().ordered);
}

Result<std::optional<ChosenPlan>>
TrialPlanner::choose(const OrderedTrial &ordered, const PlanBudget &used,
                     bool writesFiles) const {
  // For an order that goes by costs, smaller ones are tried with others.
  const bool triesSmaller =
      ordered.chooser->effort() == optimize::Effort::exact ||
      !ordered.goesByCosts();
  return choosePlan(ordered.chooser, used, triesSmaller, writesFiles,
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
