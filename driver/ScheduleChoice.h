//===- ScheduleChoice.h - the schedule that suits choices -------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Compile.h"

namespace moe::driver {

/// The plan of schedule "auto" where something else is left to the planner as
/// well: of every published schedule that keeps one copy of the model, and of
/// orders that a search finds for what choices cost, the best that fits by what
/// the plans say. Orders are tried by what the account promises of them, as
/// long as that is not longer than the best plan. `writes`: the files that were
/// asked for besides the plan. The error is that of the first order where
/// none can be planned.
Result<PlanAnswer> chooseSchedule(const Inputs &inputs, Compiler &compiler,
                                  bool writes);

} // namespace moe::driver
