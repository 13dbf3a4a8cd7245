//===- PlanSearch.h - the best plan of several schedules --------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Generators.h"
#include "driver/Driver.h"

#include <algorithm>
#include <functional>
#include <memory>

namespace moe::driver {

/// One way through the compiler.
struct Trial {
  std::string schedule;
  /// Of "auto": what the search may use, by rank.
  std::vector<int64_t> searchedBytes = {};
  /// Above 0: fails early where the schedule alone takes as long as this.
  int64_t worthNs = 0;
  /// What orderBy() makes an order for where the schedule goes by costs; no
  /// stages: those of the cut with everything kept.
  schedule::Costs costs = {};
  /// The same: schedule::GeneratorOptions::mostPending.
  int64_t mostPending = schedule::kAnyPending;
  /// What drafts have whatever else stands here; null: what the schedule makes
  /// of their own stages.
  std::shared_ptr<const schedule::Schedule> order = nullptr;
};

/// How many weight gradients may wait in a trial of this request.
inline int64_t mostPendingOf(const PlanRequest &request, const Trial &trial) {
  return std::min(trial.mostPending, request.pendingWeightGrads);
}

/// Whether a plan is the better one: one that fits, then the quicker one, then
/// the smaller one; of those that do not fit the one that is closer to it.
bool isBetter(const plan::Plan &a, const plan::Plan &b);

/// Makes the plan of a trial; the second argument: with the files that were
/// asked for besides it.
using MakePlan = std::function<Result<PlanAnswer>(const Trial &, bool)>;

struct PlanSearchRequest {
  int64_t budgetBytes = 0; ///< of every device, the machine's reserve included
  int64_t ranks = 1;       ///< of the pipeline
  /// Whether files are written besides the plan.
  bool writes = false;
  OnProgress onProgress; ///< may be empty; told of every trial
};

/// The plan of schedule "auto" where nothing else is left to the planner: of
/// what the search finds within the budget, and of every published schedule
/// that keeps one copy of the model, the best that fits by what the plans say.
/// The search is repeated while its plan would be the best but does not fit,
/// with as much less on each rank as this rank needs too much. The best is made
/// again with its files. The error is that of the search where nothing can be
/// planned.
Result<PlanAnswer> searchPlans(const PlanSearchRequest &request,
                               const MakePlan &make);

} // namespace moe::driver
