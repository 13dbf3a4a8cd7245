//===- SizeClasses.h - packing of lifetimes, sizes apart --------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/TimedBuffer.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace moe::optimize {

/// Offsets, and the end of the highest class.
struct ClassPacking {
  int64_t height = 0;
  std::vector<int64_t> offsets;
};

/// A class is a range of sizes. It has as many columns as buffers of it live at
/// a time, each as wide as the largest, and classes lie above each other: the
/// way in which sizes alternate opens no gaps. Of all ways to part the sizes
/// into classes the lowest, by a dynamic program. O(n log n) for each pair of
/// sizes; nothing where there are more than 24.
std::optional<ClassPacking>
packInSizeClasses(const std::vector<TimedBuffer> &buffers);

} // namespace moe::optimize
