// The choice of experts against a direct search, ties, and the frequencies of
// the rotary embedding.

#include "test/unit/Kernels/KernelTestSupport.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moe::kernels::test {
namespace {

const KernelTable &kernels = cpuKernels();
const Parallel serial{};
constexpr DType f64 = DType::f64;

/// Indices of the `count` largest values; the lower index on ties.
std::vector<int64_t> best(const std::vector<double> &values, int64_t count) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::pair(-values[static_cast<size_t>(a)], a) <
           std::pair(-values[static_cast<size_t>(b)], b);
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

TEST(Route, EqualsDirectSearch) {
  Random random(71);
  for (int repeat = 0; repeat < 400; ++repeat) {
    Routing routing;
    routing.scoring = pick(random, 0, 1) ? Scoring::softmax : Scoring::sigmoid;
    routing.normalize = pick(random, 0, 1) == 1;
    routing.groups = pick(random, 1, 4);
    routing.topGroups = pick(random, 1, routing.groups);
    routing.groupScore =
        pick(random, 0, 1) ? GroupScore::maximum : GroupScore::top2_sum;
    routing.scale = 1.5;
    const int64_t size = pick(random, 1, 5), experts = size * routing.groups;
    routing.topK = pick(random, 1, size * routing.topGroups);
    const bool hasCorrection = pick(random, 0, 1) == 1;
    // Coarse values, so that ties are common.
    Array logits(f64, {1, experts}), correction(f64, {experts});
    for (int64_t e = 0; e < experts; ++e) {
      logits.set(e, static_cast<double>(pick(random, -2, 2)));
      correction.set(e, static_cast<double>(pick(random, -1, 1)));
    }
    const bool whole = routing.scoring == Scoring::softmax;
    Array probabilities(f64, {1, routing.topK});
    Array ids(DType::i32, {1, routing.topK});
    Array scores(f64, {1, whole ? experts : routing.topK});
    const bool stored = !whole || !routing.normalize;
    kernels.route(serial, logits, hasCorrection ? correction : absent, routing,
                  probabilities, ids, stored ? scores : absent);

    std::vector<double> score, selection;
    double total = 0;
    for (int64_t e = 0; e < experts; ++e)
      total += std::exp(logits.get(e));
    for (int64_t e = 0; e < experts; ++e) {
      score.push_back(whole ? std::exp(logits.get(e)) / total
                            : 1 / (1 + std::exp(-logits.get(e))));
      selection.push_back(score.back() +
                          (hasCorrection ? correction.get(e) : 0));
    }
    if (routing.groups > 1) {
      std::vector<double> groupScore;
      for (int64_t g = 0; g < routing.groups; ++g) {
        std::vector<double> group(selection.begin() + g * size,
                                  selection.begin() + (g + 1) * size);
        std::sort(group.rbegin(), group.rend());
        const bool both =
            routing.groupScore == GroupScore::top2_sum && size > 1;
        groupScore.push_back(both ? group[0] + group[1] : group[0]);
      }
      std::vector<double> masked(selection.size(), -1e9);
      for (int64_t g : best(groupScore, routing.topGroups))
        std::copy_n(selection.begin() + g * size, size,
                    masked.begin() + g * size);
      selection = masked;
    }
    const std::vector<int64_t> expected = best(selection, routing.topK);
    double sum = 0;
    for (int64_t e : expected)
      sum += score[static_cast<size_t>(e)];
    for (int64_t j = 0; j < routing.topK; ++j) {
      const int64_t e = expected[static_cast<size_t>(j)];
      // softmax values of equal logits are equal bit for bit here as there.
      ASSERT_EQ(ids.integer(j), e);
      const double s = score[static_cast<size_t>(e)];
      ASSERT_NEAR(probabilities.get(j), 1.5 * (routing.normalize ? s / sum : s),
                  1e-12);
      if (stored) {
        ASSERT_NEAR(scores.get(whole ? e : j), s, 1e-12);
      }
    }
  }
}

/// The angle by which pair i turns at position 1.
double angle(const Rotary &rotary, int64_t i) {
  Array x(f64, {2, rotary.dim}), out(f64, {2, rotary.dim});
  const int64_t first = rotary.interleaved ? 2 * i : i;
  const int64_t second = rotary.interleaved ? 2 * i + 1 : i + rotary.dim / 2;
  x.set(rotary.dim + first, 1);
  kernels.rope(serial, x, 1, rotary, out);
  return std::atan2(out.get(rotary.dim + second), out.get(rotary.dim + first));
}

TEST(Rope, PlainFrequencies) {
  Rotary rotary;
  rotary.sequenceLength = 2;
  rotary.dim = 16;
  rotary.theta = 500;
  for (bool interleaved : {false, true}) {
    rotary.interleaved = interleaved;
    for (int64_t i = 0; i < 8; ++i)
      EXPECT_NEAR(angle(rotary, i), std::pow(500.0, -double(i) / 8), 1e-14);
  }
}

// Values of the published formula for DeepSeek-V3's and gpt-oss's parameters.
TEST(Rope, YarnFrequencies) {
  Rotary rotary;
  rotary.sequenceLength = 2;
  rotary.dim = 64;
  rotary.theta = 10000;
  rotary.yarnFactor = 40;
  rotary.yarnOriginalLength = 4096;
  const std::pair<int64_t, double> deepseek[] = {{0, 1.0},
                                                 {8, 0.1},
                                                 {10, 0.056234132519034905},
                                                 {14, 0.01244795587027246},
                                                 {18, 0.002249365300761396},
                                                 {23, 3.33380358040831e-05},
                                                 {31, 3.33380358040831e-06}};
  for (const auto &[i, expected] : deepseek)
    EXPECT_NEAR(angle(rotary, i), expected, 1e-13 * expected) << i;
  rotary.theta = 150000;
  rotary.yarnFactor = 32;
  rotary.yarnTruncate = false;
  const std::pair<int64_t, double> gptOss[] = {{0, 1.0},
                                               {8, 0.050813274815461475},
                                               {10, 0.019335001126540362},
                                               {14, 0.0020937923789696887},
                                               {18, 3.8308812373753384e-05},
                                               {23, 5.950239261491605e-06},
                                               {31, 3.0235114281192144e-07}};
  for (const auto &[i, expected] : gptOss)
    EXPECT_NEAR(angle(rotary, i), expected, 1e-13 * expected) << i;
}

TEST(Rope, PositionsRestartWithEverySequence) {
  Random random(72);
  Rotary rotary;
  rotary.sequenceLength = 5;
  rotary.dim = 6;
  rotary.attentionScale = 2;
  const Array x = Array::uniform(random, f64, {5, 12});
  Array twice(f64, {10, 12});
  for (int64_t i = 0; i < 120; ++i)
    twice.set(i, x.get(i % 60));
  Array out(f64, {10, 12});
  kernels.rope(serial, twice, 2, rotary, out);
  for (int64_t i = 0; i < 60; ++i)
    EXPECT_EQ(out.get(i), out.get(i + 60));
  // Position 0 only scales.
  for (int64_t i = 0; i < 12; ++i)
    EXPECT_EQ(out.get(i), 2 * x.get(i));
}

} // namespace
} // namespace moe::kernels::test
