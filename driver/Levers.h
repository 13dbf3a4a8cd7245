//===- Levers.h - what would fit where a plan does not ----------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Driver.h"

namespace moe::driver {

/// The smallest budget that `plan` fits, reserve included.
int64_t leastBudget(const plan::Plan &plan);

/// The same, with the optimizer state of every parameter sharded over the ranks
/// that hold the parameter: dense ones over ep * dp, experts over dp. An
/// account of the plan's own buffers; how they would be laid out is not
/// planned.
int64_t leastBudgetWithShardedOptimizer(const plan::Plan &plan);

/// Adds to the assumptions of `plan`, which does not fit: the budget that it
/// would fit, with the rank and op that need it, as `policies.least_budget`;
/// and where the request asks for levers, one `policies.lever.*` for each
/// change of the request that the model admits, with the least budget of the
/// plan that is drafted of it, if that is less. Sizes are rounded up:
/// planning with what is printed fits.
void describeLeastBudget(const PlanRequest &request, plan::Plan &plan);

} // namespace moe::driver
