//===- Verify.h - the subcommand "verify" -----------------------*- C++ -*-===//
#pragma once

#include "support/Result.h"

#include <string>

namespace CLI {
class App;
} // namespace CLI

namespace moe {

struct VerifyOptions {
  std::string plan;
  bool quiet = false;
};

/// Adds the subcommand to moe-plan.
CLI::App *declareVerify(CLI::App &app, VerifyOptions &options);

/// Reads the plan and prints what was proven, or the counterexample; whether
/// the proof holds. An error where the file is no plan document at all.
Result<bool> runVerify(const VerifyOptions &options);

} // namespace moe
