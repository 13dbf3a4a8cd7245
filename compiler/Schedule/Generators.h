//===- Generators.h - published pipeline schedules --------------*- C++ -*-===//
//
// Every schedule that people train with, as a function from a problem to the
// order of actions. What they make passes verify(), with the transfers that
// insertTransfers puts in too. docs/schedules.md describes each with its
// source, what it holds and how long it idles.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <limits>
#include <span>
#include <string_view>

namespace moe::schedule {

/// All forwards, then all backwards, microbatches ascending in both
/// (arXiv 1811.06965, with backwards in ascending order so that gradient sums
/// do not depend on the schedule). Needs one stage per rank. Every rank holds
/// all microbatches at once.
Result<Schedule> gpipe(const ScheduleProblem &problem);

/// Rank r runs min(M, P - r - 1) forwards, then alternates one forward and one
/// backward, then drains (PipeDream-Flush, arXiv 2006.09503). Needs one stage
/// per rank. Rank r holds min(M, P - r) microbatches at once.
Result<Schedule> oneForwardOneBackward(const ScheduleProblem &problem);

/// No limit of weight gradients that wait.
inline constexpr int64_t kAnyPending = std::numeric_limits<int64_t>::max();

/// What generators may ask for besides the problem.
struct GeneratorOptions {
  /// For schedules that are derived from costs; empty stages: unit costs.
  Costs costs;
  /// Interleaved ones: microbatches that run one after the other through a
  /// stage before the rank turns to its next; 0: the number of ranks.
  int64_t groupSize = 0;
  /// For schedules that are derived from costs: how many weight gradients of a
  /// rank may wait while it begins another action.
  int64_t mostPending = kAnyPending;
};

/// What users read of a generator, in the order of `generators()`.
struct GeneratorInfo {
  std::string_view name; ///< as --schedule takes it
  std::string_view summary;
  std::string_view source; ///< the paper or system that it comes from
  Placement placement = Placement::loop;
  int64_t stagesPerRank = 1; ///< the default where it admits several
  bool usesCosts = false;    ///< whether GeneratorOptions::costs matter
};
std::span<const GeneratorInfo> generators();

/// Whether the schedule of the generator called `name` depends on costs.
bool usesCosts(std::string_view name);

/// The schedule of the generator called `name`. Errors: an unknown name (the
/// error lists the names), a problem that the schedule does not admit (the
/// error says what it needs), costs that do not fit.
Result<Schedule> generate(std::string_view name, const ScheduleProblem &problem,
                          const GeneratorOptions &options = {});

} // namespace moe::schedule
