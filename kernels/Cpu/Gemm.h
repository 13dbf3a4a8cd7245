//===- Gemm.h - matrix products with fixed bits -----------------*- C++ -*-===//
//
// C(m,n) = sum over k of a(m,k) b(k,n): per element one fused multiply-add for
// each k, in ascending order, in one accumulator. Blocking, packing, tiles and
// threads decide only when an element is computed, never how.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "kernels/Cpu/Scalar.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

/// A matrix factor seen along `panel` (m of a, n of b) and `depth` (k). One of
/// the strides, in elements, is 1.
struct Operand {
  const void *data = nullptr;
  DType type = DType::f32;
  int64_t panelStride = 0;
  int64_t depthStride = 0;
};

/// One product. The result is rounded once, to `outType`.
struct Product {
  Operand a, b;
  int64_t rows = 0, columns = 0, depth = 0;
  void *out = nullptr;
  DType outType = DType::f32;
  /// Sums start from the values in `out` instead of 0; `outType` is then the
  /// accumulator's.
  bool accumulate = false;
  /// Added to every row at the end (absent: null): + biasScale[m] * bias[n],
  /// fused; without biasScale + bias[n].
  const void *bias = nullptr;
  DType biasType = DType::f32;
  const void *biasScale = nullptr; ///< of the accumulator's type
};

/// Computes the products, which must not overlap. `accumulator` is f32 or f64.
void multiply(const Parallel &parallel, DType accumulator,
              const Product *products, int64_t count);

// --- the packed level, for kernels that keep their own tiles
// ------------------

/// Rows and columns of the register tile: panel widths of the two factors.
template <typename T> struct RegisterTile {
#if MOE_ISA == MOE_ISA_AVX512
  static constexpr int rows = 8, columns = 2 * 64 / sizeof(T);
#elif MOE_ISA == MOE_ISA_AVX2
  static constexpr int rows = 6, columns = 2 * 32 / sizeof(T);
#else
  static constexpr int rows = 4, columns = 8;
#endif
};

/// Elements of `count` panels' worth of rows (columns), filled up to whole
/// panels of `width`, at `depth`.
constexpr int64_t packedElements(int64_t count, int64_t depth, int width) {
  return (count + width - 1) / width * width * depth;
}

/// Packs panels of RegisterTile<T>::rows (packA) or ::columns (packB): inside a
/// panel, k by k, the values of its rows; missing rows of the last panel are 0.
/// Converts `operand`'s type to T.
template <typename T>
void packA(const Operand &operand, int64_t count, int64_t depth, T *packed);
template <typename T>
void packB(const Operand &operand, int64_t count, int64_t depth, T *packed);

/// c[rows, columns] (row stride `stride`) = or += the product of packed
/// factors.
template <typename T>
void multiplyPacked(int64_t rows, int64_t columns, int64_t depth, const T *a,
                    const T *b, T *c, int64_t stride, bool accumulate);

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
