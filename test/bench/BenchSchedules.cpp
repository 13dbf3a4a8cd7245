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

int main(int argc, char **argv) {
  for (const GeneratorInfo &info : generators()) {
    ScheduleProblem problem = problemFor(info);
    auto generated = [info, problem](benchmark::State &state) {
      GeneratorOptions options = measuredCosts(problem);
      for (auto _ : state) {
        Result<Schedule> schedule = generate(info.name, problem, options);
        if (!schedule)
          state.SkipWithError(schedule.error().message.c_str());
        benchmark::DoNotOptimize(schedule);
      }
    };
    auto steps = [info, problem](benchmark::State &state) {
      Result<Schedule> schedule =
          generate(info.name, problem, measuredCosts(problem));
      if (!schedule)
        return state.SkipWithError(schedule.error().message.c_str());
      for (auto _ : state) {
        StepSchedule all = insertTransfers(*schedule);
        if (Status status = verify(all); !status)
          state.SkipWithError(status.error().message.c_str());
      }
    };
    std::string name(info.name);
    benchmark::RegisterBenchmark(("generate/" + name).c_str(), generated)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("transfers/" + name).c_str(), steps)
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
