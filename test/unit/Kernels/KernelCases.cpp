#include "test/unit/Kernels/KernelCases.h"

namespace moe::kernels::test {
namespace {

using Outputs = std::vector<Array>;

template <typename... Arrays> Outputs collect(Arrays... arrays) {
  Outputs outputs;
  (outputs.push_back(std::move(arrays)), ...);
  return outputs;
}

// Sizes cross the blocks of rows (256), columns (384) and depth (256), and are
// multiples of nothing.
Outputs runLinear(const KernelTable &table, const Parallel &parallel, DType s,
                  int64_t rows, int64_t n, int64_t k, bool wideOut) {
  Random random(31);
  const DType a = accumulatorType(s), o = wideOut ? a : s;
  const Array x = Array::uniform(random, s, {rows, k});
  const Array weight = Array::uniform(random, s, {n, k});
  const Array bias = Array::uniform(random, s, {n});
  const Array dOut = Array::uniform(random, o, {rows, n});
  Array out(o, {rows, n}), plain(o, {rows, n}), dX(s, {rows, k});
  Array dWeight = Array::uniform(random, a, {n, k});
  Array dBias = Array::uniform(random, a, {n});
  table.linear(parallel, x, weight, bias, out);
  table.linear(parallel, x, weight, absent, plain);
  table.linearInputGrad(parallel, dOut, weight, dX);
  table.linearWeightGrad(parallel, dOut, x, dWeight, dBias);
  return collect(std::move(out), std::move(plain), std::move(dX),
                 std::move(dWeight), std::move(dBias));
}

Outputs runGroupedLinear(const KernelTable &table, const Parallel &parallel,
                         DType s) {
  Random random(32);
  const DType a = accumulatorType(s);
  const int64_t experts = 5, n = 70, k = 50, capacity = 160;
  const Array counts = Array::integers({0, 100, 1, 50, 0}, {experts});
  const Array x = Array::uniform(random, s, {capacity, k});
  const Array weight = Array::uniform(random, s, {experts, n, k});
  const Array bias = Array::uniform(random, s, {experts, n});
  const Array scale = Array::uniform(random, a, {capacity});
  const Array dOut = Array::uniform(random, s, {capacity, n});
  Array out(s, {capacity, n}), plain(s, {capacity, n}), dX(s, {capacity, k});
  Array dScale(a, {capacity});
  Array dWeight = Array::uniform(random, a, {experts, n, k});
  Array dBias = Array::uniform(random, a, {experts, n});
  table.groupedLinear(parallel, x, counts, weight, bias, scale, out);
  table.groupedLinear(parallel, x, counts, weight, absent, absent, plain);
  table.groupedLinearInputGrad(parallel, dOut, counts, weight, dX);
  table.groupedLinearBiasScaleGrad(parallel, dOut, counts, bias, dScale);
  table.groupedLinearWeightGrad(parallel, dOut, x, counts, scale, dWeight,
                                dBias);
  return collect(std::move(out), std::move(plain), std::move(dX),
                 std::move(dScale), std::move(dWeight), std::move(dBias));
}

Outputs runNorm(const KernelTable &table, const Parallel &parallel, DType s,
                int64_t groups) {
  Random random(33);
  const DType a = accumulatorType(s);
  const int64_t rows = 37, part = 83, width = part * groups;
  const Array x = Array::uniform(random, s, {rows, width});
  const Array weight = Array::uniform(random, s, {part});
  const Array dOut = Array::uniform(random, s, {rows, width});
  Array out(s, {rows, width}), inverse(a, {rows, groups}), dX(s, {rows, width});
  Array dWeight = Array::uniform(random, a, {part});
  table.rmsNorm(parallel, x, weight, 1e-5, groups, out, inverse);
  table.rmsNormInputGrad(parallel, dOut, x, inverse, weight, groups, dX);
  table.rmsNormWeightGrad(parallel, dOut, x, inverse, groups, dWeight);
  return collect(std::move(out), std::move(inverse), std::move(dX),
                 std::move(dWeight));
}

Outputs runAttention(const KernelTable &table, const Parallel &parallel,
                     DType s, int64_t length, int64_t window, bool hasSinks) {
  Random random(34);
  const DType a = accumulatorType(s);
  Attention attention;
  attention.sequenceLength = length;
  attention.heads = 4;
  attention.kvHeads = 2;
  attention.qkDim = 40;
  attention.vDim = 24;
  attention.softmaxScale = 0.4;
  attention.window = window;
  const int64_t rows = 2 * length;
  const Array q = Array::uniform(random, s, {rows, 160});
  const Array k = Array::uniform(random, s, {rows, 80});
  const Array v = Array::uniform(random, s, {rows, 48});
  const Array sinks = Array::uniform(random, s, {4});
  const Array dOut = Array::uniform(random, s, {rows, 96});
  Array out(s, {rows, 96}), normalizer(a, {4, rows}), workspace(a, {4, rows});
  Array dQ(s, {rows, 160}), dK(s, {rows, 80}), dV(s, {rows, 48});
  Array dSinks = Array::uniform(random, a, {4});
  table.attention(parallel, q, k, v, hasSinks ? sinks : absent, attention, out,
                  normalizer);
  table.attentionInputGrad(parallel, dOut, q, k, v, out, normalizer, attention,
                           workspace, dQ, dK, dV);
  if (hasSinks)
    table.attentionSinkGrad(parallel, dOut, out, normalizer, sinks, attention,
                            dSinks);
  return collect(std::move(out), std::move(normalizer), std::move(dQ),
                 std::move(dK), std::move(dV), std::move(dSinks));
}

Outputs runRotary(const KernelTable &table, const Parallel &parallel, DType s,
                  bool interleaved) {
  Random random(35);
  Rotary rotary;
  rotary.sequenceLength = 50;
  rotary.begin = 8;
  rotary.dim = 32;
  rotary.interleaved = interleaved;
  rotary.yarnFactor = 40;
  rotary.yarnOriginalLength = 4096;
  rotary.attentionScale = 1.1;
  const int64_t rows = 100, heads = 3;
  const Array x = Array::uniform(random, s, {rows, heads * 44});
  Array out(s, {rows, heads * 44}), dX(s, {rows, heads * 44});
  table.rope(parallel, x, heads, rotary, out);
  table.ropeInputGrad(parallel, x, heads, rotary, dX);
  rotary.begin = 0;
  const Array nope = Array::uniform(random, s, {rows, heads * 20});
  const Array pe = Array::uniform(random, s, {rows, 32});
  const Array dKey = Array::uniform(random, s, {rows, heads * 52});
  Array key(s, {rows, heads * 52}), dNope(s, {rows, heads * 20});
  Array dPe(s, {rows, 32});
  table.mlaKey(parallel, nope, pe, heads, rotary, key);
  table.mlaKeyInputGrad(parallel, dKey, heads, rotary, dNope, dPe);
  return collect(std::move(out), std::move(dX), std::move(key),
                 std::move(dNope), std::move(dPe));
}

Outputs runRoute(const KernelTable &table, const Parallel &parallel, DType s,
                 Scoring scoring, bool normalize, int64_t groups) {
  Random random(36);
  const DType a = accumulatorType(s);
  const int64_t rows = 45, experts = 24, topK = 4;
  Routing routing;
  routing.topK = topK;
  routing.scoring = scoring;
  routing.normalize = normalize;
  routing.groups = groups;
  routing.topGroups = groups > 1 ? 2 : 1;
  routing.groupScore = GroupScore::top2_sum;
  routing.scale = 2.5;
  const bool whole = scoring == Scoring::softmax && !normalize;
  const bool stored = scoring == Scoring::sigmoid || !normalize;
  const Array logits = Array::uniform(random, a, {rows, experts}, -3, 3);
  const Array correction = Array::uniform(random, s, {experts}, 0, 0.1);
  const Array dProbabilities = Array::uniform(random, a, {rows, topK});
  Array probabilities(a, {rows, topK}), ids(DType::i32, {rows, topK});
  Array scores(a, {rows, whole ? experts : topK});
  Array dLogits(a, {rows, experts});
  const Tensor scoreTensor = stored ? scores : absent;
  table.route(parallel, logits, correction, routing, probabilities, ids,
              scoreTensor);
  table.routeInputGrad(parallel, dProbabilities, probabilities, ids,
                       scoreTensor, routing, dLogits);
  Outputs outputs =
      collect(std::move(probabilities), std::move(ids), std::move(dLogits));
  if (stored)
    outputs.push_back(std::move(scores));
  return outputs;
}

Outputs runSwiglu(const KernelTable &table, const Parallel &parallel, DType s,
                  const Swiglu &swiglu) {
  Random random(37);
  const DType a = accumulatorType(s);
  const int64_t rows = 40, width = 77;
  const Array counts = Array::integers({10, 0, 25}, {3});
  const Array x = Array::uniform(random, s, {rows, 2 * width}, -4, 4);
  const Array scale = Array::uniform(random, a, {rows});
  const Array dOut = Array::uniform(random, s, {rows, width});
  Array out(s, {rows, width}), plain(s, {rows, width});
  Array dX(s, {rows, 2 * width}), dScale(a, {rows});
  table.swiglu(parallel, x, scale, counts, swiglu, out);
  table.swiglu(parallel, x, absent, absent, swiglu, plain);
  table.swigluInputGrad(parallel, dOut, x, scale, counts, swiglu, dX, dScale);
  return collect(std::move(out), std::move(plain), std::move(dX),
                 std::move(dScale));
}

Outputs runLoss(const KernelTable &table, const Parallel &parallel, DType s) {
  Random random(38);
  const DType a = accumulatorType(s);
  const int64_t rows = 29, width = 203;
  const Array logits = Array::uniform(random, s, {rows, width}, -5, 5);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < rows; ++t)
    ids.push_back(static_cast<int32_t>(pick(random, 0, width - 1)));
  const Array labels = Array::integers(ids, {rows});
  Array loss(a, {1}), normalizer(a, {rows}), dLogits(s, {rows, width});
  table.crossEntropy(parallel, logits, labels, loss, normalizer);
  table.crossEntropyInputGrad(parallel, logits, labels, normalizer, 0.25,
                              dLogits);
  return collect(std::move(loss), std::move(normalizer), std::move(dLogits));
}

Outputs runRows(const KernelTable &table, const Parallel &parallel, DType s) {
  Random random(39);
  const DType a = accumulatorType(s);
  const int64_t tokens = 31, width = 45, vocabulary = 9;
  Exchange exchange;
  exchange.tokens = tokens;
  exchange.topK = 3;
  exchange.experts = 6;
  std::vector<int32_t> ids, experts;
  for (int64_t t = 0; t < tokens; ++t) {
    ids.push_back(static_cast<int32_t>(pick(random, 0, vocabulary - 1)));
    const int64_t first = pick(random, 0, 3);
    for (int64_t j = 0; j < 3; ++j)
      experts.push_back(static_cast<int32_t>(first + j));
  }
  const Array tokenIds = Array::integers(ids, {tokens});
  const Array chosen = Array::integers(experts, {tokens, 3});
  const Array lookup = Array::uniform(random, s, {vocabulary, width});
  const Array staged = Array::uniform(random, s, {tokens * 3, width});
  const Array probabilities = Array::uniform(random, a, {tokens, 3});
  Array x(s, {tokens, width}), reduced(s, {tokens, width});
  Array sum(s, {tokens, width}), staging(s, {tokens * 3, width});
  Array scalars(a, {tokens * 3}), back(a, {tokens, 3});
  Array handle(DType::i32, {handleElements(exchange)});
  Array dTable = Array::uniform(random, a, {vocabulary, width});
  table.embedding(parallel, tokenIds, lookup, x);
  table.embeddingWeightGrad(parallel, x, tokenIds, dTable);
  table.planExchange(parallel, chosen, exchange, handle);
  table.gatherRows(parallel, x, handle, exchange, staging);
  table.gatherScalars(parallel, probabilities, handle, exchange, scalars);
  table.scatterScalars(parallel, scalars, handle, exchange, back);
  table.reduceRows(parallel, staged, handle, exchange, reduced);
  table.add(parallel, x, reduced, sum);
  return collect(std::move(x), std::move(dTable), std::move(handle),
                 std::move(staging), std::move(scalars), std::move(back),
                 std::move(reduced), std::move(sum));
}

Outputs runOptimizer(const KernelTable &table, const Parallel &parallel,
                     DType s) {
  Random random(40);
  const DType a = accumulatorType(s);
  const int64_t n = 10007;
  Array weight = Array::uniform(random, s, {n});
  Array master(a, {n});
  for (int64_t i = 0; i < n; ++i)
    master.set(i, weight.get(i));
  Array first(a, {n}), second(a, {n}), squares(DType::f64, {3});
  for (int64_t step = 1; step <= 3; ++step) {
    const Array gradient = Array::uniform(random, a, {n});
    squares.set(step - 1, table.sumOfSquares(parallel, gradient));
    table.adamw(parallel, weight, gradient, s == DType::bf16 ? master : absent,
                first, second, 1e-2, 0.9, 0.95, 1e-8, 0.1, 0.5, step);
  }
  return collect(std::move(weight), std::move(first), std::move(second),
                 std::move(squares));
}

} // namespace

