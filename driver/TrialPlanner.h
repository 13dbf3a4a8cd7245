//===- TrialPlanner.h - plans of what a trial leaves to it ------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/BudgetStep.h"
#include "driver/OrderSearch.h"

#include <memory>
#include <optional>
#include <vector>

namespace moe::driver {

/// What may be used, by the inputs.
PlanBudget budgetOf(const Inputs &inputs);

/// What the request itself decides.
Decided decidedBy(const Inputs &inputs);

/// A trial with the order of steps that its costs give at first, and with those
/// that suit the budget, best first; with none that could, the first is all.
struct Prepared {
  OrderedTrial first;
  std::vector<PromisedOrder> orders;
  /// What finds those for smaller budgets; null: these are all.
  std::shared_ptr<OrderSearch> search = nullptr;
};

/// A plan of choices for an order of steps.
struct OrderedPlan {
  ChosenPlan made;
  OrderedTrial ordered;
  PlanBudget used; ///< that it was made for

  int64_t stepNs() const { return made.stepNs(); }
};

/// Plans of the choices that a request leaves to the planner. What it is made
/// of must outlive it.
class TrialPlanner {
public:
  /// `writes`: files besides the plan; `onProgress` may be empty.
  TrialPlanner(const Inputs &inputs, Compiler &compiler, bool writes,
               OnProgress onProgress);

  /// `first`: as orderBy() makes it. Several may be prepared at the same time,
  /// if they share nothing. Errors: nothing can be chosen for it.
  /// `isOneOfMany`: other schedules are weighed as well, and this one is to
  /// take less time.
  Result<Prepared> prepare(OrderedTrial first, bool isOneOfMany = false) const;
  /// The quickest that fits; none: nothing was found to.
  Result<std::optional<PlanAnswer>> fitting(const Prepared &prepared) const;
  /// What needs least: whatever the budget, the same plan. Where it says that a
  /// budget is enough, it is.
  Result<PlanAnswer> least(const OrderedTrial &first) const;
  /// What is enough for that plan and soon found, reserve left out.
  Result<int64_t> leastArenaBytes(const OrderedTrial &first) const;

private:
  /// The order of steps for as little memory as can be.
  Result<OrderedTrial> leastOrder(const OrderedTrial &first) const;
  Result<std::optional<ChosenPlan>> choose(const OrderedTrial &ordered,
                                           const PlanBudget &used,
                                           bool writesFiles) const;
  /// The same for the best of some orders, then for others of them that
  /// promise more than what was found; takes what is quicker than `best`.
  Status chooseAmong(std::vector<PromisedOrder> orders, const PlanBudget &used,
                     std::optional<OrderedPlan> &best) const;
  /// For the largest budget of eight significant bits, then for the next
  /// smaller ones as long as they promise a quicker plan than the best: of two
  /// budgets the larger one then never gives a slower plan, as far as the
  /// account can be trusted, and the orders that are found.
  Status descend(const Prepared &prepared,
                 std::optional<OrderedPlan> &best) const;
  /// `orders`: for more memory, of which some promise more than `best`.
  bool isPromising(const std::vector<PromisedOrder> &orders,
                   const PlanBudget &used, const OrderedPlan &best) const;
  /// The largest of eight significant bits within the budget.
  BudgetStep firstStep() const;
  /// The budget, of which only so much is used.
  PlanBudget partOf(int64_t wholeBytes) const;
  void tellOrder(const OrderedTrial &ordered, plan::Plan &plan) const;
  MakeDraft draftsOf(const OrderedTrial &ordered) const;

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget budget;
  const OnProgress onProgress;
  const bool writes;
};

} // namespace moe::driver
