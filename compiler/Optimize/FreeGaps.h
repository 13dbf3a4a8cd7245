//===- FreeGaps.h - what boxes in use leave free, over time -----*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/PackAround.h"

#include <cstdint>
#include <limits>
#include <vector>

namespace moe::optimize {

/// Boxes that come in order of begin, none over another one of its time, and
/// the gaps between those that live. Where hundreds live at a time, most touch
/// each other: gaps are few.
class FreeGaps {
public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  /// Free bytes between two boxes, and when these end. Nothing below the lowest
  /// bytes ever ends, and the highest gap has no end.
  struct Gap {
    int64_t low = 0, high = kNever;
    int64_t untilBelow = kNever, untilAbove = kNever;
  };

  /// All that were inserted, by rising offset, but for those that forget() was
  /// told of.
  const std::vector<TimedBox> &boxes() const { return all; }

  /// Those that end by then are not asked for any more.
  void forget(int64_t past);

  /// At this moment, which no call is before an earlier one's, from below.
  const std::vector<Gap> &at(int64_t moment);

  /// In one of the gaps when it begins.
  void insert(const TimedBox &box);

private:
  std::vector<TimedBox> all;
  int64_t firstEnd = kNever; ///< of all boxes
  std::vector<Gap> gaps = {{}};
  /// When the next one ends that borders on gaps: until then these are right.
  int64_t changes = kNever;
};

} // namespace moe::optimize
