//===- KernelTestSupport.h - arrays, pools, differences ---------*- C++ -*-===//
#pragma once

#include "kernels/Cpu/Isa.h"

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace moe::kernels::test {

using Random = std::mt19937;

/// An integer in [low, high].
int64_t pick(Random &random, int64_t low, int64_t high);

/// An owning tensor in an allocation of its exact size, so that
/// AddressSanitizer sees every access outside.
class Array {
public:
  Array() = default;
  Array(DType type, std::vector<int64_t> dims);

  /// Uniform in [low, high], rounded to what bf16 holds, so that the same seed
  /// gives equal values in every type.
  static Array uniform(Random &random, DType type, std::vector<int64_t> dims,
                       double low = -1, double high = 1);
  /// i32 values.
  static Array integers(const std::vector<int32_t> &values,
                        std::vector<int64_t> dims);

  int64_t elements() const { return count; }
  DType dtype() const { return type; }
  double get(int64_t i) const;
  void set(int64_t i, double value);
  int32_t integer(int64_t i) const;
  /// All bits of every element set: a NaN in every floating-point type.
  void poison();
  std::vector<double> values() const;
  std::string bytes() const;

  operator Tensor() const;

private:
  DType type = DType::f32;
  std::vector<int64_t> dims;
  int64_t count = 0;
  std::unique_ptr<char[]> storage;
};

/// An absent optional tensor.
inline const Tensor absent{};

/// f64 for f64, else f32.
inline DType accumulatorType(DType storage) {
  return storage == DType::f64 ? DType::f64 : DType::f32;
}

/// Nearest bf16 value.
double roundToBFloat16(double value);

/// Runs chunks of unequal length on threads of its own.
class TestPool {
public:
  explicit TestPool(int threads) : threads(threads) {}
  Parallel parallel();

private:
  static void run(void *pool, int64_t n, void (*body)(int64_t, int64_t, void *),
                  void *context);
  int threads;
};

/// The instruction sets of this machine.
std::vector<Isa> machineIsas();
const char *name(Isa isa);

/// sum over i of weights_i * values_i.
double weightedSum(const Array &values, const Array &weights);

/// Compares `gradient` with central differences of `value` in `input` (f64);
/// at most `samples` elements of it, chosen at random.
void expectGradient(const std::function<double()> &value, Array &input,
                    const Array &gradient, const std::string &name,
                    int64_t samples = 40);

} // namespace moe::kernels::test
