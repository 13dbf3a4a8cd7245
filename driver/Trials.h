//===- Trials.h - plans of one schedule -------------------------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Compile.h"

namespace moe::driver {

/// The plan of a trial, with what the request leaves to the planner; where
/// nothing fits, the one that needs least. Schedules that go by costs are made
/// again for what the stages of a plan cost, as long as that gives a better
/// one. `writes`: the files that were asked for besides the plan.
Result<PlanAnswer> planTrial(const Inputs &inputs, Compiler &compiler,
                             const Trial &trial, bool writes);

/// A budget in bytes, reserve included, that is enough for the plan that needs
/// least, or where the request leaves nothing to the planner, for its plan: of
/// one draft.
Result<int64_t> leastBudgetOf(const Inputs &inputs, Compiler &compiler,
                              const Trial &trial);

} // namespace moe::driver
