//===- ListScheduling.h - greedy orders under limits ------------*- C++ -*-===//
//
// Private to compiler/Schedule.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"
#include "compiler/Schedule/Sequence.h"

#include <vector>

namespace moe::schedule {

/// When passes of microbatch 0 are due, in any unit; those of every other one
/// an interval after those of the one before. What is due first goes first.
struct StageTurns {
  int64_t forward = 0, backward = 0, weightGrad = 0;
};

struct ListProblem {
  const ScheduleProblem &problem;
  const Costs &costs;
  int64_t interval = 1;
  std::vector<StageTurns> turns; ///< by stage
  /// By stage: the most microbatches between their forward and backward; at
  /// least 1.
  std::vector<int64_t> stageLimits;
  /// By rank: the most (stage, microbatch) between their forward and the end of
  /// their last action. A stage limit must be smaller where the rank has
  /// another, later stage.
  std::vector<int64_t> rankLimits;
};

/// Executes the problem in time, every rank starting what is first in turn of
/// what is possible as soon as it is free; weight gradients when it is idle or
/// out of room. Several variants, which differ in when exactly weight gradients
/// run and in how long a rank waits for something earlier in turn. None can get
/// stuck: of the stages that could, the latest holds a microbatch, and all
/// stages after it go on.
///
/// `shortestNs` is the makespan of the shortest so far. What takes longer by
/// more than a twentieth is given up and left out: weight gradients that are
/// moved elsewhere later do not make up for that.
std::vector<Sequence> listSchedules(const ListProblem &problem,
                                    int64_t &shortestNs);

} // namespace moe::schedule
