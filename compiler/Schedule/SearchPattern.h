//===- SearchPattern.h - repeating patterns for real costs ------*- C++ -*-===//
//
// A pipeline in its steady state repeats itself: every microbatch takes the
// same way through the ranks, one period after the one before it (the building
// blocks of arXiv 2405.15362, made there for F = B = W). These are placed here
// for the costs at hand.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/SearchInstance.h"
#include "compiler/Schedule/Sequence.h"

#include <array>

namespace moe::schedule::search {

/// How one microbatch moves through its copy of the model.
struct PatternShape {
  /// By how much the way from stage to stage is stretched: for each of the
  /// first passes over the ranks the factor on a forward's time and on a
  /// backward's; later passes take the last.
  std::array<double, 2> forwardStretch = {1, 1};
  std::array<double, 2> backwardStretch = {1, 1};
  /// All actions are placed as if they took an equal share of the period and
  /// transfers no time: with whole stretches the actions of a rank then meet in
  /// the same way on every few ranks, whatever they take in truth.
  bool even = false;
  int64_t periodNs = 0;
};

/// When each stage begins its first microbatch; by stage.
struct Pattern {
  std::vector<int64_t> forwardNs, backwardNs;
};

/// Places `shape`: each action as early as the way allows without meeting
/// another of its rank when every microbatch runs one period after the one
/// before it. False where a period is too short for the actions to fit beside
/// each other.
bool placePattern(const Instance &instance, const PatternShape &shape,
                  Pattern &pattern);

/// The order of forwards and backwards in which all microbatches run so.
Sequence repeat(const Instance &instance, const Pattern &pattern,
                int64_t periodNs);

/// The time that the busiest rank works for one microbatch.
int64_t leastPeriodNs(const Instance &instance);

} // namespace moe::schedule::search
