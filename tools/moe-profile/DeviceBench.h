//===- DeviceBench.h - times of work on a CUDA device -----------*- C++ -*-===//
//
// Private to tools/moe-profile.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace moe {

/// Products of bf16 matrices, `count` of them on several streams: rows x depth
/// times depth x columns.
struct Product {
  int64_t rows = 0, columns = 0, depth = 0;
  int64_t count = 1;

  double flops() const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(columns) *
           static_cast<double>(depth) * static_cast<double>(count);
  }
  /// Read and written.
  int64_t bytes() const {
    return 2 * count * (rows * depth + depth * columns + rows * columns);
  }
};

enum class Direction : uint8_t { toDevice, toHost };

/// One device. Times are nanoseconds of one piece of work among many that are
/// issued back to back: the median of several runs, on random numbers that come
/// from device memory rather than from a cache.
class DeviceBench {
public:
  /// Errors: no such device, or one that does not answer.
  static Result<DeviceBench> make(int device);
  DeviceBench(DeviceBench &&) noexcept;
  ~DeviceBench();

  const std::string &deviceName() const;
  int64_t memoryBytes() const;
  /// Device memory in use once the context and cuBLAS with its workspace are
  /// loaded, that of other processes included.
  int64_t contextBytes() const;

  Result<int64_t> productNs(const Product &product);
  /// y = a x + y for vectors of `floats` numbers.
  Result<int64_t> sumNs(int64_t floats);
  /// Between device memory and page-locked memory of the host.
  Result<int64_t> copyNs(Direction direction, int64_t bytes);
  /// Bytes per second that both directions reach together while both copy.
  Result<int64_t> bothWays(int64_t bytes);

private:
  struct State;
  explicit DeviceBench(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace moe
