//===- AttentionGrad.cpp - causal attention, backward ---------------------===//
//
// Two passes over the scores, which are computed again in each: one by query
// block for dQ, one by key block for dK and dV. Every sum then belongs to one
// task and has one order: dQ over keys ascending; dK and dV over the heads of
// the group ascending and inside over queries ascending.
//
//===----------------------------------------------------------------------===//

#include "kernels/Cpu/AttentionTile.h"
#include "kernels/Cpu/Entries.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// The operands of attentionInputGrad.
struct Gradients {
  const Tensor &dOut, &q, &k, &v, &logSumExp;
  const Attention &attention;
  const Tensor &rowSums; ///< [heads, T]: sums of dOut * out
  const Tensor &dQ, &dK, &dV;
};

/// Tiles and packed factors of one task.
template <typename A> struct Workspace {
  A *packedA, *packedB, *probabilities, *dScores, *first, *second;

  explicit Workspace(const Attention &attention) {
    constexpr int64_t widest = std::max(queryBlock, keyBlock);
    const int64_t width = std::max({attention.qkDim, attention.vDim, widest});
    const int64_t a = packedElements(widest, width, RegisterTile<A>::rows);
    const int64_t b = packedElements(width, width, RegisterTile<A>::columns);
    const int64_t tile = queryBlock * keyBlock;
    const int64_t sums = widest * width;
    using C = Carver<A>;
    C carver{scratch<A>(ScratchSlot::attention, C::rounded(a) + C::rounded(b) +
                                                    2 * C::rounded(tile) +
                                                    2 * C::rounded(sums))};
    packedA = carver.take(a);
    packedB = carver.take(b);
    probabilities = carver.take(tile);
    dScores = carver.take(tile);
    first = carver.take(sums);
    second = carver.take(sums);
  }
};

/// Probabilities P = exp(scale q.k - logSumExp) of a tile, and
/// dScores = P * (dOut.v - row sum) * scale; masked entries are 0.
template <typename A>
void differentiateTile(const Gradients &g, const Workspace<A> &w, int64_t base,
                       int64_t head, int64_t query, int64_t queries,
                       int64_t key, int64_t keys) {
  const Attention &attention = g.attention;
  const int64_t kvHead = head / (attention.heads / attention.kvHeads);
  const auto product = [&](const Tensor &left, const Tensor &right,
                           int64_t width, A *tile) {
    packA(HeadRows{&left, base + query, head, width}.byRows(), queries, width,
          w.packedA);
    packB(HeadRows{&right, base + key, kvHead, width}.byRows(), keys, width,
          w.packedB);
    multiplyPacked(queries, keys, width, w.packedA, w.packedB, tile, keyBlock,
                   false);
  };
  product(g.q, g.k, attention.qkDim, w.probabilities);
  product(g.dOut, g.v, attention.vDim, w.dScores);
  const A scale = A(attention.softmaxScale);
  for (int64_t i = 0; i < queries; ++i) {
    A *p = w.probabilities + i * keyBlock;
    A *d = w.dScores + i * keyBlock;
    const int64_t row = head * g.q.dim(0) + base + query + i;
    const A normalizer = g.logSumExp.as<const A>()[row];
    const A rowSum = g.rowSums.as<const A>()[row];
    const int64_t begin = std::clamp<int64_t>(
        firstKey(query + i, attention.window) - key, 0, keys);
    const int64_t end = std::clamp<int64_t>(query + i + 1 - key, begin, keys);
    for (int64_t j = begin; j < end; ++j) {
      p[j] = exponential(p[j] * scale - normalizer);
      d[j] = p[j] * (d[j] - rowSum) * scale;
    }
    for (int64_t j = 0; j < begin; ++j)
      p[j] = d[j] = A(0);
    for (int64_t j = end; j < keys; ++j)
      p[j] = d[j] = A(0);
  }
}

/// Writes rows of a head, rounded.
template <typename S>
void storeRows(const Accumulator<S> *sums, int64_t rows, int64_t width,
               const Tensor &out, int64_t row, int64_t head) {
  for (int64_t i = 0; i < rows; ++i) {
    S *result = out.as<S>() + (row + i) * out.dim(1) + head * width;
    for (int64_t c = 0; c < width; ++c)
      result[c] = narrow<S>(sums[i * width + c]);
  }
}

template <typename S>
void queryGradient(const Gradients &g, int64_t sequence, int64_t head,
                   int64_t query) {
  using A = Accumulator<S>;
  const Attention &attention = g.attention;
  const Workspace<A> w(attention);
  const int64_t length = attention.sequenceLength, qkDim = attention.qkDim;
  const int64_t kvHead = head / (attention.heads / attention.kvHeads);
  const int64_t base = sequence * length;
  const int64_t queries = std::min(queryBlock, length - query);
  std::fill(w.first, w.first + queries * qkDim, A(0));
  const int64_t firstBlock =
      firstKey(query, attention.window) / keyBlock * keyBlock;
  for (int64_t key = firstBlock; key < query + queries; key += keyBlock) {
    const int64_t keys = std::min(keyBlock, query + queries - key);
    differentiateTile(g, w, base, head, query, queries, key, keys);
    packA(tileByRows(w.dScores), queries, keys, w.packedA);
    packB(HeadRows{&g.k, base + key, kvHead, qkDim}.byColumns(), qkDim, keys,
          w.packedB);
    multiplyPacked(queries, qkDim, keys, w.packedA, w.packedB, w.first, qkDim,
                   true);
  }
  storeRows<S>(w.first, queries, qkDim, g.dQ, base + query, head);
}

