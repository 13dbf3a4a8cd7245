//===- Summary.h - a plan on the terminal -----------------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moe::report {

/// "37.25 GiB", "768.0 MiB", "12.0 KiB", "512 B": the largest binary unit that
/// leaves at least 1 in front, negative sizes with a sign.
std::string formatBytes(int64_t bytes);

/// "1.234 s", "56.78 ms", "9.1 us", "12 ns".
std::string formatNanoseconds(int64_t nanoseconds);

/// "671,026,419,200".
std::string formatCount(int64_t count);

/// "12.3 %".
std::string formatPercent(double share);

/// "embedding, layers.0-3": consecutive numbers of one prefix become a range.
std::string formatBlocks(const std::vector<std::string> &blocks);

/// What moe-plan prints: the inputs; per rank its layers, memory by class,
/// peak, where the peak occurs and the margin to the budget; step time, bubble,
/// tokens per second, utilization, exposed communication and copies; decisions
/// about values, summed by reason; and every assumption with its source. A plan
/// that
/// does not fit says by how much and on which ranks. At most 110 columns,
/// unless a name is longer; ends with a newline.
std::string summarize(const plan::Plan &plan);

} // namespace moe::report
