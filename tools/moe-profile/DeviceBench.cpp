//===- DeviceBench.cpp - times of work on a CUDA device -------------------===//

#include "tools/moe-profile/DeviceBench.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

namespace moe {

namespace {

Status check(cudaError_t code, const char *what) {
  if (code == cudaSuccess)
    return {};
  return Error{std::string(what) + ": " + cudaGetErrorString(code)};
}

Status check(cublasStatus_t code, const char *what) {
  if (code == CUBLAS_STATUS_SUCCESS)
    return {};
  return Error{std::string(what) + ": " + cublasGetStatusString(code)};
}

/// Runs of which the median counts.
constexpr int kRuns = 7;
/// What a run takes at least, in milliseconds: events are exact to a
/// microsecond, and clocks take a while to settle.
constexpr float kRunMs = 20;
constexpr int kMostRepeats = 5000;
/// Several times any cache, and enough for the largest operands.
constexpr int64_t kPoolBytes = int64_t{4} << 30;
constexpr int64_t kHostBytes = int64_t{512} << 20;
constexpr int64_t kAlignment = 256;
/// On which products of one group run at once, as frameworks do it.
constexpr size_t kStreams = 4;

} // namespace

/// Everything on the device, given back in the order that the members end.
struct DeviceBench::State {
  std::string name;
  int64_t totalBytes = 0, contextBytes = 0;
  cublasHandle_t blas = nullptr;
  /// The first is the one that is timed; the others wait for it and it for
  /// them.
  std::array<cudaStream_t, kStreams> streams{};
  std::array<cudaEvent_t, kStreams> joins{};
  cudaEvent_t begin = nullptr, end = nullptr;
  char *pool = nullptr; ///< kPoolBytes of random numbers
  char *host = nullptr; ///< page-locked, kHostBytes
  int64_t next = 0;     ///< in the pool

  ~State() {
    cudaFree(pool);
    cudaFreeHost(host);
    for (cudaEvent_t event : {begin, end})
      if (event)
        cudaEventDestroy(event);
    for (cudaEvent_t event : joins)
      if (event)
        cudaEventDestroy(event);
    if (blas)
      cublasDestroy(blas);
    for (cudaStream_t each : streams)
      if (each)
        cudaStreamDestroy(each);
  }

