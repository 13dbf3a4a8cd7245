//===- Ranks.h - all ranks and links, event by event ------------*- C++ -*-===//
//
// Private to compiler/Simulate.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Simulate/Executions.h"
#include "compiler/Simulate/Messages.h"

namespace moe::simulate {

/// The executions of a plan's programs and overlaps.
class Executions {
public:
  /// Errors name the stage and phase, or rank and overlap.
  static Result<Executions> make(const plan::Plan &plan);

  /// Of a step that is one.
  const Execution &of(size_t rank, const plan::Step &step) const {
    return step.kind == plan::StepKind::overlap
               ? overlaps[rank][static_cast<size_t>(step.overlap)]
               : programs[static_cast<size_t>(step.stage)]
                         [static_cast<size_t>(step.phase)];
  }

private:
  std::vector<std::array<Execution, plan::kPhaseCount>> programs;
  std::vector<std::vector<Execution>> overlaps;
};

/// When everything happened.
struct History {
  Exchange exchange;
  struct OfRank {
    /// When the step before was done, for each step; at the end, when the last
    /// was.
    std::vector<int64_t> issuedNs;
    std::vector<Interval> steps; ///< as RankTimeline::steps
  };
  std::vector<OfRank> ranks;
};

/// Runs the ranks. The steps' indices must have been checked. Errors: deadlock,
/// times beyond kLongestNs.
Result<History> runRanks(const plan::Plan &plan, const Executions &executions,
                         Exchange exchange);

/// What the step time consists of: back from the end of the rank that is done
/// last, to whatever made each event begin when it did.
std::vector<CriticalSegment> findCriticalPath(const plan::Plan &plan,
                                              const Executions &executions,
                                              const History &history);

} // namespace moe::simulate
