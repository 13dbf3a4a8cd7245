//===- Math.h - elementary functions and sums with fixed bits ---*- C++ -*-===//
//
// The float functions are polynomials in explicit fused steps, so that they do
// not depend on a version of libm and vectorize. The double functions, which
// exist for gradient tests, are those of libm.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "kernels/Cpu/Scalar.h"

#include <cmath>
#include <limits>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

// ln 2 in two parts: the first has few enough bits that its product with an
// exponent is exact.
constexpr float ln2High = 0x1.62e4p-1f;
constexpr float ln2Low = 0x1.7f7d1cp-20f;

/// e^x, within 2 units in the last place over the whole range, subnormal
/// results, overflow to infinity, and NaN included.
///
/// x = n ln 2 + r with |r| <= (ln 2)/2; e^r by its Taylor polynomial of degree
/// 7, whose remainder is below 5.3e-9 relative.
inline float exponential(float x) {
  constexpr float log2e = 0x1.715476p+0f;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits.
  constexpr float magic = 0x1.8p+23f;
  float clamped = x < -104.0f ? -104.0f : x;
  clamped = clamped > 89.0f ? 89.0f : clamped;
  const float shifted = multiplyAdd(clamped, log2e, magic);
  const float n = shifted - magic;
  float r = multiplyAdd(n, -ln2High, clamped);
  r = multiplyAdd(n, -ln2Low, r);
  float p = 1.0f / 5040;
  p = multiplyAdd(p, r, 1.0f / 720);
  p = multiplyAdd(p, r, 1.0f / 120);
  p = multiplyAdd(p, r, 1.0f / 24);
  p = multiplyAdd(p, r, 1.0f / 6);
  p = multiplyAdd(p, r, 0.5f);
  p = multiplyAdd(p, r, 1.0f);
  p = multiplyAdd(p, r, 1.0f);
  // 2^n in two factors, since n reaches from -150 to 128. Unsigned arithmetic:
  // for NaN the bits are arbitrary and the product is NaN all the same.
  const auto exponent =
      static_cast<int32_t>(__builtin_bit_cast(uint32_t, shifted) -
                           __builtin_bit_cast(uint32_t, magic));
  const int32_t half = exponent >> 1;
  const auto scale = [](uint32_t e) {
    return __builtin_bit_cast(float, (e + 127u) << 23);
  };
  return p * scale(static_cast<uint32_t>(half)) *
         scale(static_cast<uint32_t>(exponent) - static_cast<uint32_t>(half));
}
inline double exponential(double x) { return std::exp(x); }

/// ln x for normal x, within 2 units in the last place; NaN for NaN and for
/// negative x, +-infinity at infinity and 0.
///
/// x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh s with
/// s = (m-1)/(m+1), |s| < 0.1716, by its series up to s^11 (remainder below
/// 6e-11 relative).
inline float logarithm(float x) {
  if (!(x > 0) || x > std::numeric_limits<float>::max())
    return x == 0  ? -std::numeric_limits<float>::infinity()
           : x > 0 ? x
                   : std::numeric_limits<float>::quiet_NaN();
  constexpr uint32_t sqrtHalfBits = 0x3f3504f3;
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const int32_t exponent = static_cast<int32_t>(bits - sqrtHalfBits) >> 23;
  const float m =
      __builtin_bit_cast(float, bits - (static_cast<uint32_t>(exponent) << 23));
  const float f = m - 1.0f;
  const float s = f / (m + 1.0f);
  const float z = s * s;
  float p = 2.0f / 11;
  p = multiplyAdd(p, z, 2.0f / 9);
  p = multiplyAdd(p, z, 2.0f / 7);
  p = multiplyAdd(p, z, 2.0f / 5);
  p = multiplyAdd(p, z, 2.0f / 3);
  // 2 s = f - s f exactly in real numbers; f carries no rounding error, so the
  // small correction is added to it last.
  const float e = static_cast<float>(exponent);
  float low = multiplyAdd(s * z, p, -s * f);
  low = multiplyAdd(e, ln2Low, low);
  return multiplyAdd(e, ln2High, f + low);
}
inline double logarithm(double x) { return std::log(x); }

template <typename A> A sigmoid(A x) { return A(1) / (A(1) + exponential(-x)); }

/// Sums over a row are split into this many interleaved partial sums, which are
/// then added pairwise; a constant of the results, not of the machine.
constexpr int sumLanes = 16;

/// Sum of n terms: step(i, partial) returns `partial` with term i added.
template <typename A, typename Step> A laneSum(int64_t n, const Step &step) {
  A lane[sumLanes] = {};
  int64_t i = 0;
  for (; i + sumLanes <= n; i += sumLanes)
    for (int l = 0; l < sumLanes; ++l)
      lane[l] = step(i + l, lane[l]);
  for (int l = 0; i + l < n; ++l)
    lane[l] = step(i + l, lane[l]);
  for (int width = sumLanes / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l)
      lane[l] += lane[l + width];
  return lane[0];
}

/// Inner product of two rows.
template <typename A, typename S, typename U>
A dot(const S *a, const U *b, int64_t n) {
  return laneSum<A>(n, [=](int64_t i, A partial) {
    return multiplyAdd(A(widen(a[i])), A(widen(b[i])), partial);
  });
}

/// Largest of n > 0 values, -infinity when all are NaN.
template <typename S> Accumulator<S> maximum(const S *x, int64_t n) {
  using A = Accumulator<S>;
  A lane[sumLanes];
  for (A &value : lane)
    value = -std::numeric_limits<A>::infinity();
  int64_t i = 0;
  for (; i + sumLanes <= n; i += sumLanes)
    for (int l = 0; l < sumLanes; ++l) {
      const A value = widen(x[i + l]);
      lane[l] = value > lane[l] ? value : lane[l];
    }
  for (; i < n; ++i) {
    const A value = widen(x[i]);
    lane[0] = value > lane[0] ? value : lane[0];
  }
  for (int l = 1; l < sumLanes; ++l)
    lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
  return lane[0];
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
