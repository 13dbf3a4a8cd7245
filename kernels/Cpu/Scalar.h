//===- Scalar.h - storage types, accumulators and dispatch ------*- C++ -*-===//
#pragma once

#include "kernels/Cpu/Isa.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

struct BFloat16 {
  uint16_t bits;
};

template <typename S> struct AccumulatorOf {
  using Type = float;
};
template <> struct AccumulatorOf<double> {
  using Type = double;
};
/// The type in which values of storage type S are computed.
template <typename S> using Accumulator = typename AccumulatorOf<S>::Type;

inline float widen(BFloat16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}
inline float widen(float value) { return value; }
inline double widen(double value) { return value; }

/// Rounds to storage: to nearest, ties to even; NaN stays a (quiet) NaN.
template <typename S> S narrow(Accumulator<S> value) { return value; }
template <> inline BFloat16 narrow<BFloat16>(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40;
  const bool isNan = (bits & 0x7fffffff) > 0x7f800000;
  return {static_cast<uint16_t>(isNan ? quiet : rounded)};
}

/// a * b + c with one rounding.
inline float multiplyAdd(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
inline double multiplyAdd(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}

inline float squareRoot(float value) { return __builtin_sqrtf(value); }
inline double squareRoot(double value) { return __builtin_sqrt(value); }

template <typename S> struct TypeTag {
  using Type = S;
};

/// Calls body(TypeTag<S>) for the storage type of `type`.
template <typename Body> void withStorage(DType type, const Body &body) {
  switch (type) {
  case DType::bf16:
    return body(TypeTag<BFloat16>());
  case DType::f32:
    return body(TypeTag<float>());
  case DType::f64:
    return body(TypeTag<double>());
  case DType::i32:
    assert(false && "kernels compute on floating-point tensors");
  }
}

/// The type in which tensors of `type` are computed.
inline DType accumulatorOf(DType type) {
  return type == DType::f64 ? DType::f64 : DType::f32;
}

/// Runs body(begin, end) over chunks that cover [0, n). What a chunk computes
/// must not depend on where it begins and ends.
template <typename Body>
void parallelFor(const Parallel &parallel, int64_t n, const Body &body) {
  if (n <= 0)
    return;
  if (!parallel.run) {
    body(int64_t{0}, n);
    return;
  }
  parallel.run(
      parallel.pool, n,
      [](int64_t begin, int64_t end, void *context) {
        (*static_cast<const Body *>(context))(begin, end);
      },
      const_cast<Body *>(&body));
}

/// Rows that hold data: the sum of `counts`, or `rows` without counts.
inline int64_t liveRows(const Tensor &counts, int64_t rows) {
  if (!counts.present())
    return rows;
  int64_t total = 0;
  for (int64_t e = 0; e < counts.dim(0); ++e)
    total += counts.as<const int32_t>()[e];
  assert(total <= rows);
  return total;
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
