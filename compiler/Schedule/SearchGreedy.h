//===- SearchGreedy.h - list scheduling of pipelines ------------*- C++ -*-===//
//
// Runs all ranks forward in time; whenever a rank is free it takes the best
// action that is possible. Whatever the rules say, the
// memory limits hold and the run comes to its end (see `admits`).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/RankClock.h"
#include "compiler/Schedule/SearchInstance.h"

#include <algorithm>

namespace moe::schedule::search {

/// Which of a rank's stages goes first among actions of one kind.
enum class Chunk : uint8_t { deep, shallow, oldest };
/// Whether forwards or backwards go first.
enum class Turn : uint8_t { backward, forward, alternate };

/// The rules of a run.
struct Policy {
  Turn turn = Turn::backward;
  Chunk forwardChunk = Chunk::deep;
  Chunk backwardChunk = Chunk::deep;
  /// By how much of its own length a weight gradient may delay an input that is
  /// known to be on its way.
  double overrun = 0;
  /// How much of its own length an action steps back for a better one whose
  /// input is on its way.
  double patience = 0;
  /// Room is left beside all that a rank holds, not only beside what has not
  /// turned at the last stage yet.
  bool cautious = false;
  /// Backwards run with a forward where that is quicker.
  bool overlap = false;
  /// Most microbatches of a stage between forward and backward; empty: no cap.
  std::vector<int64_t> caps;
  /// When the forward and the backward_input of each stage are due for its
  /// first microbatch, and how much later for each that follows: what is due
  /// first goes first, whatever turn and chunks say. Empty: none.
  std::vector<int64_t> forwardDueNs, backwardDueNs;
  int64_t periodNs = 0;
  /// Most weight gradients that a rank puts off.
  int64_t mostPending = kNoLimit;
};

/// The least peak that any schedule can have on a rank: one microbatch alone
/// runs forward through all stages of its copy before it returns.
int64_t leastPeakBytes(const Instance &instance, size_t rank);

class Greedy {
public:
  explicit Greedy(const Instance &instance);

  /// Replaces the limit of every rank that has a larger one, for the runs that
  /// follow.
  void lowerLimits(int64_t bytes) { ceilingBytes = bytes; }

  /// Runs by rules. False: given up because the makespan would exceed
  /// `giveUpNs`, or because a rank's limit is below the `reserveBytes` of its
  /// first stage and the rank's `transientBytes`, and nothing can begin there.
  bool run(const Policy &policy, int64_t giveUpNs = kNoLimit);

  // Of the last run that was not given up.
  const std::vector<std::vector<Action>> &order() const { return actions; }
  int64_t makespanNs() const { return endNs; }
  int64_t peakBytes() const { return peak; }
  /// Actions run so far, in all runs: what the effort is measured in.
  int64_t effort() const { return actionsRun; }

private:
  struct Candidate {
    size_t stage = 0;
    bool forward = false;
    int64_t readyNs = 0;
    int64_t score = 0;
  };

  void reset();
  bool decide(size_t rank, int64_t nowNs);
  void collect(size_t rank);
  bool admits(size_t stage) const;
  bool canHandOver(size_t stage) const;
  int64_t limitBytes(size_t rank) const {
    return std::min(instance.ranks[rank].limitBytes, ceilingBytes);
  }
  /// What a rank may hold between its actions, so that any of them can run.
  int64_t roomBytes(size_t rank) const {
    return limitBytes(rank) - instance.ranks[rank].transientBytes;
  }
  int64_t scoreOf(size_t stage, bool forward, int64_t readyNs) const;
  int64_t durationNs(const Candidate &candidate) const;
  bool fillWithWeightGrad(size_t rank, int64_t nowNs, int64_t nextNs);
  bool tryPair(int64_t nowNs, const Candidate &best);
  int64_t pairBytes(size_t forward, size_t backward) const;
  bool hasRoomForPair(size_t forward, size_t backward) const;
  void runForward(size_t stage, int64_t beginNs, int64_t lengthNs,
                  bool overlapsNext);
  void turn(size_t last, int64_t nowNs);
  void runBackward(size_t stage, int64_t beginNs, int64_t lengthNs, bool fused);
  void runWeightGrad(size_t stage, int64_t nowNs);
  void occupy(size_t rank, int64_t untilNs);
  void wake(size_t rank, int64_t atNs);
  size_t at(size_t stage, int64_t microbatch) const {
    return stage * static_cast<size_t>(instance.problem.microbatches) +
           static_cast<size_t>(microbatch);
  }
  bool weightGradPending(size_t stage) const {
    return nextWeightGrad[stage] < nextBackward[stage];
  }

  const Instance &instance;
  const Policy *policy = nullptr;
  int64_t limitNs = kNoLimit, ceilingBytes = kNoLimit;

  std::vector<std::vector<Action>> actions;
  int64_t endNs = 0, peak = 0;
  int64_t actionsRun = 0;
  // By stage: the microbatch of the next action of each kind.
  std::vector<int64_t> nextForward, nextBackward, nextWeightGrad;
  // By stage and microbatch; -1: not known yet.
  std::vector<int64_t> forwardInputNs, backwardInputNs, backwardEndNs;
  // By rank.
  std::vector<int64_t> freeNs, heldBytes, remainingNs;
  /// Held by microbatches whose forward has not come to the last stage.
  std::vector<int64_t> outboundBytes;
  std::vector<int64_t> pending; ///< weight gradients
  std::vector<uint8_t> lastWasForward;
  RankClock clock; ///< when a rank looks what it can do
  std::vector<Candidate> candidates;
};

} // namespace moe::schedule::search
