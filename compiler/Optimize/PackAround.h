//===- PackAround.h - short lives between those that have places *- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/TimedBuffer.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe::optimize {

/// The bytes [low, high) over [begin, end).
struct TimedBox {
  int64_t begin, end, low, high;
};

/// Buffers that a chain of common lives connects.
struct TimedCluster {
  int64_t begin, end; ///< of the first and the last of them
  /// Which of all; in the order in which packAround() last packed them.
  std::vector<uint32_t> members;
};

/// The clusters that buffers of some size form, by rising begin; the members of
/// each, the largest first. O(n log n).
std::vector<TimedCluster> clustersOf(const std::vector<TimedBuffer> &buffers);

/// Gives the members of a cluster `offsets` such that those that live at the
/// same time share no byte, nor any with the `others`, which come by rising
/// offset. One after the other takes the lowest free bytes, until one reaches
/// higher, with what lies above it, than `limit`: that one goes first the next
/// time, for kAroundTries times. Returns how high the last packing reaches;
/// where that is above the limit, the offsets are of no use. O(n (n + a)) for n
/// members and a boxes, each time; `packed` counts the members placed in all of
/// them.
int64_t packAround(const std::vector<TimedBuffer> &buffers,
                   TimedCluster &cluster, const std::vector<TimedBox> &others,
                   int64_t limit, std::vector<int64_t> &offsets,
                   size_t &packed);
inline constexpr int kAroundTries = 16;

} // namespace moe::optimize
