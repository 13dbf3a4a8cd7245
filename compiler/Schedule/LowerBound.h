//===- LowerBound.h - no schedule is shorter --------------------*- C++ -*-===//
//
// A proven lower bound on the makespan of every schedule of a problem under
// given costs and memory limits. docs/schedule-search.md has the proofs.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <string>

namespace moe::schedule {

struct LowerBound {
  int64_t makespanNs = 0;
  /// What forces it, e.g. "work of rank 3" or "memory of rank 0".
  std::string reason;
};

/// The largest of these, in nanoseconds:
///  - work: every rank has to wait for its first input (head), then do all of
///    its forwards and backwards, overlapped as well as they can be; either all
///    weight gradients as well, or after the last backward_input its weight
///    gradient and the way of that microbatch back to the first stage (tail);
///  - path: one microbatch's way forward and back, and every other microbatch
///    through the stage that takes longest before or after it;
///  - memory area: what a rank holds, bytes times the least time that they can
///    be held, fits into its limit times the time between head and tail;
///  - memory rounds: where at most k microbatches fit, the (i + k)-th begins
///    only after the i-th has come back.
/// Linear in stages. Errors: a problem or costs that fail their checks; a limit
/// that is too small for any schedule (the error names the rank and the bytes
/// it needs at least).
Result<LowerBound> lowerBound(const ScheduleProblem &problem,
                              const Costs &costs);

} // namespace moe::schedule
