//===- Sweep.h - the subcommand "sweep" -------------------------*- C++ -*-===//
#pragma once

#include "driver/Driver.h"

#include <string>

namespace CLI {
class App;
} // namespace CLI

namespace moe {

struct SweepOptions {
  /// Comma lists of budgets, schedules and sequences of a microbatch, layouts
  /// set apart by semicolons; empty: the one of the other options.
  std::string budgets, layouts, schedules, microbatchSizes;
  int64_t jobs = 0;         ///< plans made at the same time; 0: defaultJobs()
  std::string json, report; ///< files to write; empty: none
};

/// Adds the subcommand to moe-plan.
CLI::App *declareSweep(CLI::App &app, SweepOptions &options);

/// Whether of a list (--budgets) and its one value (--budget) both were given,
/// the latter perhaps to the program itself, `app`: an error.
Status checkAlternatives(const CLI::App &app, const CLI::App &sweep);

/// Plans `base`, which was read with the help of the file `config`, with every
/// combination, prints the table and writes what was asked for; says whether
/// any plan fits. Combinations without a plan are listed with the reason. An
/// error where none has one, or before anything is planned, where none can.
Result<bool> runSweep(const SweepOptions &options, driver::PlanRequest base,
                      const std::string &config);

} // namespace moe
