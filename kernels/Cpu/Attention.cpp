//===- Attention.cpp - causal attention, forward --------------------------===//

#include "kernels/Cpu/AttentionTile.h"
#include "kernels/Cpu/Entries.h"

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// Running softmax of the rows of a query block.
template <typename A> struct SoftmaxRows {
  A *largest; ///< of the scores seen so far
  A *sum;     ///< of exp(score - largest)
  A *values;  ///< [queryBlock, vDim]: sum of exp(score - largest) * v
};

/// Turns scores q.k of a tile into exp(scale * score - largest) in place and
/// moves the rows' running values to their new maximum. Masked entries become
/// 0.
template <typename A>
void absorbTile(const Attention &attention, int64_t query, int64_t queries,
                int64_t key, int64_t keys, A *tile,
                const SoftmaxRows<A> &rows) {
  const A scale = A(attention.softmaxScale);
  for (int64_t i = 0; i < queries; ++i) {
    A *scores = tile + i * keyBlock;
    const int64_t begin = std::clamp<int64_t>(
        firstKey(query + i, attention.window) - key, 0, keys);
    const int64_t end = std::clamp<int64_t>(query + i + 1 - key, 0, keys);
    if (begin >= end) {
      for (int64_t j = 0; j < keys; ++j)
        scores[j] = A(0);
      continue;
    }
    for (int64_t j = begin; j < end; ++j)
      scores[j] *= scale;
    const A here = maximum(scores + begin, end - begin);
    const A largest = here > rows.largest[i] ? here : rows.largest[i];
    const A shrink = exponential(rows.largest[i] - largest);
    for (int64_t j = begin; j < end; ++j)
      scores[j] = exponential(scores[j] - largest);
    for (int64_t j = 0; j < begin; ++j)
      scores[j] = A(0);
    for (int64_t j = end; j < keys; ++j)
      scores[j] = A(0);
    const A sum = laneSum<A>(
        keys, [=](int64_t j, A partial) { return partial + scores[j]; });
    rows.sum[i] = multiplyAdd(rows.sum[i], shrink, sum);
    rows.largest[i] = largest;
    A *values = rows.values + i * attention.vDim;
    for (int64_t c = 0; c < attention.vDim; ++c)
      values[c] *= shrink;
  }
}

template <typename S>
void attendBlock(const Tensor &q, const Tensor &k, const Tensor &v,
                 const Tensor &sinks, const Attention &attention,
                 int64_t sequence, int64_t head, int64_t query,
                 const Tensor &out, const Tensor &logSumExp) {
  using A = Accumulator<S>;
  constexpr int tileRows = RegisterTile<A>::rows;
  constexpr int tileColumns = RegisterTile<A>::columns;
  const int64_t length = attention.sequenceLength;
  const int64_t qkDim = attention.qkDim, vDim = attention.vDim;
  const int64_t kvHead = head / (attention.heads / attention.kvHeads);
  const int64_t base = sequence * length;
  const int64_t queries = std::min(queryBlock, length - query);

  const int64_t packedRows =
      packedElements(queryBlock, std::max(qkDim, keyBlock), tileRows);
  const int64_t packedColumns =
      std::max(packedElements(keyBlock, qkDim, tileColumns),
               packedElements(vDim, keyBlock, tileColumns));
  Carver<A> carver{scratch<A>(ScratchSlot::attention,
                              2 * Carver<A>::rounded(packedRows) +
                                  Carver<A>::rounded(packedColumns) +
                                  Carver<A>::rounded(queryBlock * keyBlock) +
                                  Carver<A>::rounded(queryBlock * vDim) +
                                  2 * Carver<A>::rounded(queryBlock))};
  A *packedQueries = carver.take(packedRows);
  A *packedTile = carver.take(packedRows);
  A *packedKeys = carver.take(packedColumns);
  A *tile = carver.take(queryBlock * keyBlock);
  const SoftmaxRows<A> rows = {carver.take(queryBlock), carver.take(queryBlock),
                               carver.take(queryBlock * vDim)};

  // A sink is a first score without a value.
  const A sink = sinks.present() ? A(widen(sinks.as<const S>()[head]))
                                 : -std::numeric_limits<A>::infinity();
  for (int64_t i = 0; i < queries; ++i) {
    rows.largest[i] = sink;
    rows.sum[i] = sinks.present() ? A(1) : A(0);
  }
  std::fill(rows.values, rows.values + queries * vDim, A(0));
  packA(HeadRows{&q, base + query, head, qkDim}.byRows(), queries, qkDim,
        packedQueries);
  const int64_t firstBlock =
      firstKey(query, attention.window) / keyBlock * keyBlock;
  for (int64_t key = firstBlock; key < query + queries; key += keyBlock) {
    const int64_t keys = std::min(keyBlock, query + queries - key);
    packB(HeadRows{&k, base + key, kvHead, qkDim}.byRows(), keys, qkDim,
          packedKeys);
    multiplyPacked(queries, keys, qkDim, packedQueries, packedKeys, tile,
                   keyBlock, false);
    absorbTile(attention, query, queries, key, keys, tile, rows);
    packA(tileByRows(tile), queries, keys, packedTile);
    packB(HeadRows{&v, base + key, kvHead, vDim}.byColumns(), vDim, keys,
          packedKeys);
    multiplyPacked(queries, vDim, keys, packedTile, packedKeys, rows.values,
                   vDim, true);
  }
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t t = base + query + i;
    S *result = out.as<S>() + (t * attention.heads + head) * vDim;
    for (int64_t c = 0; c < vDim; ++c)
      result[c] = narrow<S>(rows.values[i * vDim + c] / rows.sum[i]);
    logSumExp.as<A>()[head * out.dim(0) + t] =
        rows.largest[i] + logarithm(rows.sum[i]);
  }
}

} // namespace

void attention(const Parallel &parallel, const Tensor &q, const Tensor &k,
               const Tensor &v, const Tensor &sinks, const Attention &attention,
               const Tensor &out, const Tensor &logSumExp) {
  const int64_t length = attention.sequenceLength;
  const int64_t sequences = q.dim(0) / length;
  const int64_t blocks = (length + queryBlock - 1) / queryBlock;
  withStorage(q.dtype, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    parallelFor(parallel, sequences * attention.heads * blocks,
                [&](int64_t begin, int64_t end) {
                  for (int64_t task = begin; task < end; ++task)
                    attendBlock<S>(q, k, v, sinks, attention,
                                   task / blocks / attention.heads,
                                   task / blocks % attention.heads,
                                   task % blocks * queryBlock, out, logSumExp);
                });
  });
}

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
