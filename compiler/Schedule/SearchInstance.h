//===- SearchInstance.h - a problem laid out for searching ------*- C++ -*-===//
//
// What the searches and bounds read in their inner loops: a problem and its
// costs, looked up once per stage and rank.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <cstdint>
#include <limits>
#include <vector>

namespace moe::schedule::search {

inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max() / 4;

/// One stage. Times in nanoseconds.
struct InstanceStage {
  int64_t rank = 0;
  int64_t position = 0;             ///< in its copy of the model
  int64_t previous = -1, next = -1; ///< stages; -1 at the ends of a copy
  int64_t inputTransferNs = 0;      ///< from `previous`; 0 on the same rank
  int64_t gradientTransferNs = 0;   ///< from `next`
  int64_t firstMicrobatch = 0, microbatches = 0; ///< those of its copy
  StageCosts costs;
  /// The shortest that a forward and a backward_input can take, overlapping
  /// another action or not, and by how much a weight gradient can end behind
  /// its backward_input at least: 0 where pairs overlap, whose time has it all.
  int64_t leastForwardNs = 0, leastInputGradNs = 0, leastWeightGradNs = 0;
  /// The least time from the copy's first action to the begin of the forward
  /// (`headNs`), and from the end of a backward_input to the end of what
  /// follows from it: its weight gradient, and the backwards of the stages
  /// before with theirs (`tailNs`).
  int64_t headNs = 0, tailNs = 0;
  /// The least time from the begin of a forward to the end of the
  /// backward_input of the same microbatch.
  int64_t roundTripNs = 0;
  /// savedBytes of this stage and of the stages of its rank that lie deeper.
  int64_t reserveBytes = 0;
};

struct InstanceRank {
  std::vector<size_t> stages; ///< deepest position first
  int64_t limitBytes = kNoLimit;
  /// The most that one of its actions holds only while it runs.
  int64_t transientBytes = 0;
  int64_t workNs = 0; ///< of all its actions, one after the other
};

struct Instance {
  ScheduleProblem problem;
  std::vector<InstanceStage> stages;
  std::vector<InstanceRank> ranks;
  /// By forward stage * stages + backward stage: the time of the pair when
  /// overlapping is quicker than one after the other; -1 otherwise. Empty when
  /// no pair is.
  std::vector<int64_t> pairNs;
  size_t actions = 0; ///< with every backward split

  /// The problem and costs must pass their checks.
  Instance(const ScheduleProblem &problem, const Costs &costs);

  int64_t overlapNs(size_t forwardStage, size_t backwardStage) const {
    return pairNs.empty()
               ? -1
               : pairNs[forwardStage * stages.size() + backwardStage];
  }
};

} // namespace moe::schedule::search
