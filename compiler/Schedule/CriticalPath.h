//===- CriticalPath.h - what a step cannot be shorter than ------*- C++ -*-===//
//
// A step takes as long as the longest chain of actions each of which waits for
// the one before, on its rank or for its input. Which chain that is depends on
// the costs, but every chain stays one under all costs: those that were longest
// before say at once how long a step takes at least.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <cstdint>
#include <vector>

namespace moe::schedule {

/// How often each stage has a part in a chain of actions.
struct ActionChain {
  struct OfStage {
    int64_t forwards = 0;
    int64_t inputGrads = 0;  ///< of backwards and backward_inputs
    int64_t weightGrads = 0; ///< of backwards and weight_grads
    bool operator==(const OfStage &) const = default;
  };
  /// Pairs that run interleaved; not counted above.
  struct Pairs {
    int64_t forwardStage = 0, backwardStage = 0;
    bool isWhole = false; ///< a backward, not a backward_input
    int64_t count = 0;
    bool operator==(const Pairs &) const = default;
  };
  std::vector<OfStage> stages; ///< by stage of the problem
  std::vector<Pairs> pairs;
  int64_t transfers = 0; ///< from rank to rank

  /// How long it takes, which a step with these costs takes at least.
  int64_t ns(const Costs &costs) const;
  bool operator==(const ActionChain &) const = default;
};

/// A longest chain of `evaluation`, which is that of the schedule with these
/// costs and transfers: ns(costs) is its makespan. An action waits for its rank
/// rather than for its input where both come at the same time.
ActionChain criticalPath(const Schedule &schedule, const Costs &costs,
                         const Evaluation &evaluation,
                         const Transfers *transfers = nullptr);

/// Through all actions of `rank`: from the first stage on to the input of its
/// first one, and from its last one back to the first stage with a backward.
ActionChain chainThrough(const Schedule &schedule, int64_t rank);

} // namespace moe::schedule
