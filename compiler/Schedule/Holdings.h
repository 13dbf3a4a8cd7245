//===- Holdings.h - what ranks hold while actions run -----------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"

#include <cstdint>
#include <vector>

namespace moe::schedule {

/// A time at which a rank runs a forward or a backward. Vectors have an entry
/// for each stage of the rank, rising.
struct Holding {
  /// Microbatches that went forward and not yet backward, besides those that
  /// run.
  std::vector<int64_t> held;
  /// Microbatches whose weight gradients are still to be computed.
  std::vector<int64_t> pending;
  int64_t running = 0; ///< the stage that runs: an index into the above
  /// The stage of the other one of an overlapping pair, -1: none.
  int64_t overlapped = -1;
  auto operator<=>(const Holding &) const = default;
};

/// The different holdings of `rank`, rising. Weight gradients by themselves are
/// left out: the backward before them held all that they do. The schedule must
/// pass verify().
std::vector<Holding> holdings(const Schedule &schedule, int64_t rank);

} // namespace moe::schedule
