//===- TrialPlanner.h - plans of what a trial leaves to it ------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/OrderSearch.h"

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
};

/// A plan of choices for an order of steps.
struct OrderedPlan {
  ChosenPlan made;
  OrderedTrial ordered;
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
  /// `isOneOfMany`: see findOrders().
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
                                           bool writesFiles) const;
  /// The same for the best of some orders, then for others of them that
  /// promise more than what was found.
  Result<std::optional<PlanAnswer>>
  chooseAmong(std::vector<PromisedOrder> orders) const;
  /// Choices are made for an order of steps, and this for what stages cost:
  /// as long as the one that is made for those of the plan gives a better one.
  void reorder(OrderedPlan &best) const;
  void tellOrder(const OrderedTrial &ordered, plan::Plan &plan) const;
  MakeDraft draftsOf(const OrderedTrial &ordered) const;

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget budget;
  const OnProgress onProgress;
  const bool writes;
};

} // namespace moe::driver
