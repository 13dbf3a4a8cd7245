//===- Evaluate.h - time and memory of an order of actions ------*- C++ -*-===//
//
// What a schedule costs when every action of a stage takes a known time and
// holds a known number of bytes: the measure by which generators are compared
// and the search decides. The plan's ops, streams and links are simulated by
// compiler/Simulate; this is the view of the schedule alone.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Schedule.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace moe::schedule {

/// One microbatch on one stage. Nanoseconds and bytes.
struct StageCosts {
  int64_t forwardNs = 0;
  int64_t inputGradNs = 0; ///< a backward takes inputGradNs + weightGradNs
  int64_t weightGradNs = 0;
  /// Held from the begin of the forward to the end of the backward or
  /// backward_input.
  int64_t savedBytes = 0;
  /// Of those, held on to the end of the weight_grad where it is split off.
  int64_t weightGradBytes = 0;
  /// Held besides while the forward runs, and while a backward or either half
  /// of it runs. What is kept on the host in between is part of both: its copy
  /// out ends with the forward, its copy back begins with the backward, as all
  /// streams of a rank are joined where a step ends. The times hold the copies.
  int64_t forwardTransientBytes = 0, backwardTransientBytes = 0;
  /// The larger of both.
  int64_t transientBytes() const {
    return forwardTransientBytes > backwardTransientBytes
               ? forwardTransientBytes
               : backwardTransientBytes;
  }
  bool operator==(const StageCosts &) const = default;
};

/// How long the forward of one stage and the backward of another take when
/// they run interleaved; without an entry: the sum of both.
struct OverlapCost {
  int64_t forwardStage = 0;
  int64_t backwardStage = 0;
  int64_t ns = 0;
  bool operator==(const OverlapCost &) const = default;
};

struct Costs {
  std::vector<StageCosts> stages; ///< by stage of the problem
  /// From the end of an action to the arrival of its output on another rank.
  int64_t transferNs = 0;
  /// The same on its own rank: of plans, which is next to nothing. LinkedOrder
  /// counts it, evaluate() does not.
  int64_t localTransferNs = 0;
  std::vector<OverlapCost> overlaps; ///< rising by forwardStage, backwardStage
  /// Bytes that the actions of each rank may hold at once; empty: no limit.
  std::vector<int64_t> limitBytes;

  /// An action by itself.
  int64_t actionNs(const Action &action) const;
  /// A forward and a backward (or backward_input) that run interleaved.
  int64_t pairNs(int64_t forwardStage, int64_t backwardStage,
                 bool isWhole) const;

  /// Whether there is one entry for every stage (and rank), nothing is
  /// negative, weightGradBytes <= savedBytes, sums fit 62 bits.
  Status check(const ScheduleProblem &problem) const;
  /// Every rank's share of F = B = W = 1000 ns, one unit (1000 bytes) held a
  /// microbatch and rank until its weight gradient, no transfer time: split
  /// evenly over the stages that a rank has of one copy of the model (rounded
  /// up).
  static Costs uniform(const ScheduleProblem &problem, int64_t forwardNs = 1000,
                       int64_t inputGradNs = 1000, int64_t weightGradNs = 1000,
                       int64_t transferNs = 0);
  bool operator==(const Costs &) const = default;
};

/// An action of a rank.
struct ActionPlace {
  size_t rank = 0, index = 0;
  bool operator==(const ActionPlace &) const = default;
};

/// What the transfers around an action wait for.
struct ActionTransfers {
  /// How many of the rank's actions have ended when that of its input may
  /// begin: receives are posted between actions.
  size_t postedBehind = 0;
  /// What takes the message that has to have arrived before the action begins,
  /// which fills its buffer again; none: it waits for none.
  std::optional<ActionPlace> awaited;
};
/// Of each action of each rank.
using Transfers = std::vector<std::vector<ActionTransfers>>;

/// Those of steps that run the actions of `schedule`.
Transfers transfersOf(const Schedule &schedule, const StepSchedule &steps);

struct ActionTime {
  int64_t beginNs = 0;
  int64_t endNs = 0;
  bool operator==(const ActionTime &) const = default;
};

struct RankEvaluation {
  std::vector<ActionTime> times; ///< one for each action of the rank
  int64_t busyNs = 0;
  /// In the order of actions, both of an overlap held, with what is transient.
  int64_t peakBytes = 0;
};

struct Evaluation {
  std::vector<RankEvaluation> ranks;
  int64_t makespanNs = 0; ///< from 0 to the end of the last action
  /// 1 - (busy time of the busiest rank) / makespanNs.
  double bubble = 0;
  /// The same for the longest time that one rank takes from the begin of its
  /// first action to the end of its last, instead of the makespan: what counts
  /// where ranks need not wait for each other at the end of a step, as with the
  /// post-validation of arXiv 2401.10241 (whose Table 5 reports it).
  double spanBubble = 0;
  int64_t peakBytes = 0; ///< of the rank with the largest
};

/// Runs every rank's actions in order, each as soon as the rank is free and its
/// input is there: the forward of the stage before, the backward (or
/// backward_input) of the stage after, both transferNs later when they ran on
/// another rank. A pair that overlaps begins when the inputs of both are there
/// and ends together. `transfers`: of the schedule, which begin no sooner than
/// their receives are posted, and for which actions wait that fill a buffer
/// again; null: these are posted in time, and there are buffers for all. Linear
/// in the number of actions. Errors: costs that do not fit the problem, an
/// order that cannot be executed.
Result<Evaluation> evaluate(const Schedule &schedule, const Costs &costs,
                            const Transfers *transfers = nullptr);

/// Whether every rank stays within its limit. The error names the first rank
/// that does not, and by how much.
Status withinLimits(const Evaluation &evaluation, const Costs &costs);

} // namespace moe::schedule
