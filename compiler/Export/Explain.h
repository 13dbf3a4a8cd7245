//===- Explain.h - why a value is where it is -------------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>
#include <string_view>

namespace moe::report {

/// What was decided: for each stage the values that are kept, recomputed and
/// offloaded, with bytes and time of a microbatch, and what that spares the
/// rank at the number of microbatches that it holds.
std::string explain(const plan::Plan &plan);

/// Everything about the values called `name`, whole or behind their block
/// ("moe.experts.act" is that of every layer): who makes and reads them, how
/// long they live, what was decided and why, and for a kept one what the other
/// ways would spare and cost. Errors: no value of the plan has the name; the
/// message has names that are like it.
Result<std::string> explain(const plan::Plan &plan, std::string_view name);

} // namespace moe::report
