#include "runtime/Exec/Run.h"

#include "runtime/Comm/Loopback.h"
#include "runtime/Exec/Dump.h"

#include <algorithm>
#include <thread>

namespace moe::exec {
namespace {

using Clock = std::chrono::steady_clock;

/// The largest peak of each pipeline rank.
std::vector<int64_t> byPipelineRank(const comm::Topology &topology,
                                    const std::vector<int64_t> &byRank) {
  std::vector<int64_t> largest(static_cast<size_t>(topology.pipeline), 0);
  for (int64_t r = 0; r < topology.size(); ++r) {
    int64_t &entry =
        largest[static_cast<size_t>(topology.coordinates(r).pipeline)];
    entry = std::max(entry, byRank[static_cast<size_t>(r)]);
  }
  return largest;
}

/// What the thread of one rank does; reports are made on world rank 0.
Status runRank(Executor &executor, const RunOptions &options,
               std::vector<StepReport> &reports) {
  const comm::Topology &topology = executor.binding().topology();
  const plan::Layout &layout = executor.binding().plan().layout;
  bool reporting = topology.rank(executor.coordinates()) == 0;
  double tokens =
      static_cast<double>(layout.microbatches * topology.replicas() *
                          layout.microbatchSize * layout.sequenceLength);
  MOE_RETURN_IF_ERROR(executor.start());
  MOE_RETURN_IF_ERROR(executor.transport().barrier(topology.world(), "start"));
  for (int64_t step = 1; step <= options.steps; ++step) {
    if (step == options.dumpStep && !options.dumpParameters.empty()) {
      MOE_RETURN_IF_ERROR(
          dump(executor, Dumped::weights, options.dumpParameters));
      MOE_RETURN_IF_ERROR(
          executor.transport().barrier(topology.world(), "dump"));
    }
    Clock::time_point begin = Clock::now();
    Result<StepResult> result = executor.train(step);
    if (!result)
      return result.error();
    if (!reporting)
      continue;
    StepReport report;
    report.step = step;
    report.loss = result->loss;
    report.updates = executor.binding().updates();
    if (report.updates) {
      report.gradientNorm = result->gradientNorm;
      report.learningRate = options.executor.optimizer.rate(step);
    }
    report.seconds =
        std::chrono::duration<double>(Clock::now() - begin).count();
    report.tokensPerSecond = tokens / report.seconds;
    report.peakBytes = byPipelineRank(topology, result->peakBytes);
    reports.push_back(report);
    if (options.onStep)
      options.onStep(report);
  }
  return options.steps > 0 ? executor.checkPeak() : Status();
}

} // namespace

Result<RunReport> run(const Binding &binding, const Dataset &data,
                      const RunOptions &options) {
  const comm::Topology &topology = binding.topology();
  comm::LoopbackWorld world(topology.size(), {options.deadline});
  ExecutorOptions executorOptions = options.executor;
  executorOptions.gradientStep = options.dumpStep;
  if (!options.dumpGradients.empty())
    executorOptions.onGradients = [&](Executor &executor) {
      return dump(executor, Dumped::gradients, options.dumpGradients);
    };
  if (!options.dumpParameters.empty())
    MOE_RETURN_IF_ERROR(dumpBatch(binding.plan(), data, options.dumpStep,
                                  options.dumpParameters));

  std::vector<std::unique_ptr<Executor>> executors;
  for (int64_t r = 0; r < topology.size(); ++r) {
    Result<std::unique_ptr<Executor>> executor =
        Executor::create(binding, r, world.transport(r), kernels::cpuKernels(),
                         data, executorOptions);
    if (!executor)
      return Error{topology.describe(r) + ": " + executor.error().message};
    executors.push_back(std::move(*executor));
  }

  RunReport report;
  std::vector<std::thread> threads;
  for (int64_t r = 0; r < topology.size(); ++r)
    threads.emplace_back([&, r] {
      Status status =
          runRank(*executors[static_cast<size_t>(r)], options, report.steps);
      if (!status)
        world.transport(r).abort(status.error());
    });
  for (std::thread &thread : threads)
    thread.join();
  if (std::optional<comm::Failure> failure = world.failure())
    return Error{topology.describe(failure->rank) + ": " +
                 failure->error.message};
  for (const auto &executor : executors)
    report.peaks.push_back(executor->peak());
  return report;
}

} // namespace moe::exec
