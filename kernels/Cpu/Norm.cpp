//===- Norm.cpp - root mean square norm -----------------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Math.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

void rmsNorm(const Parallel &parallel, const Tensor &x, const Tensor &weight,
             double epsilon, int64_t groups, const Tensor &out,
             const Tensor &inverse) {
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t width = x.dim(1) / groups;
    const auto *scale = weight.as<const S>();
    // A part of a row is a row of its own from here on.
    parallelFor(parallel, x.dim(0) * groups, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const S *row = x.as<const S>() + r * width;
        S *result = out.as<S>() + r * width;
        const A mean = dot<A>(row, row, width) / A(width);
        const A factor = A(1) / squareRoot(mean + A(epsilon));
        inverse.as<A>()[r] = factor;
        for (int64_t i = 0; i < width; ++i)
          result[i] = narrow<S>(widen(row[i]) * factor * widen(scale[i]));
      }
    });
  });
}

// With n = x * inverse and g = dOut * weight:
//   dX = inverse * (g - n * mean(g * n)).
void rmsNormInputGrad(const Parallel &parallel, const Tensor &dOut,
                      const Tensor &x, const Tensor &inverse,
                      const Tensor &weight, int64_t groups, const Tensor &dX) {
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t width = x.dim(1) / groups;
    const auto *scale = weight.as<const S>();
    parallelFor(parallel, x.dim(0) * groups, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const S *row = x.as<const S>() + r * width;
        const S *gradient = dOut.as<const S>() + r * width;
        S *result = dX.as<S>() + r * width;
        const A factor = inverse.as<const A>()[r];
        const A product = laneSum<A>(width, [=](int64_t i, A partial) {
          return multiplyAdd(widen(gradient[i]) * widen(scale[i]),
                             A(widen(row[i])), partial);
        });
        const A share = -(product * factor * factor / A(width));
        for (int64_t i = 0; i < width; ++i)
          result[i] = narrow<S>(
              factor * multiplyAdd(A(widen(row[i])), share,
                                   widen(gradient[i]) * widen(scale[i])));
      }
    });
  });
}

void rmsNormWeightGrad(const Parallel &parallel, const Tensor &dOut,
                       const Tensor &x, const Tensor &inverse, int64_t groups,
                       const Tensor &dWeight) {
  withStorage(x.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t width = x.dim(1) / groups, rows = x.dim(0) * groups;
    const auto *factors = inverse.as<const A>();
    auto *sum = dWeight.as<A>();
    // Split by columns; each column is summed over rows in ascending order,
    // from the gradient's present value.
    parallelFor(parallel, width, [&](int64_t begin, int64_t end) {
      for (int64_t r = 0; r < rows; ++r) {
        const S *row = x.as<const S>() + r * width;
        const S *gradient = dOut.as<const S>() + r * width;
        const A factor = factors[r];
        for (int64_t i = begin; i < end; ++i)
          sum[i] = multiplyAdd(A(widen(gradient[i])), widen(row[i]) * factor,
                               sum[i]);
      }
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
