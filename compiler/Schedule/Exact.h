//===- Exact.h - the optimum of small cases ---------------------*- C++ -*-===//
//
// A mixed-integer program over the order of actions, solved by COIN-OR CBC. For
// certifying what the search finds: ranks and microbatches up to about eight.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <cstddef>

namespace moe::schedule {

struct ExactOptions {
  /// Nodes of the branch-and-bound tree after which the solver stops. Up to
  /// that many the answer does not depend on the machine.
  int64_t maxNodes = 1'000'000;
  double maxSeconds = 60;
  /// Actions beyond which nothing is tried: an error.
  size_t maxActions = 240;
};

struct ExactResult {
  Schedule schedule; ///< called "exact": the best that is known
  Evaluation evaluation;
  /// No schedule takes less.
  int64_t boundNs = 0;
  /// Whether the makespan is that of an optimal schedule, up to one part in
  /// 100000 where the times need more than five digits.
  bool optimal = false;
  int64_t nodes = 0; ///< of the tree; 0: the bound was met without the solver
};

/// Whether this build has the solver.
bool hasExactSolver();

/// The schedule of least makespan within the limits, every backward split.
/// `start` is a schedule within the limits to begin with, for example that of
/// searchSchedule; its problem is the one solved.
///
/// Variables: the begin of every action, the makespan, and for each two actions
/// of a rank that no dependence orders, which goes first. Constraints:
/// dependences with transfer times, ascending microbatches for each stage and
/// phase, one action at a time on a rank, and for each action that makes more
/// be held the bytes held by what goes before it.
///
/// Errors: a build without CBC, costs that do not fit the problem, an action
/// that takes no time (its place in an order would be undefined), pairs that
/// overlap in `start` or are quicker overlapped, too many actions, a `start`
/// that exceeds the limits.
Result<ExactResult> solveExactly(const Schedule &start, const Costs &costs,
                                 const ExactOptions &options = {});

} // namespace moe::schedule
