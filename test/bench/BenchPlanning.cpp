//===- BenchPlanning.cpp - from a configuration to a plan, timed ----------===//
//
// Figures and the command that produced them: docs/performance.md.
//
//===----------------------------------------------------------------------===//

#include "driver/Driver.h"
#include "runtime/Plan/Proof.h"
#include "support/Files.h"

#include <benchmark/benchmark.h>

#include <filesystem>

using namespace moe;

static driver::PlanRequest deepSeekV3() {
  driver::PlanRequest request;
  request.modelPath = MOE_SOURCE_DIR "/examples/models/deepseek-v3.json";
  request.layout.pipeline = 16;
  request.layout.expert = 64;
  request.layout.microbatches = 256;
  request.layout.sequenceLength = 4096;
  request.reportsLevers = false; // what other requests need is not this plan
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

/// The same, where the planner chooses all that it can, for 76 GiB.
static void chooseDeepSeekV3(benchmark::State &state) {
  driver::PlanRequest request = deepSeekV3();
  request.budgetBytes = int64_t{76} << 30;
  request.partition = request.recompute = request.offload = "auto";
  for (auto _ : state) {
    Result<driver::PlanAnswer> answer = driver::makePlan(request);
    if (!answer)
      state.SkipWithError(answer.error().message.c_str());
    benchmark::DoNotOptimize(answer);
  }
}
BENCHMARK(chooseDeepSeekV3)->Unit(benchmark::kMillisecond);

/// A copy of DeepSeek-V3 with more layers, in a temporary file.
static std::string withLayers(int64_t layers) {
  Result<std::string> text = readFile(deepSeekV3().modelPath);
  const std::string key = "\"num_hidden_layers\": ";
  size_t at = text ? text->find(key) : std::string::npos;
  if (at == std::string::npos)
    return {};
  at += key.size();
  text->replace(at, text->find_first_not_of("0123456789", at) - at,
                std::to_string(layers));
  std::string path = (std::filesystem::temp_directory_path() /
                      ("deepseek-v3-" + std::to_string(layers) + ".json"))
                         .string();
  return writeFile(path, *text) ? path : std::string();
}

/// How choosing grows: layers, pipeline ranks, microbatches, each for a budget
/// that some ranks have to pay for.
static void chooseGrown(benchmark::State &state) {
  driver::PlanRequest request = deepSeekV3();
  request.modelPath = withLayers(state.range(0));
  request.layout.pipeline = state.range(1);
  request.layout.microbatches = state.range(2);
  request.budgetBytes = state.range(3) << 30;
  request.partition = request.recompute = request.offload = "auto";
  for (auto _ : state) {
    Result<driver::PlanAnswer> answer = driver::makePlan(request);
    if (!answer)
      state.SkipWithError(answer.error().message.c_str());
    else if (!answer->plan.prediction.fits)
      state.SkipWithError("the budget is too small");
    benchmark::DoNotOptimize(answer);
  }
  std::error_code ignored;
  std::filesystem::remove(request.modelPath, ignored);
}
BENCHMARK(chooseGrown)
    ->ArgNames({"layers", "ranks", "microbatches", "GiB"})
    ->Args({125, 16, 256, 105})
    ->Args({250, 16, 256, 185})
    ->Args({500, 16, 256, 350})
    ->Args({1000, 16, 256, 680})
    ->Args({128, 8, 256, 160})
    ->Args({128, 16, 256, 100})
    ->Args({128, 32, 256, 70})
    ->Args({128, 64, 256, 55})
    ->Args({61, 16, 512, 60})
    ->Args({61, 16, 1024, 60})
    ->Args({61, 16, 2048, 60})
    ->Args({61, 16, 4096, 60})
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
