//===- BenchGemm.cpp - grouped products beside a BLAS ---------------------===//
//
// Rates on one thread. One run measures ours and OpenBLAS's sgemm on the same
// sizes, so that the ratio does not depend on what else the machine does.
//
//   OPENBLAS_NUM_THREADS=1 bench_gemm
//
//===----------------------------------------------------------------------===//

#include "kernels/Cpu/Isa.h"

#include <benchmark/benchmark.h>
#include <cblas.h>

#include <random>
#include <vector>

using namespace moe;
using namespace moe::kernels;

namespace {

constexpr int64_t experts = 8;
constexpr int64_t rows = 512;

Tensor view(void *data, DType type, std::initializer_list<int64_t> dims) {
  Tensor tensor;
  tensor.data = data;
  tensor.dtype = type;
  for (int64_t dim : dims)
    tensor.dims[static_cast<size_t>(tensor.rank++)] = dim;
  return tensor;
}

/// Random numbers in [-1, 1), as f32 and as the upper halves of these.
struct Values {
  std::vector<float> wide;
  std::vector<uint16_t> half;

  explicit Values(int64_t n) : wide(n), half(n) {
    std::mt19937 random(1);
    for (int64_t i = 0; i < n; ++i) {
      wide[i] = static_cast<float>(random()) * 0x1p-31f - 1;
      half[i] =
          static_cast<uint16_t>(__builtin_bit_cast(uint32_t, wide[i]) >> 16);
    }
  }
};

void countFlops(benchmark::State &state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(
      flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

double flopsOf(int64_t n, int64_t k) {
  return 2.0 * experts * rows * static_cast<double>(n * k);
}

const Tensor absent{};

/// The three products of a grouped linear layer in bf16.
enum class Pass { forward, inputGrad, weightGrad };

void grouped(benchmark::State &state, Pass pass, Isa isa) {
  if (!supports(isa)) {
    state.SkipWithError("this machine lacks the instruction set");
    return;
  }
  const int64_t n = state.range(0), k = state.range(1);
  Values x(experts * rows * k), weight(experts * n * k),
      out(experts * rows * n);
  std::vector<float> gradient(static_cast<size_t>(experts * n * k));
  std::vector<int32_t> counts(experts, rows);
  const Tensor xs = view(x.half.data(), DType::bf16, {experts * rows, k});
  const Tensor outs = view(out.half.data(), DType::bf16, {experts * rows, n});
  const Tensor weights = view(weight.half.data(), DType::bf16, {experts, n, k});
  const Tensor gradients = view(gradient.data(), DType::f32, {experts, n, k});
  const Tensor countsView = view(counts.data(), DType::i32, {experts});
  const KernelTable &table = cpuKernels(isa);
  for (auto _ : state) {
    if (pass == Pass::forward)
      table.groupedLinear({}, xs, countsView, weights, absent, absent, outs);
    else if (pass == Pass::inputGrad)
      table.groupedLinearInputGrad({}, outs, countsView, weights, xs);
    else
      table.groupedLinearWeightGrad({}, outs, xs, countsView, absent, gradients,
                                    absent);
    benchmark::ClobberMemory();
  }
  countFlops(state, flopsOf(n, k));
}

/// The forward in f32 by one sgemm an expert.
void blas(benchmark::State &state) {
  const auto n = static_cast<int>(state.range(0));
  const auto k = static_cast<int>(state.range(1));
  openblas_set_num_threads(1);
  Values x(experts * rows * k), weight(experts * n * k),
      out(experts * rows * n);
  const auto m = static_cast<int>(rows);
  for (auto _ : state) {
    for (int64_t e = 0; e < experts; ++e)
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1,
                  x.wide.data() + e * rows * k, k,
                  weight.wide.data() + e * n * k, k, 0,
                  out.wide.data() + e * rows * n, n);
    benchmark::ClobberMemory();
  }
  countFlops(state, flopsOf(n, k));
}

/// Causal attention, 8 heads over 2 of 128 columns.
void attention(benchmark::State &state, bool backward) {
  const int64_t length = state.range(0);
  const Attention attention{length, 8, 2, 128, 128, 0.088, 0};
  Values q(length * 1024), k(length * 256), v(length * 256), out(length * 1024),
      dOut(length * 1024);
  std::vector<float> normalizer(static_cast<size_t>(8 * length)),
      workspace(static_cast<size_t>(8 * length));
  const auto wide = [&](Values &values) {
    return view(values.half.data(), DType::bf16, {length, 1024});
  };
  const auto narrow = [&](Values &values) {
    return view(values.half.data(), DType::bf16, {length, 256});
  };
  const Tensor sums = view(normalizer.data(), DType::f32, {8, length});
  const Tensor space = view(workspace.data(), DType::f32, {8, length});
  Values dQ(length * 1024), dK(length * 256), dV(length * 256);
  const KernelTable &table = cpuKernels();
  table.attention({}, wide(q), narrow(k), narrow(v), absent, attention,
                  wide(out), sums);
  for (auto _ : state) {
    if (backward)
      table.attentionInputGrad({}, wide(dOut), wide(q), narrow(k), narrow(v),
                               wide(out), sums, attention, space, wide(dQ),
                               narrow(dK), narrow(dV));
    else
      table.attention({}, wide(q), narrow(k), narrow(v), absent, attention,
                      wide(out), sums);
    benchmark::ClobberMemory();
  }
  // Half of the score matrix; 2 products forward, 5 backward.
  const double product =
      2.0 * 8 * 128 * static_cast<double>(length * length) / 2;
  countFlops(state, product * (backward ? 5 : 2));
}

void sizes(benchmark::internal::Benchmark *b) {
  b->Args({1024, 1024})
      ->Args({1536, 2048})
      ->Args({2048, 768})
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK(blas)->Apply(sizes);
BENCHMARK_CAPTURE(grouped, forward, Pass::forward, Isa::avx512)->Apply(sizes);
BENCHMARK_CAPTURE(grouped, input_grad, Pass::inputGrad, Isa::avx512)
    ->Apply(sizes);
BENCHMARK_CAPTURE(grouped, weight_grad, Pass::weightGrad, Isa::avx512)
    ->Apply(sizes);
BENCHMARK_CAPTURE(grouped, forward_avx2, Pass::forward, Isa::avx2)
    ->Apply(sizes);
BENCHMARK_CAPTURE(attention, forward, false)
    ->Arg(1024)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(attention, backward, true)
    ->Arg(1024)
    ->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
