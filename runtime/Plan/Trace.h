//===- Trace.h - the events behind an error of check() ----------*- C++ -*-===//
//
// Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// What the paths and names in a message of check() stand for, in the order of
/// events: where what leaks was made, where what is used was released, the ops
/// of two streams that nothing orders, the ranks that wait for each other. One
/// line each, with op names, steps and ranks. Paths that lead nowhere are left
/// out.
std::vector<std::string> trace(const Plan &plan, std::string_view message);

} // namespace moe::plan
