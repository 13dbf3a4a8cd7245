//===- Elementwise.cpp - embedding and addition ---------------------------===//

#include "kernels/Cpu/Entries.h"

#include <cstring>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

void embedding(const Parallel &parallel, const Tensor &tokens,
               const Tensor &table, const Tensor &out) {
  const auto *ids = tokens.as<const int32_t>();
  const auto rowBytes =
      static_cast<size_t>(table.dim(1) * byteSize(table.dtype));
  parallelFor(parallel, tokens.dim(0), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      assert(ids[t] >= 0 && ids[t] < table.dim(0));
      std::memcpy(out.as<char>() + t * rowBytes,
                  table.as<const char>() + ids[t] * rowBytes, rowBytes);
    }
  });
}

void embeddingWeightGrad(const Parallel &parallel, const Tensor &dOut,
                         const Tensor &tokens, const Tensor &dTable) {
  const auto *ids = tokens.as<const int32_t>();
  const int64_t rows = dOut.dim(0), width = dOut.dim(1);
  withStorage(dOut.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const auto *source = dOut.as<const S>();
    auto *gradient = dTable.as<A>();
    // Split by columns: a token may occur many times, its rows are added in
    // the order of t.
    parallelFor(parallel, width, [=](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < rows; ++t) {
        const S *from = source + t * width;
        A *to = gradient + ids[t] * width;
        for (int64_t h = begin; h < end; ++h)
          to[h] += widen(from[h]);
      }
    });
  });
}

void add(const Parallel &parallel, const Tensor &a, const Tensor &b,
         const Tensor &out) {
  withStorage(a.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    const auto *left = a.as<const S>();
    const auto *right = b.as<const S>();
    auto *sum = out.as<S>();
    parallelFor(parallel, a.elements(), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        sum[i] = narrow<S>(widen(left[i]) + widen(right[i]));
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
