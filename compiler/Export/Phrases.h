//===- Phrases.h - what several texts about plans say -----------*- C++ -*-===//
//
// Private to compiler/Export.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>

namespace moe::report {

/// `value` as printf writes it with `format`, in at most 63 characters.
std::string printNumber(double value, const char *format);

/// The blocks of a rank, stages set apart: "embedding, layers.0-3 | layers.8".
std::string blocksOf(const plan::Plan &plan, const plan::Rank &rank);

/// Tokens of all devices in a step over its time; 0 where that is not known.
double tokensPerSecond(const plan::Plan &plan);

} // namespace moe::report
