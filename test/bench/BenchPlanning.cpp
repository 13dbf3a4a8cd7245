//===- BenchPlanning.cpp - from a configuration to a plan, timed ----------===//
//
// Figures and the command that produced them: docs/performance.md.
//
//===----------------------------------------------------------------------===//

#include "driver/Driver.h"
#include "runtime/Plan/Proof.h"

#include <benchmark/benchmark.h>

using namespace moe;

static driver::PlanRequest deepSeekV3() {
  driver::PlanRequest request;
  request.modelPath = MOE_SOURCE_DIR "/examples/models/deepseek-v3.json";
  request.layout.pipeline = 16;
  request.layout.expert = 64;
  request.layout.microbatches = 256;
  request.layout.sequenceLength = 4096;
  return request;
}

/// Configuration to checked plan, without writing it.
static void planDeepSeekV3(benchmark::State &state) {
  driver::PlanRequest request = deepSeekV3();
  request.layout.microbatches = state.range(0);
  for (auto _ : state) {
    Result<driver::PlanAnswer> answer = driver::makePlan(request);
    if (!answer)
      state.SkipWithError(answer.error().message.c_str());
    benchmark::DoNotOptimize(answer);
  }
}
BENCHMARK(planDeepSeekV3)
    ->Arg(16)
    ->Arg(64)
    ->Arg(256)
    ->Arg(1024)
    ->Unit(benchmark::kMillisecond);

static void printPlan(benchmark::State &state) {
  Result<driver::PlanAnswer> answer = driver::makePlan(deepSeekV3());
  if (!answer)
    return state.SkipWithError(answer.error().message.c_str());
  for (auto _ : state)
    benchmark::DoNotOptimize(plan::print(answer->plan));
}
BENCHMARK(printPlan)->Unit(benchmark::kMillisecond);

static void parsePlan(benchmark::State &state) {
  Result<driver::PlanAnswer> answer = driver::makePlan(deepSeekV3());
  if (!answer)
    return state.SkipWithError(answer.error().message.c_str());
  std::string text = plan::print(answer->plan);
  state.counters["bytes"] = static_cast<double>(text.size());
  for (auto _ : state)
    benchmark::DoNotOptimize(plan::parse(text));
}
BENCHMARK(parsePlan)->Unit(benchmark::kMillisecond);

static void provePlan(benchmark::State &state) {
  driver::PlanRequest request = deepSeekV3();
  request.schedule = state.range(0) ? "dualpipe-v" : "1f1b";
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  if (!answer)
    return state.SkipWithError(answer.error().message.c_str());
  for (auto _ : state)
    benchmark::DoNotOptimize(plan::prove(answer->plan));
}
BENCHMARK(provePlan)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
