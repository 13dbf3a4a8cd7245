//===- SlotHeights.h - how high slots reach over a step ---------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/SlotPlacement.h"
#include "compiler/Optimize/TimedBuffer.h"

#include <limits>
#include <vector>

namespace moe::optimize {

/// When something begins to live that never does.
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// A group of one microbatch, or all that waits in its slot between programs.
struct SlotInstance {
  TimedBuffer life = {0, kNever, -1};
  /// That count as live besides what programs count themselves.
  int64_t liveBytes = 0;
  bool isOnHost = false, isPassing = false, isInSlot = false;
  int64_t base = 0;

  bool lives() const { return life.begin != kNever; }
  /// Lives over [begin, end), too, and between.
  void live(int64_t begin, int64_t end);
};

/// The instances of a microbatch on a stage.
struct SlotRange {
  int64_t stage, slot; ///< microbatches in one slot have the same places
  size_t first, count; ///< among all instances
};

/// Follows the instances on the device through the steps of a rank. `begins`:
/// of these, and the end of the last. `beside`: bytes that count as live in
/// each step besides; empty: none. Linear in instances, and in steps times the
/// changes in each.
SlotHeights followHeights(const plan::Rank &rank, const Contexts &contexts,
                          const std::vector<SlotInstance> &instances,
                          const std::vector<SlotRange> &ranges,
                          const std::vector<int64_t> &begins, int64_t base,
                          const std::vector<int64_t> &beside = {});

} // namespace moe::optimize
