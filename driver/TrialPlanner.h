//===- TrialPlanner.h - plans of what a trial leaves to it ------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/OrderedTrial.h"

#include <optional>

namespace moe::driver {

/// What may be used, by the inputs.
PlanBudget budgetOf(const Inputs &inputs);

/// What the request itself decides.
Decided decidedBy(const Inputs &inputs);

/// A trial with the order of steps that its costs give at first, and with the
/// one that suits the budget.
struct Prepared {
  OrderedTrial first, ordered;
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
  Result<Prepared> prepare(OrderedTrial first) const;
  /// The quickest that fits; none: nothing was found to.
  Result<std::optional<PlanAnswer>> fitting(const Prepared &prepared) const;
  /// What needs least: whatever the budget, the same plan. Where it says that a
  /// budget is enough, it is.
  Result<PlanAnswer> least(const Prepared &prepared) const;
  /// What is enough for that plan and soon found, reserve left out.
  Result<int64_t> leastArenaBytes(const Prepared &prepared) const;

private:
  /// The order of steps for as little memory as can be.
  Result<OrderedTrial> leastOrder(const Prepared &prepared) const;
  Result<std::optional<PlanAnswer>> choose(const OrderedTrial &ordered,
                                           bool writesFiles) const;
  void tellOrder(const OrderedTrial &ordered, plan::Plan &plan) const;
  MakeDraft draftsOf(const OrderedTrial &ordered) const;

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget budget;
  const OnProgress onProgress;
  const bool writes;
};

} // namespace moe::driver
