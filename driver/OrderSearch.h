//===- OrderSearch.h - the order of steps that suits a budget ---*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/OrderedTrial.h"

namespace moe::driver {

/// What the account takes to be best for a budget.
Result<Chosen> chosenBy(const Chooser &chooser, const PlanBudget &budget,
                        optimize::Effort effort);

/// An order of steps, and what the account promises of its choices.
struct PromisedOrder {
  OrderedTrial ordered;
  int64_t excessBytes = 0; ///< Chosen::excessBytes
  int64_t stepNs = 0;      ///< Chosen::stepNs
};

/// Adds an order to others, best first; of those with as many weight gradients
/// waiting two are kept.
void addOrder(std::vector<PromisedOrder> &orders, OrderedTrial ordered,
              const Chosen &chosen);

/// For schedules that go by costs: those of several orders of steps whose
/// choices exceed the budget least, and then take least, by the account, as
/// addOrder() keeps them. An order made for stages that keep everything need
/// not suit those that fit: what an order saves by late weight gradients it
/// costs in what they hold till then. Tried are, whatever the budget, orders
/// for stages as they are given, for even ones and halfway, with few to any
/// number of weight gradients waiting; then, within a budget and as long as
/// that gives a better one, orders for what the best choices cost. For other
/// schedules `first` alone, of which nothing is promised. `isOneOfMany`: other
/// schedules are weighed as well, and this one is to take less time. Errors:
/// nothing can be chosen for it.
Result<std::vector<PromisedOrder>>
findOrders(const Inputs &inputs, Compiler &compiler, const PlanBudget &budget,
           const OrderedTrial &first, bool isOneOfMany = false);

} // namespace moe::driver
