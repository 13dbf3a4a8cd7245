//===- Report.h - a plan as one page to look at -----------------*- C++ -*-===//
#pragma once

#include "compiler/Simulate/Simulate.h"
#include "runtime/Plan/Plan.h"
#include "support/Result.h"

#include <string>

namespace moe::report {

/// One self-contained HTML page (no network): the pipeline as a Gantt chart
/// down to ops, memory over time by class, ranks, the critical path and the
/// plan's decisions and assumptions. `timeline` is the simulation of `plan`;
/// it needs no detail, since the page unfolds each program's ops itself. Its
/// size grows with steps and with the ops of programs, not with their product.
/// Errors: a timeline of another plan.
Result<std::string> htmlReport(const plan::Plan &plan,
                               const simulate::Timeline &timeline);

} // namespace moe::report
