//===- PackingSearch.h - whether lifetimes fit under a height ---*- C++ -*-===//
//
// A complete search for packings that no greedy order finds. A packing in
// which nothing can be moved down is built from below: a valley is a run of
// times that are filled up to the same height, with more on both sides; at its
// edge either one of the few buffers begins that reach exactly up to the edge,
// or nothing does and the edge is wasted. How much of each time may be wasted
// is known beforehand.
//
// The ideas are those of branch and bound for packing with fixed intervals
// (Moffitt, "MiniMalloc", ASPLOS 2023), of conflict-directed backjumping
// (Prosser 1993) and of restarts in Luby's sequence; docs/packing.md says how
// they are put together here.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Offsets.h"

namespace moe::optimize {

enum class Fit : uint8_t { yes, no, unknown };

struct FitAnswer {
  Fit fit = Fit::unknown;
  std::vector<int64_t> offsets; ///< of the members, when `fit` is yes
  int64_t steps = 0;            ///< decisions that were tried
};

/// Whether those buffers of the problem that `members` names can be packed such
/// that none ends above `height`. The answer is unknown after `steps`
/// decisions; also, at once, for more than 2000 buffers, and when sizes are not
/// multiples of all alignments. Equal calls give equal answers. The problem
/// must pass check(). Memory is quadratic in buffers; a decision costs time in
/// proportion to the lifetimes that meet the one that is placed.
FitAnswer fitUnder(const PackingProblem &problem,
                   const std::vector<uint32_t> &members, int64_t height,
                   int64_t steps);

} // namespace moe::optimize
