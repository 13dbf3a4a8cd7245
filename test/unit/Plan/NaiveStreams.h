//===- NaiveStreams.h - what must wait for what, pair by pair ---*- C++ -*-===//
//
// The reference for waits on streams: looks at every pair of ops and every pair
// of byte ranges, with no more insight than the definition of a race.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <vector>

namespace moe::plan {

/// An op that was issued, with the bytes that it uses.
struct IssuedOp {
  struct Range {
    int64_t begin;
    int64_t end;
  };
  Stream stream = Stream::compute;
  std::vector<int64_t> waits; ///< positions
  std::vector<Range> reads, writes, releases;
  /// Parameters to whose gradients it adds, by their names.
  std::vector<std::string> gradients;
};

/// A program by itself, for a microbatch in `slot`, without any waits.
std::vector<IssuedOp> issueProgram(const Plan &plan, int64_t stage,
                                   const Program &program, int64_t slot);

/// What an overlap issues, for microbatches in two slots of their stages, with
/// the waits of the ops and those of the overlap.
std::vector<IssuedOp> issueOverlap(const Plan &plan, const Overlap &overlap,
                                   int64_t slot, int64_t secondSlot);

/// For each op, whether each earlier op is done when it begins.
std::vector<std::vector<bool>> doneBefore(const std::vector<IssuedOp> &ops);

/// Whether the op at `later` must not begin before the one at `earlier` is
/// done, other than because they are on one stream.
bool mustWait(const IssuedOp &later, const IssuedOp &earlier);

/// Whether any op of what the ranks execute may begin too early.
bool racesSomewhere(const Plan &plan);

} // namespace moe::plan
