//===- BenchSchedules.cpp - generating and checking schedules, timed ------===//
//
// Figures and the command that produced them: docs/schedules.md.
//
//===----------------------------------------------------------------------===//

#include "compiler/Schedule/Generators.h"

#include <benchmark/benchmark.h>

using namespace moe;
using namespace moe::schedule;

/// Costs of the 28.3B model of arXiv 2401.10241, Table 9.
static GeneratorOptions measuredCosts(const ScheduleProblem &problem) {
  GeneratorOptions options;
  options.costs =
      Costs::uniform(problem, 10'419'000, 10'207'000, 7'715'000, 408'000);
  return options;
}

static ScheduleProblem problemFor(const GeneratorInfo &info) {
  return {32, 96, info.stagesPerRank, info.placement};
}

/// The published schedule whose number is the argument.
static const GeneratorInfo &generatorOf(benchmark::State &state) {
  const GeneratorInfo &info = generators()[state.range(0)];
  state.SetLabel(std::string(info.name));
  return info;
}

static void generateSchedule(benchmark::State &state) {
  const GeneratorInfo &info = generatorOf(state);
  ScheduleProblem problem = problemFor(info);
  GeneratorOptions options = measuredCosts(problem);
  for (auto _ : state) {
    Result<Schedule> schedule = generate(info.name, problem, options);
    if (!schedule)
      state.SkipWithError(schedule.error().message.c_str());
    benchmark::DoNotOptimize(schedule);
  }
}

static void insertAndVerify(benchmark::State &state) {
  const GeneratorInfo &info = generatorOf(state);
  ScheduleProblem problem = problemFor(info);
  Result<Schedule> schedule =
      generate(info.name, problem, measuredCosts(problem));
  if (!schedule)
    return state.SkipWithError(schedule.error().message.c_str());
  for (auto _ : state) {
    StepSchedule all = insertTransfers(*schedule);
    if (Status status = verify(all); !status)
      state.SkipWithError(status.error().message.c_str());
  }
}

static void everyGenerator(benchmark::internal::Benchmark *benchmark) {
  benchmark->DenseRange(0, static_cast<int64_t>(generators().size()) - 1)
      ->Unit(benchmark::kMillisecond);
}
BENCHMARK(generateSchedule)->Apply(everyGenerator);
BENCHMARK(insertAndVerify)->Apply(everyGenerator);

BENCHMARK_MAIN();
