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

/// Judges packings of the instances number `packed`: by how high they reach
/// together with what programs have outside slots above them, at the moment at
/// which that is most. Low enough is a hundred-and-twenty-eighth above what
/// lives then. What `of` refers to must outlive the answer.
PackingJudge judgeSlots(const SlottedRank &of,
                        std::vector<SlotInstance> instances,
                        std::vector<SlotRange> ranges,
                        std::vector<size_t> packed);

} // namespace moe::optimize
