//===- OrderSearch.h - orders of steps that suit budgets --------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/OrderedTrial.h"

#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace moe::driver {

/// What the account takes to be best for a budget.
Result<Chosen> chosenBy(const Chooser &chooser, const PlanBudget &budget,
                        optimize::Effort effort);

/// An order of steps, and what the account promises of its choices.
struct PromisedOrder {
  OrderedTrial ordered;
  int64_t excessBytes = 0; ///< Chosen::excessBytes
  int64_t stepNs = 0;      ///< Chosen::stepNs

  bool fits() const { return excessBytes == 0; }
};

/// Adds an order to others, best first; of those with as many weight gradients
/// waiting two are kept.
void addOrder(std::vector<PromisedOrder> &orders, OrderedTrial ordered,
              const Chosen &chosen);

/// Orders of steps for a schedule that goes by costs. An order made for stages
/// that keep everything need not suit those that fit: what an order saves by
/// late weight gradients it costs in what they hold till then. Tried are,
/// whatever the budget, orders for stages as they are given, for even ones and
/// halfway, with few to any number of weight gradients waiting; then, within a
/// budget and as long as that gives a better one, orders for what the best
/// choices cost. What it is made of must outlive it.
class OrderSearch {
public:
  OrderSearch(const Inputs &inputs, Compiler &compiler, OrderedTrial first);

  /// Those of several orders whose choices exceed the budget least, and then
  /// take least, by the account, as addOrder() keeps them. For other schedules
  /// the first alone, of which nothing is promised. Errors: nothing can be
  /// chosen for it.
  Result<std::vector<PromisedOrder>> findFor(const PlanBudget &budget);

  /// The same of those that are found for some budgets: for any, and for the
  /// next smaller ones of four significant bits, as long as these fit. Which
  /// they are changes little with the budget, so that a larger one does not
  /// lead to worse orders. Searches are made once.
  Result<std::vector<PromisedOrder>> findWithin(const PlanBudget &budget);

private:
  class Run;
  /// What an order was made for.
  struct Made {
    std::vector<schedule::StageCosts> stages;
    int64_t mostPending = 0;
    std::optional<OrderedTrial> ordered; ///< none: there is no such order
  };

  /// The order for such stages; null: there is none.
  const OrderedTrial *orderFor(const std::vector<schedule::StageCosts> &stages,
                               int64_t mostPending);

  const Inputs &inputs;
  Compiler &compiler;
  const OrderedTrial start;
  std::deque<Made> made;
  std::map<int64_t, std::vector<PromisedOrder>> found; ///< by budget
};

} // namespace moe::driver
