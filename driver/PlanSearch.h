//===- PlanSearch.h - the best of the plans of several schedules -*- C++
//-*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Driver.h"

#include <functional>

namespace moe::driver {

/// One way through the compiler.
struct Trial {
  std::string schedule;
  int64_t searchedBytes = 0; ///< of "auto": what the search may use
  /// Above 0: fails early where the schedule alone takes as long as this.
  int64_t worthNs = 0;
};

/// Makes the plan of a trial; the second argument: with the files that were
/// asked for besides it.
using MakePlan = std::function<Result<PlanAnswer>(const Trial &, bool)>;

/// The plan of schedule "auto": of what the search finds under `budgetBytes`,
/// and of every published schedule that keeps one copy of the model, the best
/// that fits by what the plans say; made again with its files where it
/// `writes` some. The error is that of the search where nothing can be planned.
Result<PlanAnswer> searchPlans(int64_t budgetBytes, bool writes,
                               const MakePlan &make);

} // namespace moe::driver
