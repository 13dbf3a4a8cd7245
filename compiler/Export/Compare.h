//===- Compare.h - two plans side by side -----------------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>

namespace moe::report {

/// What `moe-plan compare` prints: the inputs in which the plans differ; step
/// time, bubble, exposed communication, utilization and throughput of both; per
/// rank layers, arena, margin and peak of both where they differ. Ranks are
/// compared by number; of the plan with more, the rest is listed alone. Then
/// the values that one plan treats otherwise than the other, by layers, a
/// screenful at most. Ends with a newline.
std::string compare(const plan::Plan &first, const plan::Plan &second);

} // namespace moe::report
