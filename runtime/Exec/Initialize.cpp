#include "runtime/Exec/Hash.h"
#include "runtime/Exec/Parameters.h"

#include <cmath>
#include <numbers>

namespace moe::exec {

/// Two uniform numbers in (0, 1) make two independent normal ones; elements 2n
/// and 2n + 1 are such a pair.
static double normal(uint64_t key, int64_t element) {
  constexpr double kUnit = 0x1p-53;
  uint64_t pair = static_cast<uint64_t>(element) & ~uint64_t{1};
  double u = (static_cast<double>(mix(key + pair) >> 11) + 0.5) * kUnit;
  double v = (static_cast<double>(mix(key + pair + 1) >> 11) + 0.5) * kUnit;
  double radius = std::sqrt(-2 * std::log(u));
  double angle = 2 * std::numbers::pi * v;
  return radius * (element % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

template <typename T>
void initialize(ThreadPool &pool, const plan::Parameter &parameter,
                uint64_t seed, int64_t first, std::span<T> values) {
  const plan::Initializer &initializer = parameter.initializer;
  // A copy starts as what it is a copy of.
  uint64_t key =
      mix(mix(seed) ^
          hash(parameter.tiedTo.empty() ? parameter.name : parameter.tiedTo));
  bool random = initializer.kind == "normal";
  T constant = initializer.kind == "ones" ? T(1) : T(0);
  pool.forEachChunk(
      static_cast<int64_t>(values.size()), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          values[static_cast<size_t>(i)] =
              random ? static_cast<T>(normal(key, first + i) *
                                      initializer.standardDeviation)
                     : constant;
      });
}

template void initialize(ThreadPool &, const plan::Parameter &, uint64_t,
                         int64_t, std::span<float>);
template void initialize(ThreadPool &, const plan::Parameter &, uint64_t,
                         int64_t, std::span<double>);

} // namespace moe::exec
