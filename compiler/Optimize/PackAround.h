//===- PackAround.h - short lives between those that have places *- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/TimedBuffer.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace moe::optimize {

/// Higher than anything reaches.
inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// The bytes [low, high) over [begin, end).
struct TimedBox {
  int64_t begin, end, low, high;
};

/// Buffers that a chain of common lives connects.
struct TimedCluster {
  int64_t begin = 0, end = 0;    ///< of the first and the last of them
  std::vector<uint32_t> members; ///< which of all, the largest first
  /// The same for clusters whose members have the same sizes and, from the
  /// begin of the cluster on, the same lives.
  size_t shape = 0;
};

/// The clusters that buffers of some size form, by rising begin, with shapes
/// from 0 on. O(n log n).
std::vector<TimedCluster> clustersOf(const std::vector<TimedBuffer> &buffers);

/// In which order clusters of a shape are packed, and how often others are
/// tried: what was good for one of them mostly is for the next.
struct ClusterOrder {
  static constexpr int kMostTries = 256, kFewestTries = 8;

  explicit ClusterOrder(size_t members);

  std::vector<uint32_t> places; ///< of members of the cluster
  int tries = kMostTries;       ///< of the next cluster
};

/// Gives the members of a cluster `offsets` such that those that live at the
/// same time share no byte, nor any with the `others`, which come by rising
/// offset. One after the other takes the lowest free bytes. What reaches, with
/// what lies above it, higher than `limit`, or than all did in the best order
/// so far, or at last highest of all, goes first the next time, until nothing
/// reaches higher than `goal`, or often enough: half as often for the next
/// cluster of the shape where that did not help. Returns how high the best
/// order reaches, which it leaves in `order`; kNoLimit where none kept the
/// limit: then offsets are as they were. O(n (n + a)) for n members and a
/// boxes, each time; `packed` counts the members placed in all of them.
int64_t packAround(const std::vector<TimedBuffer> &buffers,
                   const TimedCluster &cluster, ClusterOrder &order,
                   const std::vector<TimedBox> &others, int64_t goal,
                   int64_t limit, std::vector<int64_t> &offsets,
                   size_t &packed);

} // namespace moe::optimize
