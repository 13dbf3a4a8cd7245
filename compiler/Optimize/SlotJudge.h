//===- SlotJudge.h - what a packing of slots makes of an arena --*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/SlotHeights.h"

#include <cstddef>
#include <vector>

namespace moe::optimize {

/// A rank whose slots are placed.
struct SlottedRank {
  const plan::Plan &plan;
  const plan::Rank &rank;
  const Contexts &contexts;
  Reuse reuse;
  const std::vector<int64_t> &begins; ///< see followHeights()
  int64_t base;
};

/// Instances and their lives, in one order.
struct PackedInstances {
  std::vector<size_t> numbers;
  std::vector<TimedBuffer> lives;
};

/// Judges packings of what is `kept`: by how high they reach, with what passes
/// packed around them, together with what programs have outside slots above
/// that, at the moment at which it is most. Low enough is a
/// hundred-and-twenty-eighth above what lives then. What `of` refers to must
/// outlive the answer.
PackingJudge judgeSlots(const SlottedRank &of,
                        std::vector<SlotInstance> instances,
                        std::vector<SlotRange> ranges, PackedInstances kept,
                        PackedInstances passing);

} // namespace moe::optimize
