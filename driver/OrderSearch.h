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

/// For schedules that go by costs: makes `best` the one of several orders of
/// steps whose choices exceed the budget least, and then take least, by the
/// account. An order made for stages that keep everything need not suit those
/// that fit: what an order saves by late weight gradients it costs in what they
/// hold till then. Tried are, whatever the budget, orders for stages as they
/// are given, for even ones and halfway, with few to any number of weight
/// gradients waiting; then, within a budget and as long as that gives a better
/// one, orders for what the best choices cost.
Status findOrder(const Inputs &inputs, Compiler &compiler,
                 const PlanBudget &budget, OrderedTrial &best);

} // namespace moe::driver
