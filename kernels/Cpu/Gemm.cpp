//===- Gemm.cpp - blocks of matrix products -------------------------------===//

#include "kernels/Cpu/Gemm.h"
#include "kernels/Cpu/Scratch.h"

#include <algorithm>
#include <vector>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

// An output block is one unit of parallel work. Its packed factors stay in the
// second-level cache; a panel of b of one depth block in the first.
constexpr int64_t blockRows = 256;
constexpr int64_t blockColumns = 384;
constexpr int64_t blockDepth = 256;

constexpr int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

Operand advance(const Operand &operand, int64_t panel, int64_t depth) {
  Operand result = operand;
  result.data = static_cast<const char *>(operand.data) +
                byteSize(operand.type) *
                    (panel * operand.panelStride + depth * operand.depthStride);
  return result;
}

template <typename T> struct Block {
  int64_t row, column, rows, columns;
  T *sums;
  int64_t stride;
};

template <typename T> void addBias(const Product &product, const Block<T> &b) {
  withStorage(product.biasType, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    const S *bias = static_cast<const S *>(product.bias) + b.column;
    for (int64_t m = 0; m < b.rows; ++m) {
      T *row = b.sums + m * b.stride;
      if (product.biasScale) {
        const T scale = static_cast<const T *>(product.biasScale)[b.row + m];
        for (int64_t n = 0; n < b.columns; ++n)
          row[n] = multiplyAdd(scale, T(widen(bias[n])), row[n]);
      } else {
        for (int64_t n = 0; n < b.columns; ++n)
          row[n] += T(widen(bias[n]));
      }
    }
  });
}

template <typename T> void store(const Product &product, const Block<T> &b) {
  withStorage(product.outType, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    for (int64_t m = 0; m < b.rows; ++m) {
      const T *row = b.sums + m * b.stride;
      S *out = static_cast<S *>(product.out) + (b.row + m) * product.columns +
               b.column;
      for (int64_t n = 0; n < b.columns; ++n)
        out[n] = narrow<S>(static_cast<Accumulator<S>>(row[n]));
    }
  });
}

template <typename T>
void multiplyBlock(const Product &product, int64_t row, int64_t column) {
  const int64_t rows = std::min(blockRows, product.rows - row);
  const int64_t columns = std::min(blockColumns, product.columns - column);
  // Partial sums live in the accumulator's type between depth blocks; when
  // that is the type of the output, they live there.
  const bool direct = byteSize(product.outType) == sizeof(T);
  assert(direct || !product.accumulate);
  Block<T> block{row, column, rows, columns, nullptr, 0};
  if (direct) {
    block.sums = static_cast<T *>(product.out) + row * product.columns + column;
    block.stride = product.columns;
  } else {
    block.sums = scratch<T>(ScratchSlot::tile, rows * columns);
    block.stride = columns;
  }
  const int64_t deepest = std::min(blockDepth, product.depth);
  T *a = scratch<T>(ScratchSlot::packedA,
                    packedElements(rows, deepest, RegisterTile<T>::rows));
  T *b = scratch<T>(ScratchSlot::packedB,
                    packedElements(columns, deepest, RegisterTile<T>::columns));
  bool accumulate = product.accumulate;
  int64_t k = 0;
  do {
    const int64_t depth = std::min(blockDepth, product.depth - k);
    packA(advance(product.a, row, k), rows, depth, a);
    packB(advance(product.b, column, k), columns, depth, b);
    multiplyPacked(rows, columns, depth, a, b, block.sums, block.stride,
                   accumulate);
    accumulate = true;
    k += depth;
  } while (k < product.depth);
  if (product.bias)
    addBias(product, block);
  if (!direct)
    store(product, block);
}

} // namespace

void multiply(const Parallel &parallel, DType accumulator,
              const Product *products, int64_t count) {
  // Blocks are numbered product by product, column of blocks by column.
  std::vector<int64_t> first(static_cast<size_t>(count) + 1, 0);
  for (int64_t i = 0; i < count; ++i)
    first[i + 1] = first[i] + ceilDivide(products[i].rows, blockRows) *
                                  ceilDivide(products[i].columns, blockColumns);
  const int64_t *firstBlock = first.data();
  parallelFor(parallel, firstBlock[count], [=](int64_t begin, int64_t end) {
    int64_t i = 0;
    for (int64_t block = begin; block < end; ++block) {
      while (block >= firstBlock[i + 1])
        ++i;
      const int64_t inside = block - firstBlock[i];
      const int64_t tall = ceilDivide(products[i].rows, blockRows);
      const int64_t row = inside % tall * blockRows;
      const int64_t column = inside / tall * blockColumns;
      if (accumulator == DType::f64)
        multiplyBlock<double>(products[i], row, column);
      else
        multiplyBlock<float>(products[i], row, column);
    }
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
