//===- Linear.cpp - dense and grouped linear layers -----------------------===//
//
// All three products of a layer are one routine with different strides. Weight
// gradients start from the gradient's present value, so that accumulating over
// microbatches gives the same bits as one call over all their rows.
//
//===----------------------------------------------------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Gemm.h"
#include "kernels/Cpu/Math.h"

#include <vector>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// A factor whose rows are the panel: rows of x in x W^T.
Operand byRows(const Tensor &matrix) {
  return {matrix.data, matrix.dtype, matrix.dim(matrix.rank - 1), 1};
}

/// A factor whose columns are the panel: columns of W in dOut W.
Operand byColumns(const Tensor &matrix) {
  return {matrix.data, matrix.dtype, 1, matrix.dim(matrix.rank - 1)};
}

void *offset(const Tensor &tensor, int64_t elements) {
  return tensor.present()
             ? tensor.as<char>() + elements * byteSize(tensor.dtype)
             : nullptr;
}

Operand shifted(Operand operand, int64_t elements) {
  operand.data = static_cast<const char *>(operand.data) +
                 elements * byteSize(operand.type);
  return operand;
}

/// Calls body(e, first row, rows) for every expert.
template <typename Body>
void forEachGroup(const Tensor &counts, const Body &body) {
  int64_t first = 0;
  for (int64_t e = 0; e < counts.dim(0); ++e) {
    const int64_t rows = counts.as<const int32_t>()[e];
    body(e, first, rows);
    first += rows;
  }
}

/// One column sum of the bias gradient: rows [first, first + rows) of dOut,
/// columns [begin, end).
template <typename S, typename A>
void addColumnSums(const S *dOut, int64_t width, const A *scale, int64_t first,
                   int64_t rows, int64_t begin, int64_t end, A *sum) {
  for (int64_t r = first; r < first + rows; ++r) {
    const S *row = dOut + r * width;
    if (scale)
      for (int64_t n = begin; n < end; ++n)
        sum[n] = multiplyAdd(scale[r], A(widen(row[n])), sum[n]);
    else
      for (int64_t n = begin; n < end; ++n)
        sum[n] += widen(row[n]);
  }
}

} // namespace

void linear(const Parallel &parallel, const Tensor &x, const Tensor &weight,
            const Tensor &bias, const Tensor &out) {
  Product product;
  product.a = byRows(x);
  product.b = byRows(weight);
  product.rows = x.dim(0);
  product.columns = weight.dim(0);
  product.depth = weight.dim(1);
  product.out = out.data;
  product.outType = out.dtype;
  product.bias = bias.data;
  product.biasType = bias.dtype;
  multiply(parallel, accumulatorOf(weight.dtype), &product, 1);
}

void linearInputGrad(const Parallel &parallel, const Tensor &dOut,
                     const Tensor &weight, const Tensor &dX) {
  Product product;
  product.a = byRows(dOut);
  product.b = byColumns(weight);
  product.rows = dOut.dim(0);
  product.columns = weight.dim(1);
  product.depth = weight.dim(0);
  product.out = dX.data;
  product.outType = dX.dtype;
  multiply(parallel, accumulatorOf(weight.dtype), &product, 1);
}

void linearWeightGrad(const Parallel &parallel, const Tensor &dOut,
                      const Tensor &x, const Tensor &dWeight,
                      const Tensor &dBias) {
  const int64_t rows = dOut.dim(0), width = dOut.dim(1);
  Product product;
  product.a = byColumns(dOut);
  product.b = byColumns(x);
  product.rows = width;
  product.columns = x.dim(1);
  product.depth = rows;
  product.out = dWeight.data;
  product.outType = dWeight.dtype;
  product.accumulate = true;
  multiply(parallel, dWeight.dtype, &product, 1);
  if (!dBias.present())
    return;
  withStorage(dOut.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    parallelFor(parallel, width, [&](int64_t begin, int64_t end) {
      addColumnSums<S, A>(dOut.as<const S>(), width, nullptr, 0, rows, begin,
                          end, dBias.as<A>());
    });
  });
}

