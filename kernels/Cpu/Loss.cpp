//===- Loss.cpp - cross entropy -------------------------------------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Math.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

void crossEntropy(const Parallel &parallel, const Tensor &logits,
                  const Tensor &labels, const Tensor &loss,
                  const Tensor &logSumExp) {
  withStorage(logits.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t rows = logits.dim(0), width = logits.dim(1);
    const auto *ids = labels.as<const int32_t>();
    auto *normalizers = logSumExp.as<A>();
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const S *row = logits.as<const S>() + t * width;
        const A largest = maximum(row, width);
        const A sum = laneSum<A>(width, [=](int64_t i, A partial) {
          return partial + exponential(widen(row[i]) - largest);
        });
        normalizers[t] = largest + logarithm(sum);
      }
    });
    // One sum over the microbatch: in double, in the order of t.
    double sum = 0;
    for (int64_t t = 0; t < rows; ++t) {
      assert(ids[t] >= 0 && ids[t] < width);
      sum += double(normalizers[t]) -
             double(widen(logits.as<const S>()[t * width + ids[t]]));
    }
    *loss.as<A>() = A(sum / double(rows));
  });
}

void crossEntropyInputGrad(const Parallel &parallel, const Tensor &logits,
                           const Tensor &labels, const Tensor &logSumExp,
                           double scale, const Tensor &dLogits) {
  withStorage(logits.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t rows = logits.dim(0), width = logits.dim(1);
    const auto *ids = labels.as<const int32_t>();
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const S *row = logits.as<const S>() + t * width;
        S *result = dLogits.as<S>() + t * width;
        const A normalizer = logSumExp.as<const A>()[t];
        const int64_t label = ids[t];
        const A atLabel =
            (exponential(widen(row[label]) - normalizer) - A(1)) * A(scale);
        for (int64_t i = 0; i < width; ++i)
          result[i] =
              narrow<S>(exponential(widen(row[i]) - normalizer) * A(scale));
        result[label] = narrow<S>(atLabel);
      }
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
