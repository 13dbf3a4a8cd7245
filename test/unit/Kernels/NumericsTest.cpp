// Accuracy of bf16 and f32 against f64, rounding, poisoned rows, optimizer.

#include "test/unit/Kernels/KernelCases.h"

#include "gtest/gtest.h"

#include <cmath>
#include <limits>

namespace moe::kernels::test {
namespace {

const KernelTable &kernels = cpuKernels();
const Parallel serial{};

// Bound: the largest error of an output over its largest absolute value. bf16
// keeps 8 bits, so that one rounding costs 2^-9; saved activations and the
// gradients built from them add a few more.
TEST(Numerics, AgreeWithDoublePrecision) {
  for (const KernelCase &test : kernelCases()) {
    const auto expected = test.run(kernels, serial, DType::f64);
    for (DType type : {DType::bf16, DType::f32}) {
      const double bound = type == DType::bf16 ? 0x1p-7 : 2e-6;
      const auto actual = test.run(kernels, serial, type);
      for (size_t i = 0; i < expected.size(); ++i) {
        double largest = 1e-30, error = 0;
        for (int64_t j = 0; j < expected[i].elements(); ++j) {
          largest = std::max(largest, std::abs(expected[i].get(j)));
          error =
              std::max(error, std::abs(expected[i].get(j) - actual[i].get(j)));
        }
        EXPECT_LE(error / largest, bound)
            << test.name << ", output " << i << ", " << moe::name(type);
      }
    }
  }
}

TEST(Numerics, BFloat16RoundsToNearestEven) {
  const auto rounded = [](float value) {
    Array wide(DType::f32, {1, 1});
    wide.set(0, value);
    Array one = Array(DType::f32, {1, 1});
    one.set(0, 1);
    Array out(DType::bf16, {1, 1});
    kernels.linear(serial, wide, one, absent, out);
    return out.get(0);
  };
  EXPECT_EQ(rounded(1.0f), 1.0);
  EXPECT_EQ(rounded(0x1.01p0f), 1.0);      // tie, to even
  EXPECT_EQ(rounded(0x1.03p0f), 0x1.04p0); // tie, to even
  EXPECT_EQ(rounded(0x1.010002p0f), 0x1.02p0);
  EXPECT_EQ(rounded(-0x1.01p0f), -1.0);
  EXPECT_EQ(rounded(0x1.fffffep127f), std::numeric_limits<double>::infinity());
  EXPECT_EQ(rounded(0x1p-140f), 0.0);
  EXPECT_EQ(rounded(0x1p-130f), 0x1p-130);
  EXPECT_TRUE(std::isnan(rounded(std::nanf(""))));
  // A NaN whose payload lies only in the bits that are cut off.
  EXPECT_TRUE(
      std::isnan(rounded(__builtin_bit_cast(float, uint32_t{0x7f800001}))));
  Random random(61);
  for (int i = 0; i < 2000; ++i) {
    const auto bits = static_cast<uint32_t>(random()) & 0x7effffff;
    const float value = __builtin_bit_cast(float, bits);
    if (std::isnormal(value)) {
      ASSERT_EQ(rounded(value), roundToBFloat16(value)) << value;
    }
  }
}

// Rows behind the counts hold NaN and must neither spread nor change.
TEST(Numerics, RowsBehindTheCountsAreLeftAlone) {
  Random random(62);
  for (DType s : {DType::bf16, DType::f32, DType::f64}) {
    const DType a = accumulatorType(s);
    const int64_t experts = 3, n = 18, k = 12, capacity = 20, live = 11;
    const Array counts = Array::integers({4, 0, 7}, {experts});
    const auto poisonedBehind = [&](DType type, int64_t width) {
      Array array = Array::uniform(random, type, {capacity, width});
      Array poison(type, {1});
      poison.poison();
      for (int64_t i = live * width; i < capacity * width; ++i)
        std::copy_n(poison.bytes().data(), byteSize(type),
                    Tensor(array).as<char>() + i * byteSize(type));
      return array;
    };
    const auto expectUntouched = [&](const Array &array, const char *what) {
      const int64_t width = array.elements() / capacity;
      const std::string bytes = array.bytes();
      const auto begin =
          static_cast<size_t>(live * width * byteSize(array.dtype()));
      EXPECT_EQ(bytes.substr(begin), std::string(bytes.size() - begin, '\xff'))
          << what;
      for (int64_t i = 0; i < live * width; ++i)
        ASSERT_TRUE(std::isfinite(array.get(i))) << what;
    };
    const auto poisoned = [&](DType type, int64_t width) {
      Array array(type, {capacity, width});
      array.poison();
      return array;
    };
    const Array x = poisonedBehind(s, k), dOut = poisonedBehind(s, n);
    const Array scale = poisonedBehind(a, 1);
    const Array weight = Array::uniform(random, s, {experts, n, k});
    const Array bias = Array::uniform(random, s, {experts, n});
    Tensor scaleTensor = scale;
    scaleTensor.rank = 1;
    const Array out = poisoned(s, n), dX = poisoned(s, k),
                dScale = poisoned(a, 1), activated = poisoned(s, k / 2),
                dActivation = poisoned(s, k), dRowScale = poisoned(a, 1);
    Array dWeight(a, {experts, n, k}), dBias(a, {experts, n});
    const Array dActivated = poisonedBehind(s, k / 2);
    kernels.groupedLinear(serial, x, counts, weight, bias, scaleTensor, out);
    kernels.groupedLinearInputGrad(serial, dOut, counts, weight, dX);
    kernels.groupedLinearBiasScaleGrad(serial, dOut, counts, bias, dScale);
    kernels.groupedLinearWeightGrad(serial, dOut, x, counts, scaleTensor,
                                    dWeight, dBias);
    kernels.swiglu(serial, x, scaleTensor, counts, {}, activated);
    kernels.swigluInputGrad(serial, dActivated, x, scaleTensor, counts, {},
                            dActivation, dRowScale);
    expectUntouched(out, "groupedLinear");
    expectUntouched(dX, "groupedLinearInputGrad");
    expectUntouched(dScale, "groupedLinearBiasScaleGrad");
    expectUntouched(activated, "swiglu");
    expectUntouched(dActivation, "swigluInputGrad, x");
    expectUntouched(dRowScale, "swigluInputGrad, row scale");
    for (double value : dWeight.values())
      ASSERT_TRUE(std::isfinite(value));
    for (double value : dBias.values())
      ASSERT_TRUE(std::isfinite(value));
  }
}

// NaN in an input reaches the outputs that depend on it.
TEST(Numerics, NanIsNotHidden) {
  Random random(63);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (DType s : {DType::bf16, DType::f32, DType::f64}) {
    const DType a = accumulatorType(s);
    Array logits = Array::uniform(random, s, {2, 40});
    logits.set(45, nan);
    const Array labels = Array::integers({1, 2}, {2});
    Array loss(a, {1}), normalizer(a, {2});
    kernels.crossEntropy(serial, logits, labels, loss, normalizer);
    EXPECT_TRUE(std::isnan(loss.get(0)));
    EXPECT_FALSE(std::isnan(normalizer.get(0)));

    Array x = Array::uniform(random, s, {1, 8});
    x.set(1, nan);
    Array out(s, {1, 4});
    kernels.swiglu(serial, x, absent, absent, {0.5, 1, 0}, out);
    EXPECT_TRUE(std::isnan(out.get(1)));

    Attention attention{4, 1, 1, 2, 2, 1.0, 0};
    Array q = Array::uniform(random, s, {4, 2});
    const Array k = Array::uniform(random, s, {4, 2});
    const Array v = Array::uniform(random, s, {4, 2});
    q.set(5, nan);
    Array attended(s, {4, 2}), sums(a, {1, 4});
    kernels.attention(serial, q, k, v, absent, attention, attended, sums);
    EXPECT_TRUE(std::isnan(attended.get(4)) && std::isnan(sums.get(2)));
    EXPECT_FALSE(std::isnan(attended.get(2)));

    // Indices stay in range whatever the scores are.
    Array scores(a, {1, 6}), probabilities(a, {1, 2}), ids(DType::i32, {1, 2});
    scores.poison();
    Routing routing;
    routing.topK = 2;
    routing.normalize = true;
    kernels.route(serial, scores, absent, routing, probabilities, ids, absent);
    EXPECT_EQ(ids.integer(0), 0);
    EXPECT_EQ(ids.integer(1), 1);
    EXPECT_TRUE(std::isnan(probabilities.get(0)));
  }
}

TEST(Optimizer, AdamwFollowsTheFormula) {
  Random random(64);
  const int64_t n = 500;
  const double rate = 3e-2, b1 = 0.9, b2 = 0.99, epsilon = 1e-8, decay = 0.1,
               scale = 0.3;
  for (DType s : {DType::bf16, DType::f32, DType::f64}) {
    const DType a = accumulatorType(s);
    Array weight = Array::uniform(random, s, {n}), master(a, {n});
    std::vector<double> w = weight.values(), m(n), v(n);
    for (int64_t i = 0; i < n; ++i)
      master.set(i, weight.get(i));
    Array first(a, {n}), second(a, {n});
    for (int64_t step = 1; step <= 20; ++step) {
      const Array gradient = Array::uniform(random, a, {n});
      kernels.adamw(serial, weight, gradient,
                    s == DType::bf16 ? master : absent, first, second, rate, b1,
                    b2, epsilon, decay, scale, step);
      for (int64_t i = 0; i < n; ++i) {
        const double g = gradient.get(i) * scale;
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * g * g;
        const double mean = m[i] / (1 - std::pow(b1, step));
        const double variance = v[i] / (1 - std::pow(b2, step));
        w[i] -= rate * (mean / (std::sqrt(variance) + epsilon) + decay * w[i]);
      }
    }
    const Array &exact = s == DType::bf16 ? master : weight;
    for (int64_t i = 0; i < n; ++i) {
      const double tolerance = s == DType::f64 ? 1e-13 : 3e-6;
      ASSERT_NEAR(exact.get(i), w[i], tolerance) << moe::name(s);
      if (s == DType::bf16) {
        ASSERT_EQ(weight.get(i), roundToBFloat16(master.get(i)));
      }
    }
  }
}

TEST(Optimizer, SumOfSquares) {
  Random random(65);
  for (int64_t n : {0, 1, 15, 16, 17, 4096, 4097, 20000}) {
    const Array x = Array::uniform(random, DType::f32, {n});
    double expected = 0;
    for (double value : x.values())
      expected += value * value;
    EXPECT_NEAR(kernels.sumOfSquares(serial, x), expected, 1e-12 * expected)
        << n;
  }
}

} // namespace
} // namespace moe::kernels::test
