//===- Driver.h - from a configuration file to a plan -----------*- C++ -*-===//
//
// The whole way through the compiler in one call, in plain types: callers need
// neither MLIR's headers nor its flags.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/DType.h"
#include "support/Result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moe::driver {

struct PlanRequest {
  std::string modelPath;            ///< Hugging Face config.json
  std::string reductions;           ///< "layers=4,hidden=256,..."; empty: none
  std::string machine = "h100-sxm"; ///< name or path of a description
  plan::Layout layout;
  std::string schedule = "1f1b";
  int64_t budgetBytes = 0; ///< 0: all memory of the device
  DType dtype = DType::bf16;
  double capacityFactor = 1.25; ///< 0: the most that routing can produce
  double imbalance = 1.1;
  /// Train the configuration's multi-token prediction modules as well.
  bool mtp = false;
  double mtpWeight = 0.3; ///< of their mean loss, beside the main loss
  std::string generator;  ///< goes into the plan
  /// Where to write the final IR; empty: nowhere.
  std::string irPath;
};

struct PlanAnswer {
  plan::Plan plan;
  /// Remarks for the user, e.g. ignored fields of the configuration.
  std::vector<std::string> notes;
};

/// Makes the plan. Errors name the field, option or op and what was expected.
Result<PlanAnswer> makePlan(const PlanRequest &request);

} // namespace moe::driver