  Status open(int device) {
    MOE_RETURN_IF_ERROR(check(cudaSetDevice(device), "cudaSetDevice"));
    cudaDeviceProp properties{};
    MOE_RETURN_IF_ERROR(check(cudaGetDeviceProperties(&properties, device),
                              "cudaGetDeviceProperties"));
    name = properties.name;
    for (size_t s = 0; s < kStreams; ++s) {
      MOE_RETURN_IF_ERROR(
          check(cudaStreamCreate(&streams[s]), "cudaStreamCreate"));
      MOE_RETURN_IF_ERROR(
          check(cudaEventCreateWithFlags(&joins[s], cudaEventDisableTiming),
                "cudaEventCreate"));
    }
    for (cudaEvent_t *event : {&begin, &end})
      MOE_RETURN_IF_ERROR(check(cudaEventCreate(event), "cudaEventCreate"));
    MOE_RETURN_IF_ERROR(check(cublasCreate(&blas), "cublasCreate"));
    MOE_RETURN_IF_ERROR(
        check(cudaMalloc(reinterpret_cast<void **>(&pool), kPoolBytes),
              "cudaMalloc of 4 GiB"));
    MOE_RETURN_IF_ERROR(
        check(cudaMallocHost(reinterpret_cast<void **>(&host), kHostBytes),
              "cudaMallocHost of 512 MiB"));
    MOE_RETURN_IF_ERROR(fill());
    // Loads kernels, takes the workspaces and lets the clocks rise.
    if (Result<int64_t> warm = productNs({4096, 4096, 4096, kStreams}); !warm)
      return warm.error();
    size_t free = 0, total = 0;
    MOE_RETURN_IF_ERROR(check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"));
    totalBytes = static_cast<int64_t>(total);
    contextBytes = static_cast<int64_t>(total - free) - kPoolBytes;
    return {};
  }

  /// Normally distributed bf16 numbers, also where two are read as a float:
  /// plainer ones draw less power and run faster.
  Status fill() {
    constexpr int64_t sampleBytes = int64_t{32} << 20;
    std::mt19937 random(1); // NOLINT(bugprone-random-generator-seed)
    std::normal_distribution<float> normal;
    auto *numbers = reinterpret_cast<uint16_t *>(host);
    for (int64_t i = 0; i < sampleBytes / 2; ++i)
      numbers[i] =
          static_cast<uint16_t>(std::bit_cast<uint32_t>(normal(random)) >> 16);
    for (int64_t at = sampleBytes; at < kHostBytes; at += sampleBytes)
      std::memcpy(host + at, host, sampleBytes);
    for (int64_t at = 0; at < kPoolBytes; at += kHostBytes)
      MOE_RETURN_IF_ERROR(
          check(cudaMemcpy(pool + at, host, kHostBytes, cudaMemcpyDefault),
                "cudaMemcpy"));
    return {};
  }

  /// The next `bytes` of the pool; from its start again where they end.
  char *take(int64_t bytes) {
    const int64_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (next + size > kPoolBytes)
      next = 0;
    char *taken = pool + next;
    next += size;
    return taken;
  }

  /// `launch` queues one piece of work behind the first stream.
  Result<int64_t> time(const std::function<Status()> &launch) {
    auto runMs = [&](int repeats) -> Result<float> {
      MOE_RETURN_IF_ERROR(check(cudaEventRecord(begin, streams[0]), "event"));
      for (int r = 0; r < repeats; ++r)
        MOE_RETURN_IF_ERROR(launch());
      MOE_RETURN_IF_ERROR(check(cudaEventRecord(end, streams[0]), "event"));
      MOE_RETURN_IF_ERROR(check(cudaEventSynchronize(end), "a kernel or copy"));
      float ms = 0;
      MOE_RETURN_IF_ERROR(check(cudaEventElapsedTime(&ms, begin, end), "time"));
      return ms;
    };
    constexpr int warmUps = 3;
    if (Result<float> first = runMs(warmUps); !first)
      return first.error();
    Result<float> warm = runMs(warmUps);
    if (!warm)
      return warm.error();
    const float repeats = kRunMs * warmUps / std::max(*warm, 1e-4F);
    const int count =
        std::clamp(static_cast<int>(repeats), warmUps, kMostRepeats);
    std::vector<float> runs;
    for (int r = 0; r < kRuns; ++r) {
      Result<float> ms = runMs(count);
      if (!ms)
        return ms.error();
      runs.push_back(*ms);
    }
    std::nth_element(runs.begin(), runs.begin() + kRuns / 2, runs.end());
    return std::max<int64_t>(
        1, std::llround(1e6 * static_cast<double>(runs[kRuns / 2]) / count));
  }

  /// The others begin when the first has got here.
  Status fork(size_t others) {
    MOE_RETURN_IF_ERROR(check(cudaEventRecord(joins[0], streams[0]), "event"));
    for (size_t s = 1; s <= others; ++s)
      MOE_RETURN_IF_ERROR(
          check(cudaStreamWaitEvent(streams[s], joins[0], 0), "wait"));
    return {};
  }

  /// The first goes on when the others have got here.
  Status join(size_t others) {
    for (size_t s = 1; s <= others; ++s) {
      MOE_RETURN_IF_ERROR(
          check(cudaEventRecord(joins[s], streams[s]), "event"));
      MOE_RETURN_IF_ERROR(
          check(cudaStreamWaitEvent(streams[0], joins[s], 0), "wait"));
    }
    return {};
  }

  /// One product after the other, on several streams by turns.
  Result<int64_t> productNs(const Product &product) {
    const auto m = static_cast<int>(product.columns),
               n = static_cast<int>(product.rows),
               k = static_cast<int>(product.depth);
    const auto count = static_cast<size_t>(product.count);
    const size_t others = std::min(count, kStreams) - 1;
    return time([&, m, n, k, count, others]() -> Status {
      const float one = 1, zero = 0;
      MOE_RETURN_IF_ERROR(fork(others));
      for (size_t i = 0; i < count; ++i) {
        MOE_RETURN_IF_ERROR(check(cublasSetStream(blas, streams[i % kStreams]),
                                  "cublasSetStream"));
        // Row by row, which for cuBLAS is the transposed product.
        MOE_RETURN_IF_ERROR(check(
            cublasGemmEx(blas, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &one,
                         take(product.depth * product.columns * 2), CUDA_R_16BF,
                         m, take(product.rows * product.depth * 2), CUDA_R_16BF,
                         k, &zero, take(product.rows * product.columns * 2),
                         CUDA_R_16BF, m, CUBLAS_COMPUTE_32F,
                         CUBLAS_GEMM_DEFAULT),
            "cublasGemmEx"));
      }
      return join(others);
    });
  }

  Status copy(Direction direction, int64_t bytes, cudaStream_t on) {
    const auto size = static_cast<size_t>(bytes);
    // Each direction has half of the page-locked memory.
    char *mine =
        direction == Direction::toDevice ? host : host + kHostBytes / 2;
    return check(direction == Direction::toDevice
                     ? cudaMemcpyAsync(take(bytes), mine, size,
                                       cudaMemcpyHostToDevice, on)
                     : cudaMemcpyAsync(mine, take(bytes), size,
                                       cudaMemcpyDeviceToHost, on),
                 "cudaMemcpyAsync");
  }
};

DeviceBench::DeviceBench(std::unique_ptr<State> state)
    : state(std::move(state)) {}
DeviceBench::DeviceBench(DeviceBench &&) noexcept = default;
DeviceBench::~DeviceBench() = default;

Result<DeviceBench> DeviceBench::make(int device) {
  int count = 0;
  if (cudaError_t code = cudaGetDeviceCount(&count);
      code != cudaSuccess || count == 0)
    return Error{std::string("no CUDA device: ") +
                 (code == cudaSuccess ? "the driver finds none"
                                      : cudaGetErrorString(code))};
  if (device >= count)
    return Error{"--device " + std::to_string(device) +
                 ": the devices are numbered from 0 to " +
                 std::to_string(count - 1)};
  auto state = std::make_unique<State>();
  MOE_RETURN_IF_ERROR(state->open(device));
  return DeviceBench(std::move(state));
}

const std::string &DeviceBench::deviceName() const { return state->name; }
int64_t DeviceBench::memoryBytes() const { return state->totalBytes; }
int64_t DeviceBench::contextBytes() const { return state->contextBytes; }

Result<int64_t> DeviceBench::productNs(const Product &product) {
  return state->productNs(product);
}

Result<int64_t> DeviceBench::sumNs(int64_t floats) {
  return state->time([&]() -> Status {
    const float factor = 0.5F;
    auto *x = reinterpret_cast<float *>(state->take(floats * 4));
    auto *y = reinterpret_cast<float *>(state->take(floats * 4));
    MOE_RETURN_IF_ERROR(check(cublasSetStream(state->blas, state->streams[0]),
                              "cublasSetStream"));
    return check(
        cublasSaxpy(state->blas, static_cast<int>(floats), &factor, x, 1, y, 1),
        "cublasSaxpy");
  });
}

Result<int64_t> DeviceBench::copyNs(Direction direction, int64_t bytes) {
  return state->time(
      [&] { return state->copy(direction, bytes, state->streams[0]); });
}

Result<int64_t> DeviceBench::bothWays(int64_t bytes) {
  Result<int64_t> ns = state->time([&]() -> Status {
    MOE_RETURN_IF_ERROR(state->fork(1));
    MOE_RETURN_IF_ERROR(
        state->copy(Direction::toHost, bytes, state->streams[1]));
    MOE_RETURN_IF_ERROR(
        state->copy(Direction::toDevice, bytes, state->streams[0]));
    return state->join(1);
  });
  if (!ns)
    return ns.error();
  return std::llround(2e9 * static_cast<double>(bytes) /
                      static_cast<double>(*ns));
}

} // namespace moe
