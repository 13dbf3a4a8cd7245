//===- Inputs.h - a request in the compiler's own terms ---------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "compiler/Import/ModelConfig.h"
#include "driver/Arguments.h"
#include "driver/Driver.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe::driver {

/// What leaves a choice to the planner.
inline constexpr std::string_view kAuto = "auto";

inline bool isCsv(std::string_view schedule) {
  return schedule.ends_with(".csv");
}

inline bool leavesChoices(const PlanRequest &request) {
  return request.recompute == kAuto || request.offload == kAuto ||
         request.partition == kAuto;
}

/// The request in the compiler's own terms.
struct Inputs {
  const PlanRequest &request;
  cost::Machine machine;
  model::ModelConfig config;
  int64_t budgetBytes = 0;
  std::vector<int64_t> layers; ///< of each stage, as requested; empty: even
  std::vector<Pin> pins;
  /// The request's, or where a file says what it needs, that.
  int64_t stagesPerRank = 0;
  std::string placement;
};

/// Reads what the request names, and checks all of it that layout and kind of
/// schedule have no part in. Errors name the option, file or field.
Result<Inputs> readInputs(const PlanRequest &request);

/// The same, and checks whatever else can be checked before the model is built.
/// Without the modules that are not planned, which a note of the configuration
/// says.
Result<Inputs> gatherInputs(const PlanRequest &request);

} // namespace moe::driver
