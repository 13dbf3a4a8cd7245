//===- Trials.h - plans of one schedule -------------------------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Compile.h"

namespace moe::driver {

/// What chooses for a trial, by the blocks that `compiler` has measured. Where
/// the schedule goes by costs and the trial says none, it gets those of the cut
/// with everything kept: choices are made for one order of steps, which has to
/// stay. `like`: null, or what chooses for the same schedule with other costs.
/// Errors: pins and stages that the model does not admit.
Result<Chooser> makeChooser(const Inputs &inputs, Compiler &compiler,
                            Trial &trial, const Chooser *like = nullptr);

/// The plan of a trial, with what the request leaves to the planner; where
/// nothing fits, the one that needs least. The search over orders of steps goes
/// by what stages keep: it is given choices. Schedules that go by costs are
/// made again for what the stages of a plan cost, as long as that gives a
/// better one. `writes`: the files that were asked for besides the plan.
Result<PlanAnswer> planTrial(const Inputs &inputs, Compiler &compiler,
                             const Trial &trial, bool writes);

} // namespace moe::driver
