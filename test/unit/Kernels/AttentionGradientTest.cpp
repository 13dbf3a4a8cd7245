// Gradients of attention, rotary embedding and routing against central
// differences in f64.

#include "test/unit/Kernels/KernelTestSupport.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>

namespace moe::kernels::test {
namespace {

const KernelTable &kernels = cpuKernels();
const Parallel serial{};
constexpr DType f64 = DType::f64;

void checkAttention(Random &random, const Attention &attention,
                    int64_t sequences, bool hasSinks, int64_t samples) {
  const int64_t rows = sequences * attention.sequenceLength;
  const int64_t heads = attention.heads, kvHeads = attention.kvHeads;
  Array q = Array::uniform(random, f64, {rows, heads * attention.qkDim}, -2, 2);
  Array k =
      Array::uniform(random, f64, {rows, kvHeads * attention.qkDim}, -2, 2);
  Array v = Array::uniform(random, f64, {rows, kvHeads * attention.vDim});
  Array sinks = Array::uniform(random, f64, {heads});
  const Tensor sinkTensor = hasSinks ? sinks : absent;
  Array out(f64, {rows, heads * attention.vDim}),
      normalizer(f64, {heads, rows});
  const Array dOut =
      Array::uniform(random, f64, {rows, heads * attention.vDim});
  const auto value = [&] {
    kernels.attention(serial, q, k, v, sinkTensor, attention, out, normalizer);
    return weightedSum(out, dOut);
  };
  value();
  Array workspace(f64, {heads, rows});
  Array dQ(f64, {rows, heads * attention.qkDim});
  Array dK(f64, {rows, kvHeads * attention.qkDim});
  Array dV(f64, {rows, kvHeads * attention.vDim});
  kernels.attentionInputGrad(serial, dOut, q, k, v, out, normalizer, attention,
                             workspace, dQ, dK, dV);
  Array dSinks(f64, {heads});
  if (hasSinks)
    kernels.attentionSinkGrad(serial, dOut, out, normalizer, sinks, attention,
                              dSinks);
  expectGradient(value, q, dQ, "q", samples);
  expectGradient(value, k, dK, "k", samples);
  expectGradient(value, v, dV, "v", samples);
  if (hasSinks)
    expectGradient(value, sinks, dSinks, "sinks", samples);
}

TEST(Gradient, Attention) {
  Random random(11);
  for (int64_t window : {0, 1, 3})
    for (bool hasSinks : {false, true})
      for (int64_t group : {1, 2, 3})
        for (int repeat = 0; repeat < 2; ++repeat) {
          Attention attention;
          attention.sequenceLength = pick(random, 1, 9);
          attention.kvHeads = pick(random, 1, 2);
          attention.heads = attention.kvHeads * group;
          attention.qkDim = pick(random, 1, 6);
          attention.vDim = pick(random, 1, 6);
          attention.softmaxScale = 0.8;
          attention.window = window;
          checkAttention(random, attention, pick(random, 1, 3), hasSinks, 20);
        }
}

// Sequences that span several tiles of queries and of keys.
TEST(Gradient, AttentionAcrossTiles) {
  Random random(12);
  for (int64_t length : {64, 97, 210})
    for (int64_t window : {0, 30, 130}) {
      Attention attention;
      attention.sequenceLength = length;
      attention.heads = 2;
      attention.kvHeads = 1;
      attention.qkDim = 3;
      attention.vDim = 2;
      attention.softmaxScale = 0.7;
      attention.window = window;
      checkAttention(random, attention, 2, true, 12);
    }
}

// The forward against the definition, row by row.
TEST(Attention, EqualsDefinition) {
  Random random(13);
  Attention attention;
  attention.sequenceLength = 130;
  attention.heads = 4;
  attention.kvHeads = 2;
  attention.qkDim = 5;
  attention.vDim = 3;
  attention.softmaxScale = 1.5;
  for (int64_t window : {0, 1, 100}) {
    attention.window = window;
    const int64_t rows = 260;
    const Array q = Array::uniform(random, f64, {rows, 20});
    const Array k = Array::uniform(random, f64, {rows, 10});
    const Array v = Array::uniform(random, f64, {rows, 6});
    const Array sinks = Array::uniform(random, f64, {4});
    Array out(f64, {rows, 12}), normalizer(f64, {4, rows});
    kernels.attention(serial, q, k, v, sinks, attention, out, normalizer);
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t h = 0; h < 4; ++h) {
        const int64_t sequence = t / 130 * 130;
        const int64_t first =
            window ? std::max(sequence, t - window + 1) : sequence;
        double sum = std::exp(sinks.get(h)), expected[3] = {};
        for (int64_t u = first; u <= t; ++u) {
          double score = 0;
          for (int64_t c = 0; c < 5; ++c)
            score += q.get(t * 20 + h * 5 + c) * k.get(u * 10 + h / 2 * 5 + c);
          const double p = std::exp(1.5 * score);
          sum += p;
          for (int64_t c = 0; c < 3; ++c)
            expected[c] += p * v.get(u * 6 + h / 2 * 3 + c);
        }
        for (int64_t c = 0; c < 3; ++c)
          ASSERT_NEAR(out.get(t * 12 + h * 3 + c), expected[c] / sum, 1e-12);
        ASSERT_NEAR(normalizer.get(h * rows + t), std::log(sum), 1e-12);
      }
  }
}

Rotary randomRotary(Random &random, int64_t begin, int64_t dim) {
  Rotary rotary;
  rotary.sequenceLength = pick(random, 1, 7);
  rotary.begin = begin;
  rotary.dim = dim;
  rotary.interleaved = pick(random, 0, 1) == 1;
  rotary.theta = 100;
  if (pick(random, 0, 1)) {
    rotary.yarnFactor = 4;
    rotary.yarnOriginalLength = 64;
    rotary.yarnBetaFast = 8;
    rotary.yarnTruncate = pick(random, 0, 1) == 1;
    rotary.attentionScale = 1.2;
  }
  return rotary;
}

TEST(Gradient, Rope) {
  Random random(14);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const int64_t heads = pick(random, 1, 3), begin = pick(random, 0, 2),
                  dim = 2 * pick(random, 1, 5), rest = pick(random, 0, 2);
    const Rotary rotary = randomRotary(random, begin, dim);
    const int64_t rows = rotary.sequenceLength * pick(random, 1, 3);
    const int64_t width = heads * (begin + dim + rest);
    Array x = Array::uniform(random, f64, {rows, width});
    Array out(f64, {rows, width}), dX(f64, {rows, width});
    const Array dOut = Array::uniform(random, f64, {rows, width});
    const auto value = [&] {
      kernels.rope(serial, x, heads, rotary, out);
      return weightedSum(out, dOut);
    };
    kernels.ropeInputGrad(serial, dOut, heads, rotary, dX);
    expectGradient(value, x, dX, "x");
  }
}

