//===- RandomTimed.h - timed buffers, and checks of packings ----*- C++ -*-===//
#pragma once

#include "compiler/Optimize/TimeOrder.h"

#include <random>
#include <utility>
#include <vector>

namespace moe::optimize {

/// Up to 300 buffers of four sizes, one of which is 0, with short lives.
std::vector<TimedBuffer> randomTimed(std::mt19937 &random);

/// The height of a packing, which must be legal, beside the most that lives.
std::pair<int64_t, int64_t>
heightAndBound(const std::vector<TimedBuffer> &buffers,
               const std::vector<int64_t> &offsets);

} // namespace moe::optimize
