//===- WeightGradients.h - where weight gradients go ------------*- C++ -*-===//
//
// Schedules with a split backward are made in two steps: first the order of
// forwards and input gradients on every rank, on which other ranks depend; then
// the weight gradients, on which nobody depends, fill what is idle.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <limits>
#include <optional>
#include <vector>

namespace moe::schedule {

/// What the actions of one stage and microbatch hold, in any unit.
struct Holding {
  int64_t saved = 1;      ///< from the forward to the end of backward_input
  int64_t weightGrad = 1; ///< of those, to the end of weight_grad
};

/// When a rank that waits for its next input runs a weight gradient.
enum class IdlePolicy : uint8_t {
  fits, ///< when it is done before the input is there
  /// Also when the wait would make this rank the one that has idled longest.
  catchesUp,
  always,
};

struct WeightGradOptions {
  IdlePolicy policy = IdlePolicy::fits;
  std::vector<Holding> holdings; ///< by stage
  std::vector<int64_t> limits;   ///< by rank; empty: no limit
  /// Gives up what would take longer.
  int64_t mostNs = std::numeric_limits<int64_t>::max();
  /// Whether the result has its actions, or only its times.
  bool withActions = true;
};

/// A schedule and its times, as evaluate() finds them.
struct Filled {
  Schedule schedule;
  int64_t makespanNs = 0;
  int64_t spanNs = 0; ///< the longest from a rank's first begin to its last end
};

/// Inserts into `order`, which has forwards and backward_inputs, a weight_grad
/// for every backward_input: in the order of the backward_inputs of a rank, as
/// late as possible but before a forward for which the rank has no room
/// otherwise, and while the rank waits as the policy says. A weight_grad that
/// the order has already, behind its backward_input, runs there at the latest
/// as long as the rank has forwards left. Nothing when a rank has no room for a
/// forward although no weight gradient is left to run, or exceeds `mostNs`. The
/// order must be executable and take microbatches in ascending order; costs
/// must fit its problem.
std::optional<Filled> insertWeightGrads(const Schedule &order,
                                        const Costs &costs,
                                        const WeightGradOptions &options);

} // namespace moe::schedule
