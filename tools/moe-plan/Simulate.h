//===- Simulate.h - the subcommand "simulate" -------------------*- C++ -*-===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <string>

namespace CLI {
class App;
} // namespace CLI

namespace moe {

struct SimulateOptions {
  std::string plan;
  std::string trace, report, json; ///< files to write; empty: none
  int64_t traceMicrobatches = 0;   ///< 0: as many as viewers can open
  bool quiet = false;
};

/// Adds the subcommand to moe-plan.
CLI::App *declareSimulate(CLI::App &app, SimulateOptions &options);

/// Reads the plan, simulates a step, prints and writes what was asked for.
Status runSimulate(const SimulateOptions &options);

} // namespace moe
