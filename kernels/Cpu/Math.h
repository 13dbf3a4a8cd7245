//===- Math.h - elementary functions and sums with fixed bits ---*- C++ -*-===//
//
// Polynomials in explicit fused steps, so that results do not depend on a
// version of libm or on what it finds the machine to have, and so that loops
// vectorize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "kernels/Cpu/Scalar.h"

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

/// The same in double: |r|^14/14! is below 5e-18. Within 2 units in the last
/// place.
inline double exponential(double x) {
  constexpr double log2e = 0x1.71547652b82fep+0;
  constexpr double high = 0x1.62e42fefp-1, low = 0x1.473de6af278edp-34;
  constexpr double magic = 0x1.8p+52;
  double clamped = x < -746.0 ? -746.0 : x;
  clamped = clamped > 710.0 ? 710.0 : clamped;
  const double shifted = multiplyAdd(clamped, log2e, magic);
  const double n = shifted - magic;
  double r = multiplyAdd(n, -high, clamped);
  r = multiplyAdd(n, -low, r);
  constexpr double inverseFactorials[] = {1.0 / 6227020800,
                                          1.0 / 479001600,
                                          1.0 / 39916800,
                                          1.0 / 3628800,
                                          1.0 / 362880,
                                          1.0 / 40320,
                                          1.0 / 5040,
                                          1.0 / 720,
                                          1.0 / 120,
                                          1.0 / 24,
                                          1.0 / 6,
                                          0.5,
                                          1.0,
                                          1.0};
  double p = 0;
  for (double coefficient : inverseFactorials)
    p = multiplyAdd(p, r, coefficient);
  const auto exponent =
      static_cast<int64_t>(__builtin_bit_cast(uint64_t, shifted) -
                           __builtin_bit_cast(uint64_t, magic));
  const int64_t half = exponent >> 1;
  const auto scale = [](uint64_t e) {
    return __builtin_bit_cast(double, (e + 1023u) << 52);
  };
  return p * scale(static_cast<uint64_t>(half)) *
         scale(static_cast<uint64_t>(exponent) - static_cast<uint64_t>(half));
}

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

/// The same in double, with the series up to s^23.
inline double logarithm(double x) {
  if (!(x > 0) || x > std::numeric_limits<double>::max())
    return x == 0  ? -std::numeric_limits<double>::infinity()
           : x > 0 ? x
                   : std::numeric_limits<double>::quiet_NaN();
  constexpr double high = 0x1.62e42fefp-1, low = 0x1.473de6af278edp-34;
  constexpr uint64_t sqrtHalfBits = 0x3fe6a09e667f3bcd;
  const uint64_t bits = __builtin_bit_cast(uint64_t, x);
  const int64_t exponent = static_cast<int64_t>(bits - sqrtHalfBits) >> 52;
  const double m = __builtin_bit_cast(
      double, bits - (static_cast<uint64_t>(exponent) << 52));
  const double f = m - 1.0;
  const double s = f / (m + 1.0);
  const double z = s * s;
  double p = 2.0 / 23;
  for (int k = 21; k >= 3; k -= 2)
    p = multiplyAdd(p, z, 2.0 / k);
  const double e = static_cast<double>(exponent);
  double rest = multiplyAdd(s * z, p, -s * f);
  rest = multiplyAdd(e, low, rest);
  return multiplyAdd(e, high, f + rest);
}

struct SineCosine {
  double sine, cosine;
};

/// sin x and cos x, within 4e-16, for |x| below 10^9.
///
/// x = n pi/2 + r with |r| <= pi/4, pi/2 in two parts; Taylor polynomials of
/// degree 15 and 16 in r, whose remainders are below 5e-17.
inline SineCosine sineCosine(double x) {
  constexpr double magic = 0x1.8p+52;
  constexpr double halfPi = 0x1.921fb54442d18p+0, rest = 0x1.1a62633145c07p-54;
  const double shifted = multiplyAdd(x, 0x1.45f306dc9c883p-1, magic);
  const double n = shifted - magic;
  double r = multiplyAdd(n, -halfPi, x);
  r = multiplyAdd(n, -rest, r);
  const double z = r * r;
  double s = -1.0 / 1307674368000;
  s = multiplyAdd(s, z, 1.0 / 6227020800);
  s = multiplyAdd(s, z, -1.0 / 39916800);
  s = multiplyAdd(s, z, 1.0 / 362880);
  s = multiplyAdd(s, z, -1.0 / 5040);
  s = multiplyAdd(s, z, 1.0 / 120);
  s = multiplyAdd(s, z, -1.0 / 6);
  s = multiplyAdd(s * z, r, r);
  double c = 1.0 / 20922789888000;
  c = multiplyAdd(c, z, -1.0 / 87178291200);
  c = multiplyAdd(c, z, 1.0 / 479001600);
  c = multiplyAdd(c, z, -1.0 / 3628800);
  c = multiplyAdd(c, z, 1.0 / 40320);
  c = multiplyAdd(c, z, -1.0 / 720);
  c = multiplyAdd(c, z, 1.0 / 24);
  c = multiplyAdd(c, z, -0.5);
  c = multiplyAdd(c, z, 1.0);
  // Quarter turns: n mod 4 stands in the low bits of the shifted sum.
  const uint64_t quarter = __builtin_bit_cast(uint64_t, shifted);
  const double sine = quarter & 1 ? c : s;
  const double cosine = quarter & 1 ? s : c;
  return {quarter & 2 ? -sine : sine, (quarter + 1) & 2 ? -cosine : cosine};
}

/// base^exponent for a whole exponent >= 0, by repeated squaring.
inline double wholePower(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base)
    if (exponent & 1)
      result *= base;
  return result;
}

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