TEST(Gradient, MlaKey) {
  Random random(15);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const int64_t heads = pick(random, 1, 4), plain = pick(random, 1, 4),
                  turned = 2 * pick(random, 1, 4);
    const Rotary rotary = randomRotary(random, 0, turned);
    const int64_t rows = rotary.sequenceLength * 2;
    const int64_t width = heads * (plain + turned);
    Array nope = Array::uniform(random, f64, {rows, heads * plain});
    Array pe = Array::uniform(random, f64, {rows, turned});
    Array key(f64, {rows, width});
    const Array dKey = Array::uniform(random, f64, {rows, width});
    const auto value = [&] {
      kernels.mlaKey(serial, nope, pe, heads, rotary, key);
      return weightedSum(key, dKey);
    };
    Array dNope(f64, {rows, heads * plain}), dPe(f64, {rows, turned});
    kernels.mlaKeyInputGrad(serial, dKey, heads, rotary, dNope, dPe);
    expectGradient(value, nope, dNope, "nope");
    expectGradient(value, pe, dPe, "pe");
  }
}

TEST(Gradient, Route) {
  Random random(16);
  for (Scoring scoring : {Scoring::softmax, Scoring::sigmoid})
    for (bool normalize : {false, true})
      for (int64_t groups : {1, 2, 4})
        for (GroupScore groupScore :
             {GroupScore::maximum, GroupScore::top2_sum})
          for (bool hasCorrection : {false, true}) {
            Routing routing;
            routing.scoring = scoring;
            routing.normalize = normalize;
            routing.groups = groups;
            routing.topGroups = (groups + 1) / 2;
            routing.groupScore = groupScore;
            routing.scale = 2.5;
            const int64_t rows = 3, experts = 4 * groups;
            const int64_t reachable = routing.topGroups * 4;
            const int64_t topK =
                pick(random, 1, std::min<int64_t>(4, reachable));
            routing.topK = topK;
            // Values far enough apart that no step changes the choice.
            Array logits(f64, {rows, experts});
            for (int64_t t = 0; t < rows; ++t) {
              std::vector<double> row;
              for (int64_t e = 0; e < experts; ++e)
                row.push_back(0.2 * static_cast<double>(e) - 1);
              std::shuffle(row.begin(), row.end(), random);
              for (int64_t e = 0; e < experts; ++e)
                logits.set(t * experts + e, row[static_cast<size_t>(e)]);
            }
            const Array correction =
                Array::uniform(random, f64, {experts}, 0, 0.01);
            Array probabilities(f64, {rows, topK});
            Array ids(DType::i32, {rows, topK});
            const bool whole = scoring == Scoring::softmax && !normalize;
            const bool stored = scoring == Scoring::sigmoid || !normalize;
            Array scores(f64, {rows, whole ? experts : topK});
            const Tensor scoreTensor = stored ? scores : absent;
            const Array dProbabilities =
                Array::uniform(random, f64, {rows, topK});
            const auto value = [&] {
              kernels.route(serial, logits, hasCorrection ? correction : absent,
                            routing, probabilities, ids, scoreTensor);
              return weightedSum(probabilities, dProbabilities);
            };
            value();
            Array dLogits(f64, {rows, experts});
            kernels.routeInputGrad(serial, dProbabilities, probabilities, ids,
                                   scoreTensor, routing, dLogits);
            expectGradient(value, logits, dLogits, "logits", 64);
          }
}

} // namespace
} // namespace moe::kernels::test