void groupedLinear(const Parallel &parallel, const Tensor &x,
                   const Tensor &counts, const Tensor &weight,
                   const Tensor &bias, const Tensor &biasScale,
                   const Tensor &out) {
  const int64_t columns = weight.dim(1), depth = weight.dim(2);
  std::vector<Product> products;
  forEachGroup(counts, [&](int64_t e, int64_t first, int64_t rows) {
    Product product;
    product.a = shifted(byRows(x), first * depth);
    product.b = shifted(byRows(weight), e * columns * depth);
    product.rows = rows;
    product.columns = columns;
    product.depth = depth;
    product.out = offset(out, first * columns);
    product.outType = out.dtype;
    product.bias = offset(bias, e * columns);
    product.biasType = bias.dtype;
    product.biasScale = offset(biasScale, first);
    products.push_back(product);
  });
  multiply(parallel, accumulatorOf(weight.dtype), products.data(),
           static_cast<int64_t>(products.size()));
}

void groupedLinearInputGrad(const Parallel &parallel, const Tensor &dOut,
                            const Tensor &counts, const Tensor &weight,
                            const Tensor &dX) {
  const int64_t depth = weight.dim(1), columns = weight.dim(2);
  std::vector<Product> products;
  forEachGroup(counts, [&](int64_t e, int64_t first, int64_t rows) {
    Product product;
    product.a = shifted(byRows(dOut), first * depth);
    product.b = shifted(byColumns(weight), e * depth * columns);
    product.rows = rows;
    product.columns = columns;
    product.depth = depth;
    product.out = offset(dX, first * columns);
    product.outType = dX.dtype;
    products.push_back(product);
  });
  multiply(parallel, accumulatorOf(weight.dtype), products.data(),
           static_cast<int64_t>(products.size()));
}

void groupedLinearBiasScaleGrad(const Parallel &parallel, const Tensor &dOut,
                                const Tensor &counts, const Tensor &bias,
                                const Tensor &dScale) {
  const int64_t width = dOut.dim(1);
  withStorage(dOut.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    parallelFor(
        parallel, liveRows(counts, dOut.dim(0)),
        [&](int64_t begin, int64_t end) {
          forEachGroup(counts, [&](int64_t e, int64_t first, int64_t rows) {
            for (int64_t r = first < begin ? begin : first;
                 r < first + rows && r < end; ++r)
              dScale.as<A>()[r] = dot<A>(dOut.as<const S>() + r * width,
                                         bias.as<const S>() + e * width, width);
          });
        });
  });
}

void groupedLinearWeightGrad(const Parallel &parallel, const Tensor &dOut,
                             const Tensor &x, const Tensor &counts,
                             const Tensor &biasScale, const Tensor &dWeight,
                             const Tensor &dBias) {
  const int64_t width = dOut.dim(1), columns = x.dim(1);
  std::vector<Product> products;
  forEachGroup(counts, [&](int64_t e, int64_t first, int64_t rows) {
    Product product;
    product.a = shifted(byColumns(dOut), first * width);
    product.b = shifted(byColumns(x), first * columns);
    // An expert without rows keeps its gradient: no block at all.
    product.rows = rows > 0 ? width : 0;
    product.columns = columns;
    product.depth = rows;
    product.out = offset(dWeight, e * width * columns);
    product.outType = dWeight.dtype;
    product.accumulate = true;
    products.push_back(product);
  });
  multiply(parallel, dWeight.dtype, products.data(),
           static_cast<int64_t>(products.size()));
  if (!dBias.present())
    return;
  withStorage(dOut.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const A *scale = biasScale.present() ? biasScale.as<const A>() : nullptr;
    parallelFor(parallel, width, [&](int64_t begin, int64_t end) {
      forEachGroup(counts, [&](int64_t e, int64_t first, int64_t rows) {
        addColumnSums<S, A>(dOut.as<const S>(), width, scale, first, rows,
                            begin, end, dBias.as<A>() + e * width);
      });
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