std::vector<KernelCase> kernelCases() {
  std::vector<KernelCase> cases;
  const auto add = [&](std::string name, auto run, auto... options) {
    cases.push_back(
        {std::move(name), [=](const KernelTable &table,
                              const Parallel &parallel, DType storage) {
           return run(table, parallel, storage, options...);
         }});
  };
  add("linear, tall", runLinear, 300, 45, 37, false);
  add("linear, wide", runLinear, 21, 410, 30, false);
  add("linear, deep", runLinear, 19, 40, 530, false);
  add("linear, f32 result", runLinear, 33, 24, 270, true);
  add("linear, one element", runLinear, 1, 1, 1, false);
  add("grouped linear", runGroupedLinear);
  add("norm", runNorm, 1);
  add("norm of heads", runNorm, 6);
  add("attention", runAttention, 210, 0, false);
  add("attention, window and sinks", runAttention, 210, 70, true);
  add("attention, short", runAttention, 5, 0, true);
  add("rotary", runRotary, false);
  add("rotary, interleaved", runRotary, true);
  add("route, softmax", runRoute, Scoring::softmax, false, 1);
  add("route, normalized softmax", runRoute, Scoring::softmax, true, 1);
  add("route, sigmoid", runRoute, Scoring::sigmoid, false, 1);
  add("route, normalized sigmoid in groups", runRoute, Scoring::sigmoid, true,
      6);
  add("swiglu", runSwiglu, Swiglu{});
  add("swiglu, limited", runSwiglu, Swiglu{2.0, 1.702, 1.0});
  add("loss", runLoss);
  add("rows", runRows);
  add("optimizer", runOptimizer);
  return cases;
}

} // namespace moe::kernels::test
