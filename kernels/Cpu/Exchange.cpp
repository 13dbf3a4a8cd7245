//===- Exchange.cpp - the local halves of dispatch and combine ------------===//

#include "kernels/Cpu/Entries.h"
#include "kernels/Cpu/Scratch.h"

#include <cstring>

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {

// A counting sort, which is stable, on one thread: assignments are few beside
// the elements that they move.
void planExchange(const Parallel &, const Tensor &experts,
                  const Exchange &exchange, const Tensor &handle) {
  const int64_t assignments = exchange.tokens * exchange.topK;
  const auto *chosen = experts.as<const int32_t>();
  auto *positions = handle.as<int32_t>();
  int32_t *sent = positions + assignments;
  for (int64_t e = 0; e < exchange.experts; ++e)
    sent[e] = 0;
  for (int64_t a = 0; a < assignments; ++a) {
    assert(chosen[a] >= 0 && chosen[a] < exchange.experts);
    ++sent[chosen[a]];
  }
  auto *next = scratch<int32_t>(ScratchSlot::row, exchange.experts);
  int32_t first = 0;
  for (int64_t e = 0; e < exchange.experts; ++e) {
    next[e] = first;
    first += sent[e];
  }
  for (int64_t a = 0; a < assignments; ++a)
    positions[a] = next[chosen[a]]++;
}

void gatherRows(const Parallel &parallel, const Tensor &x, const Tensor &handle,
                const Exchange &exchange, const Tensor &staging) {
  const auto rowBytes = static_cast<size_t>(x.dim(1) * byteSize(x.dtype));
  const auto *positions = handle.as<const int32_t>();
  parallelFor(parallel, exchange.tokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t j = 0; j < exchange.topK; ++j)
        std::memcpy(staging.as<char>() +
                        positions[t * exchange.topK + j] * rowBytes,
                    x.as<const char>() + t * rowBytes, rowBytes);
  });
}

void gatherScalars(const Parallel &, const Tensor &probabilities,
                   const Tensor &handle, const Exchange &exchange,
                   const Tensor &staging) {
  withStorage(probabilities.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    const auto *positions = handle.as<const int32_t>();
    for (int64_t a = 0; a < exchange.tokens * exchange.topK; ++a)
      staging.as<S>()[positions[a]] = probabilities.as<const S>()[a];
  });
}

void reduceRows(const Parallel &parallel, const Tensor &staging,
                const Tensor &handle, const Exchange &exchange,
                const Tensor &out) {
  withStorage(out.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    const int64_t width = out.dim(1), topK = exchange.topK;
    const auto *positions = handle.as<const int32_t>();
    const auto *rows = staging.as<const S>();
    parallelFor(parallel, exchange.tokens, [&](int64_t begin, int64_t end) {
      A *sum = scratch<A>(ScratchSlot::row, width);
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t j = 0; j < topK; ++j) {
          const S *row = rows + positions[t * topK + j] * width;
          if (j == 0)
            for (int64_t h = 0; h < width; ++h)
              sum[h] = widen(row[h]);
          else
            for (int64_t h = 0; h < width; ++h)
              sum[h] += widen(row[h]);
        }
        S *result = out.as<S>() + t * width;
        for (int64_t h = 0; h < width; ++h)
          result[h] = narrow<S>(sum[h]);
      }
    });
  });
}

void scatterScalars(const Parallel &, const Tensor &staging,
                    const Tensor &handle, const Exchange &exchange,
                    const Tensor &out) {
  withStorage(out.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    const auto *positions = handle.as<const int32_t>();
    for (int64_t a = 0; a < exchange.tokens * exchange.topK; ++a)
      out.as<S>()[a] = staging.as<const S>()[positions[a]];
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
