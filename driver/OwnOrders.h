//===- OwnOrders.h - orders of steps beyond the published ones --*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Search.h"
#include "driver/OrderedTrial.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moe::driver {

/// An order of steps, and what the account promises of it within a budget.
struct Candidate {
  OrderedTrial ordered;
  Chosen promised;    ///< by brief effort
  std::string origin; ///< where the order is from, for users

  /// What choices exceed the budget by, and what they take: the less, the
  /// better.
  std::pair<int64_t, int64_t> value() const {
    return {promised.excessBytes, promised.stepNs};
  }
};

/// Errors: nothing can be chosen for the order.
Result<Candidate> candidateOf(OrderedTrial ordered, const PlanBudget &budget,
                              std::string origin);

/// What the stages of a candidate cost a search over orders: what its choices
/// take, pairs of a rank that overlap included where backwards are whole, and
/// the memory of each rank that actions may hold, which is what the budget
/// leaves beside all else that the account counts.
Result<schedule::Structure> structureOf(const Inputs &inputs,
                                        Compiler &compiler,
                                        const PlanBudget &budget,
                                        const Candidate &candidate);

/// For each seed an order that the search finds for what its choices cost, then
/// one for what the choices for that cost, and so on while the account promises
/// better ones; the seed itself where none is better. What is searched for
/// different seeds at the same time must share nothing (Chooser::make()).
std::vector<Candidate> searchFrom(const Inputs &inputs, Compiler &compiler,
                                  const PlanBudget &budget,
                                  std::vector<Candidate> seeds);

/// The order of `split` with every backward in one.
Result<Candidate> withWholeBackwards(const Inputs &inputs, Compiler &compiler,
                                     const PlanBudget &budget,
                                     const Candidate &split);

/// Where no published schedule has the stages that the inputs ask for: what the
/// search finds for them if all take the same.
Result<Candidate> searchForUnitCosts(const Inputs &inputs, Compiler &compiler,
                                     const PlanBudget &budget);

} // namespace moe::driver
