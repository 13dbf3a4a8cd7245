//===- AttentionTile.h - blocks of the score matrix -------------*- C++ -*-===//
//
// Forward and backward walk the scores in tiles of queryBlock x keyBlock that
// start at multiples of these within a sequence. The tile sizes are part of the
// arithmetic (they order the sums); they are the same for every machine.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "kernels/Cpu/Gemm.h"
#include "kernels/Cpu/Math.h"
#include "kernels/Cpu/Scratch.h"

#include <algorithm>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

constexpr int64_t queryBlock = 64;
constexpr int64_t keyBlock = 96;

/// First key that a query sees, by positions within the sequence.
inline int64_t firstKey(int64_t query, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, query - window + 1) : 0;
}

/// One head of a [T, heads*width] tensor, from some row on.
struct HeadRows {
  const Tensor *tensor;
  int64_t row, head, width;

  const void *data() const {
    return tensor->as<const char>() +
           (row * tensor->dim(1) + head * width) * byteSize(tensor->dtype);
  }
  /// As a factor whose panel runs over rows and depth over columns.
  Operand byRows() const { return {data(), tensor->dtype, tensor->dim(1), 1}; }
  /// As a factor whose panel runs over columns and depth over rows.
  Operand byColumns() const {
    return {data(), tensor->dtype, 1, tensor->dim(1)};
  }
};

/// A score tile as a factor; its row stride is keyBlock.
template <typename A> Operand tileByRows(const A *tile) {
  return {tile, sizeof(A) == 8 ? DType::f64 : DType::f32, keyBlock, 1};
}
template <typename A> Operand tileByColumns(const A *tile) {
  return {tile, sizeof(A) == 8 ? DType::f64 : DType::f32, 1, keyBlock};
}

/// Carves pieces out of one scratch allocation, each aligned to 64 bytes.
template <typename A> struct Carver {
  A *next;

  A *take(int64_t elements) {
    A *piece = next;
    next += rounded(elements);
    return piece;
  }
  static constexpr int64_t rounded(int64_t elements) {
    return (elements + 15) / 16 * 16;
  }
};

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
