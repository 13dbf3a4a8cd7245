//===- WeightGradients.h - where weight gradients go ------------*- C++ -*-===//
//
// Schedules with a split backward are made in two steps: first the order of
// forwards and input gradients on every rank, on which other ranks depend; then
// the weight gradients, on which nobody depends, fill what is idle.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"
#include "compiler/Schedule/Progress.h"
#include "compiler/Schedule/Sequence.h"

#include <limits>
#include <vector>

namespace moe::schedule {

/// Gradients between two stages that are made and not used: a gradient goes
/// from its stage's one buffer to send to the one in which the stage before
/// receives.
inline constexpr int64_t kGradientBuffers = 2;

/// What the actions of one stage and microbatch hold, in any unit.
struct ActionHolding {
  int64_t saved = 1;      ///< from the forward to the end of backward_input
  int64_t weightGrad = 1; ///< of those, to the end of weight_grad
  /// Besides, while a forward and while a backward_input or weight_grad runs.
  int64_t forwardTransient = 0, backwardTransient = 0;
};

/// When weight gradients run that no order of actions asks for.
struct FillRules {
  /// A rank that waits for its next input runs one when that delays the input
  /// by no more than this share of the weight gradient's time,
  double overrun = 0;
  /// and when the wait would make this rank the one that has idled longest.
  bool catchesUp = false;
  /// More than this many are not put off.
  int64_t mostPending = std::numeric_limits<int64_t>::max();
  /// A stage does not begin a third gradient before the first is in use: what
  /// the buffers for messages admit (kGradientBuffers).
  bool keepsToBuffers = false;
  /// Gives up what would take longer.
  int64_t mostNs = std::numeric_limits<int64_t>::max();
};

/// An action that has run.
struct ActionRun {
  Entry entry;
  uint32_t microbatch = 0;
  uint32_t place = 0; ///< in its rank's order, if it is listed there
  int64_t beginNs = 0, endNs = 0;
};

/// Runs orders of forwards and backward_inputs, inserts a weight_grad for every
/// backward_input and finds all times, as evaluate() would. Linear in the
/// number of actions.
class WeightGradFiller {
public:
  /// `holdings` by stage; `limits` by rank, empty: none. `costs` must fit the
  /// problem, and both outlive the filler.
  WeightGradFiller(const ScheduleProblem &problem, const Costs &costs,
                   std::vector<ActionHolding> holdings,
                   std::vector<int64_t> limits);

  /// Weight gradients run in the order of the backward_inputs of a rank, as
  /// late as possible but before what the rank has no room for
  /// otherwise, and as the rules say. A weight_grad that the order lists runs
  /// there at the latest, if its backward_input has run, as long as the rank
  /// has forwards left. False when the order cannot be executed, when a rank
  /// has no room for an action although no weight gradient is left to run, or
  /// when it exceeds `mostNs`.
  bool run(const Sequence &order, const FillRules &rules);

  // Of the last run, which was true.
  int64_t makespanNs() const { return lastNs; }
  /// The longest from a rank's first begin to its last end.
  int64_t spanNs() const { return longestNs; }
  /// The most that a rank holds, with what is transient.
  int64_t peak() const { return most; }
  /// By rank, in order.
  const std::vector<std::vector<ActionRun>> &runs() const { return done; }
  std::vector<std::vector<Action>> actions() const;
  /// What made the input of a run: its rank and its index among that rank's
  /// runs. The run itself where there is nothing to wait for.
  std::pair<size_t, size_t> sourceOf(size_t rank, size_t index) const;

  void setLimits(std::vector<int64_t> ofRanks) { limits = std::move(ofRanks); }

  /// Actions run so far, in all runs.
  int64_t effort() const { return effortSoFar; }

private:
  struct Stage {
    StageCosts costs;
    ActionHolding holding;
    int64_t rank = 0;
    int64_t inputFrom = -1, gradientFrom = -1; ///< ranks
    int64_t inputTransferNs = 0, gradientTransferNs = 0;
    int64_t firstMicrobatch = 0;
    // Microbatches of the next actions.
    int64_t nextForward = 0, nextBackward = 0, nextWeightGrad = 0;
    int64_t listedWeightGrad = 0; ///< of those in the order
  };
  struct Rank {
    int64_t forwards = 0, allNs = 0; ///< of everything that it runs
    int64_t firstNs = -1, nowNs = 0, idleNs = 0, held = 0;
    int64_t forwardsLeft = 0, workNs = 0; ///< of all that has not run
    std::vector<uint32_t> weightGrads;    ///< stages, in the order of backwards
    size_t next = 0;                      ///< of those
    int64_t pending() const {
      return static_cast<int64_t>(weightGrads.size() - next);
    }
  };
  /// Of one stage and microbatch: when it ended, its place among its rank's
  /// runs, and for backwards when it began.
  struct Pass {
    int64_t beginNs = 0, endNs = 0;
    size_t place = 0;
  };

  int64_t tryEntry(size_t rank, size_t place);
  void runWeightGrad(size_t rank);
  /// While something runs.
  void hold(size_t rank, int64_t bytes);
  bool shouldFill(const Rank &rank, int64_t arrivalNs) const;
  size_t passOf(size_t stage, int64_t microbatch, bool forward) const {
    return 2 * (stage * static_cast<size_t>(problem.microbatches) +
                static_cast<size_t>(microbatch)) +
           (forward ? 0 : 1);
  }

  const ScheduleProblem &problem;
  std::vector<int64_t> limits;
  std::vector<Stage> stages;
  std::vector<Rank> ranks;
  std::vector<Pass> passes;
  std::vector<std::vector<ActionRun>> done;
  Progress progress;
  const Sequence *order = nullptr;
  FillRules rules;
  int64_t longestIdleNs = 0; ///< of any rank
  bool overfull = false;     ///< a rank has held more than its limit
  int64_t lastNs = 0, longestNs = 0, most = 0, effortSoFar = 0;
};

} // namespace moe::schedule
