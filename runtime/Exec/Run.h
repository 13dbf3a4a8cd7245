//===- Run.h - runs a plan on all ranks of this process ---------*- C++ -*-===//
#pragma once

#include "runtime/Exec/Executor.h"

#include <chrono>

namespace moe::exec {

/// What is known after a step.
struct StepReport {
  int64_t step = 0; ///< from 1
  double loss = 0;
  bool updates = true;     ///< false: the plan trains nothing
  double gradientNorm = 0; ///< 0 without an update, like the following
  double learningRate = 0;
  double seconds = 0;
  double tokensPerSecond = 0;
  std::vector<int64_t> peakBytes; ///< so far, by pipeline rank: its largest
};

struct RunOptions {
  int64_t steps = 1;
  ExecutorOptions executor;
  /// Longest time that one exchange between ranks may block.
  std::chrono::milliseconds deadline = std::chrono::seconds(60);
  /// Directories, which must exist; empty: nothing is written.
  std::string dumpParameters; ///< weights before the step, tokens and labels
  std::string dumpGradients;  ///< of the step
  int64_t dumpStep = 1;       ///< the step that both are about, from 1
  /// Called after every step, by one thread at a time, in order.
  std::function<void(const StepReport &)> onStep;
};

struct RunReport {
  std::vector<StepReport> steps;
  std::vector<Peak> peaks; ///< measured, by world rank
};

/// Trains, or with a plan that only runs forward evaluates, `options.steps`
/// steps, with one thread (of options.executor.threads) for each rank. The
/// error of a failed run is that of the rank that failed first, and names it.
/// Peaks that differ from the plan's are an error.
Result<RunReport> run(const Binding &binding, const Dataset &data,
                      const RunOptions &options);

} // namespace moe::exec
