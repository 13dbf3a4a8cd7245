//===- Search.h - the best schedule for real costs and limits ---*- C++ -*-===//
//
// `--schedule auto`: every published schedule that the problem admits, and what
// list scheduling, repeating patterns and local improvement find beyond them,
// under the costs of each stage and the memory limit of each rank.
// docs/schedule-search.md tells how, and what it gains.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/LowerBound.h"

#include <span>
#include <string>
#include <vector>

namespace moe::schedule {

/// One way to lay the model on the ranks, with its costs and limits.
struct Structure {
  ScheduleProblem problem;
  Costs costs;
  /// Every backward is one action: its time is all in inputGradNs, and nothing
  /// is held for weight gradients, whose figures must be 0. What a model with
  /// both ways has is two structures: halves may take longer than the whole,
  /// and hold more between them than the forward left.
  bool wholeBackwards = false;

  Status check() const;
};

struct SearchOptions {
  /// How many actions the search may simulate, over all structures; about ten
  /// million a second. Answers depend on it, never on the machine's speed.
  int64_t effort = 3'000'000;
  /// Whether schedules of Generators.h are candidates.
  bool useGenerators = true;
};

/// What was tried and fits the limits.
struct SearchCandidate {
  /// The name of a generator, or "search".
  std::string origin;
  size_t structure = 0;
  int64_t makespanNs = 0;
  int64_t peakBytes = 0; ///< of the rank with the largest
};

struct SearchResult {
  Schedule schedule; ///< called "auto"
  Evaluation evaluation;
  size_t structure = 0; ///< index of the structure chosen
  std::string origin;   ///< the generator it is from, or "search"
  /// For the structure chosen, and the smallest over all structures: no answer
  /// to the search can take less.
  LowerBound structureBound, bound;
  double gap = 0; ///< makespan / bound - 1
  /// The best of each origin and structure, in the order of structures, then
  /// generators, then the search.
  std::vector<SearchCandidate> candidates;
};

/// The schedule with the smallest makespan within every rank's limit; of equal
/// ones that with the smallest peak, then a generator's, by name. Forwards,
/// backwards and weight gradients of a stage take microbatches in ascending
/// order; its steps, with transfers, pass verify(). Deterministic. No schedule
/// of a generator that stays within the same limits has both a makespan and a
/// peak as small, one of them smaller.
///
/// Errors: no structure; one that fails its checks; limits that no structure
/// can stay within: the error names a rank and the bytes it needs at least.
Result<SearchResult> searchSchedule(std::span<const Structure> structures,
                                    const SearchOptions &options = {});

} // namespace moe::schedule