template <typename S>
void keyValueGradient(const Gradients &g, int64_t sequence, int64_t kvHead,
                      int64_t key) {
  using A = Accumulator<S>;
  const Attention &attention = g.attention;
  const Workspace<A> w(attention);
  const int64_t length = attention.sequenceLength;
  const int64_t qkDim = attention.qkDim, vDim = attention.vDim;
  const int64_t group = attention.heads / attention.kvHeads;
  const int64_t base = sequence * length;
  const int64_t keys = std::min(keyBlock, length - key);
  // The last query that sees a key of this block.
  const int64_t endQuery =
      attention.window > 0 ? std::min(length, key + keys - 1 + attention.window)
                           : length;
  std::fill(w.first, w.first + keys * qkDim, A(0));
  std::fill(w.second, w.second + keys * vDim, A(0));
  for (int64_t head = kvHead * group; head < (kvHead + 1) * group; ++head)
    for (int64_t query = key / queryBlock * queryBlock; query < endQuery;
         query += queryBlock) {
      const int64_t queries = std::min(queryBlock, endQuery - query);
      differentiateTile(g, w, base, head, query, queries, key, keys);
      const auto gather = [&](const A *tile, const Tensor &rows, int64_t width,
                              A *sums) {
        packA(tileByColumns(tile), keys, queries, w.packedA);
        packB(HeadRows{&rows, base + query, head, width}.byColumns(), width,
              queries, w.packedB);
        multiplyPacked(keys, width, queries, w.packedA, w.packedB, sums, width,
                       true);
      };
      gather(w.dScores, g.q, qkDim, w.first);
      gather(w.probabilities, g.dOut, vDim, w.second);
    }
  storeRows<S>(w.first, keys, qkDim, g.dK, base + key, kvHead);
  storeRows<S>(w.second, keys, vDim, g.dV, base + key, kvHead);
}

/// Sum of dOut * out over a head's columns.
template <typename S>
Accumulator<S> rowSum(const Tensor &dOut, const Tensor &out,
                      const Attention &attention, int64_t head, int64_t t) {
  const int64_t first = (t * attention.heads + head) * attention.vDim;
  return dot<Accumulator<S>>(dOut.as<const S>() + first,
                             out.as<const S>() + first, attention.vDim);
}

} // namespace

void attentionInputGrad(const Parallel &parallel, const Tensor &dOut,
                        const Tensor &q, const Tensor &k, const Tensor &v,
                        const Tensor &out, const Tensor &logSumExp,
                        const Attention &attention, const Tensor &workspace,
                        const Tensor &dQ, const Tensor &dK, const Tensor &dV) {
  const int64_t rows = q.dim(0), length = attention.sequenceLength;
  const int64_t sequences = rows / length, heads = attention.heads;
  const int64_t queryBlocks = (length + queryBlock - 1) / queryBlock;
  const int64_t keyBlocks = (length + keyBlock - 1) / keyBlock;
  const Gradients g = {dOut,      q,         k,  v,  logSumExp,
                       attention, workspace, dQ, dK, dV};
  withStorage(q.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    parallelFor(parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t h = 0; h < heads; ++h)
          workspace.as<A>()[h * rows + t] =
              rowSum<S>(dOut, out, attention, h, t);
    });
    parallelFor(parallel, sequences * heads * queryBlocks,
                [&](int64_t begin, int64_t end) {
                  for (int64_t task = begin; task < end; ++task)
                    queryGradient<S>(g, task / queryBlocks / heads,
                                     task / queryBlocks % heads,
                                     task % queryBlocks * queryBlock);
                });
    parallelFor(parallel, sequences * attention.kvHeads * keyBlocks,
                [&](int64_t begin, int64_t end) {
                  for (int64_t task = begin; task < end; ++task)
                    keyValueGradient<S>(g, task / keyBlocks / attention.kvHeads,
                                        task / keyBlocks % attention.kvHeads,
                                        task % keyBlocks * keyBlock);
                });
  });
}

void attentionSinkGrad(const Parallel &parallel, const Tensor &dOut,
                       const Tensor &out, const Tensor &logSumExp,
                       const Tensor &sinks, const Attention &attention,
                       const Tensor &dSinks) {
  const int64_t rows = out.dim(0);
  withStorage(out.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    using A = Accumulator<S>;
    parallelFor(parallel, attention.heads, [&](int64_t begin, int64_t end) {
      for (int64_t h = begin; h < end; ++h) {
        const A sink = widen(sinks.as<const S>()[h]);
        A sum = dSinks.as<A>()[h];
        for (int64_t t = 0; t < rows; ++t) {
          const A probability =
              exponential(sink - logSumExp.as<const A>()[h * rows + t]);
          sum = multiplyAdd(-probability, rowSum<S>(dOut, out, attention, h, t),
                            sum);
        }
        dSinks.as<A>()[h] = sum;
      }
    });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
