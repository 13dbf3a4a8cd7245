//===- Simulate.h - execution of a plan in estimated time -------*- C++ -*-===//
//
// Runs the steps of every pipeline rank in the order of the plan, with the
// estimated times of their ops added up program by program.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/Result.h"

#include <cstdint>
#include <vector>

namespace moe::simulate {

/// What the plan document does not say about time. Everything defaults to
/// taking no time.
struct Timing {
  /// Link between neighbouring pipeline ranks, one direction.
  int64_t linkLatencyNs = 0;
  double linkBytesPerSecond = 0; ///< 0: bytes take no time
  /// Per pipeline rank, in nanoseconds; empty: 0.
  std::vector<int64_t> reduceGradientsNs;
  std::vector<int64_t> updateNs;
};

struct StepTime {
  int64_t beginNs = 0;
  int64_t endNs = 0;
};

struct RankTimeline {
  std::vector<StepTime> steps; ///< one for each step of the plan's rank
  int64_t busyNs = 0;          ///< in programs, gradient reduction and update
  int64_t endNs = 0;
};

struct Timeline {
  std::vector<RankTimeline> ranks;
  int64_t stepNs = 0; ///< when the last rank is done
  /// 1 - (busy time of the busiest rank) / stepNs; 0 for an empty plan.
  double bubble = 0;
};

/// A rank executes one step at a time. A program takes the sum of its ops. A
/// send posts and returns; its bytes move once the receive has begun too (the
/// receive allocates their buffer), the link from one rank to another carrying
/// one message at a time. A receive ends when the bytes are there, wait_send
/// when they have left. The k-th send from one rank to another meets the k-th
/// receive there. Linear in the number of steps. Errors: transfers that do not
/// match, and deadlock, naming ranks and steps.
Result<Timeline> simulate(const plan::Plan &plan, const Timing &timing = {});

} // namespace moe::simulate
