//===- OrderImprovement.h - shorter orders by local changes -----*- C++ -*-===//
//
// Private to compiler/Schedule.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/WeightGradients.h"

#include <functional>

namespace moe::schedule {

struct ImprovementOptions {
  FillRules rules; ///< `mostNs` does not count
  /// How many actions may be run, as WeightGradFiller::effort() counts them.
  int64_t effort = 0;
  /// Ends when the makespan is no longer than this.
  int64_t boundNs = 0;
  /// Called after each step; the filler's last run is of the order as it is.
  std::function<void()> step;
};

/// Changes `order`, which may list weight gradients, so that it takes less
/// time. A tabu search in the neighbourhood that serves job shops best
/// (Nowicki, Smutnicki 1996): on the chain of actions that makes the order as
/// long as it is, those that follow each other on one rank form blocks, and
/// only a change at the border of a block can shorten it. Every step makes the
/// best such exchange of two neighbours, better or not, that does not undo one
/// of the last. Where there is none, it goes back to the best and makes some
/// changes at random (the same every time).
///
/// Leaves the best order in `order` and its run as the filler's last. False:
/// the given order cannot be executed.
bool improveOrder(WeightGradFiller &filler, Sequence &order,
                  const ImprovementOptions &options);

} // namespace moe::schedule
