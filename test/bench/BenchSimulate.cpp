//===- BenchSimulate.cpp - a step in estimated time, timed ----------------===//
//
// Figures and the command that produced them: docs/simulation.md.
//
//===----------------------------------------------------------------------===//

#include "compiler/Export/Trace.h"
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <benchmark/benchmark.h>

#include <algorithm>

using namespace moe;
using plan::Phase;
using plan::Stream;

/// A decoder layer as the compiler emits it: 24 ops forward and twice as many
/// backward, a twelfth of them exchanges that compute waits for.
static void addLayer(std::vector<plan::Op> &ops, int64_t count) {
  auto first = static_cast<int64_t>(ops.size());
  for (int64_t i = first; i < first + count; ++i) {
    if (i % 12 == 7)
      ops.push_back(makeOp(90'000, Stream::expert_communication, {i - 1}));
    else if (i % 12 == 8)
      ops.push_back(makeOp(60'000, Stream::compute, {i - 1}));
    else
      ops.push_back(makeOp(40'000));
    ops.back().live[plan::MemoryClass::saved] = 256 * i;
  }
}

/// One forward, one backward.
static void addSteps(PlanBuilder &builder, int64_t rank, int64_t ranks,
                     int64_t microbatches) {
  auto runOne = [&](int64_t m, Phase phase) {
    bool isForward = phase == Phase::forward;
    int64_t before = isForward ? rank - 1 : rank + 1;
    int64_t after = isForward ? rank + 1 : rank - 1;
    auto isRank = [&](int64_t peer) { return peer >= 0 && peer < ranks; };
    if (isRank(before))
      builder.receive(rank, m, phase, before);
    else
      builder.load(rank, m);
    if (isRank(after) && m > 0)
      builder.waitSend(rank, m - 1, phase, after);
    builder.run(rank, m, phase);
    if (isRank(after))
      builder.send(rank, m, phase, after);
  };
  int64_t ahead = std::min(microbatches, ranks - rank - 1);
  for (int64_t m = 0; m < microbatches + ahead; ++m) {
    if (m < microbatches)
      runOne(m, Phase::forward);
    if (m >= ahead)
      runOne(m - ahead, Phase::backward);
  }
  if (rank + 1 < ranks)
    builder.waitSend(rank, microbatches - 1, Phase::forward, rank + 1);
  if (rank > 0)
    builder.waitSend(rank, microbatches - 1, Phase::backward, rank - 1);
  builder.finish(rank);
}

/// 61 layers on `ranks`, 1F1B.
static plan::Plan makePlan(int64_t ranks, int64_t microbatches) {
  PlanBuilder builder(static_cast<size_t>(ranks));
  for (int64_t rank = 0; rank < ranks; ++rank) {
    builder.addStage(rank, 32 << 20);
    std::vector<plan::Op> forward, backward;
    for (int64_t layer = rank * 61 / ranks; layer < (rank + 1) * 61 / ranks;
         ++layer) {
      addLayer(forward, 24);
      addLayer(backward, 48);
    }
    builder.addProgram(rank, Phase::forward, forward);
    builder.addProgram(rank, Phase::backward, backward);
  }
  for (int64_t rank = 0; rank < ranks; ++rank)
    addSteps(builder, rank, ranks, microbatches);
  builder.plan.machine.linkLatencyNs = 25'000;
  builder.plan.machine.linkBytesPerSecond = 42.5e9;
  return std::move(builder.plan);
}

static void simulatePlan(benchmark::State &state, bool detail) {
  plan::Plan plan = makePlan(state.range(0), state.range(1));
  size_t steps = 0;
  for (const plan::Rank &rank : plan.ranks)
    steps += rank.steps.size();
  simulate::Options options;
  options.detail = detail;
  for (auto _ : state) {
    Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
    if (!timeline)
      return state.SkipWithError(timeline.error().message.c_str());
    benchmark::DoNotOptimize(timeline);
  }
  state.counters["steps"] = static_cast<double>(steps);
  state.counters["steps/s"] =
      benchmark::Counter(static_cast<double>(steps),
                         benchmark::Counter::kIsIterationInvariantRate);
}
static void steps(benchmark::State &state) { simulatePlan(state, false); }
BENCHMARK(steps)
    ->Args({16, 256})
    ->Args({16, 1024})
    ->Args({16, 4096})
    ->Args({64, 256})
    ->Args({64, 1024})
    ->Args({64, 4096})
    ->Unit(benchmark::kMillisecond);

static void detail(benchmark::State &state) { simulatePlan(state, true); }
BENCHMARK(detail)->Args({16, 64})->Args({16, 256})->Unit(
    benchmark::kMillisecond);

static void trace(benchmark::State &state) {
  plan::Plan plan = makePlan(16, 256);
  simulate::Options options;
  options.detail = true;
  options.detailMicrobatches = report::microbatchesForTrace(plan);
  Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
  if (!timeline)
    return state.SkipWithError(timeline.error().message.c_str());
  size_t bytes = 0;
  for (auto _ : state)
    bytes = report::chromeTrace(plan, *timeline).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(trace)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
