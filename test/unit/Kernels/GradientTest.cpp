// Gradients of norms, linear layers, activation, loss and embedding against
// central differences in f64. The scalar is a random linear functional of all
// outputs. Weight gradients start from random values, which must be kept.

#include "test/unit/Kernels/KernelTestSupport.h"

#include "gtest/gtest.h"

#include <cmath>

namespace moe::kernels::test {
namespace {

const KernelTable &kernels = cpuKernels();
const Parallel serial{};
constexpr DType f64 = DType::f64;

/// gradient - initial: what a kernel has accumulated.
Array minus(const Array &gradient, const Array &initial) {
  Array result(f64, {gradient.elements()});
  for (int64_t i = 0; i < gradient.elements(); ++i)
    result.set(i, gradient.get(i) - initial.get(i));
  return result;
}

Array copyOf(const Array &array, std::vector<int64_t> dims) {
  Array result(array.dtype(), std::move(dims));
  for (int64_t i = 0; i < array.elements(); ++i)
    result.set(i, array.get(i));
  return result;
}

/// Rows per expert; some have none.
Array randomCounts(Random &random, int64_t experts, int64_t &rows) {
  std::vector<int32_t> counts;
  rows = 0;
  for (int64_t e = 0; e < experts; ++e) {
    counts.push_back(static_cast<int32_t>(pick(random, 0, 4)));
    rows += counts.back();
  }
  return Array::integers(counts, {experts});
}

/// Sum over the first `elements` only.
double weightedPrefix(const Array &values, const Array &weights,
                      int64_t elements) {
  double sum = 0;
  for (int64_t i = 0; i < elements; ++i)
    sum += values.get(i) * weights.get(i);
  return sum;
}

TEST(Gradient, RmsNorm) {
  Random random(1);
  for (int64_t groups : {1, 2, 3, 4})
    for (int repeat = 0; repeat < 5; ++repeat) {
      const int64_t rows = pick(random, 1, 5), part = pick(random, 1, 40);
      const int64_t width = part * groups;
      Array x = Array::uniform(random, f64, {rows, width});
      Array weight = Array::uniform(random, f64, {part});
      Array out(f64, {rows, width}), inverse(f64, {rows, groups});
      const Array dOut = Array::uniform(random, f64, {rows, width});
      const auto value = [&] {
        kernels.rmsNorm(serial, x, weight, 1e-3, groups, out, inverse);
        return weightedSum(out, dOut);
      };
      value();
      Array dX(f64, {rows, width});
      kernels.rmsNormInputGrad(serial, dOut, x, inverse, weight, groups, dX);
      const Array initial = Array::uniform(random, f64, {part});
      Array dWeight = copyOf(initial, {part});
      kernels.rmsNormWeightGrad(serial, dOut, x, inverse, groups, dWeight);
      expectGradient(value, x, dX, "x");
      expectGradient(value, weight, minus(dWeight, initial), "weight");
    }
}

TEST(Gradient, Linear) {
  Random random(2);
  for (bool hasBias : {false, true})
    for (int repeat = 0; repeat < 5; ++repeat) {
      const int64_t rows = pick(random, 1, 9), n = pick(random, 1, 20),
                    k = pick(random, 1, 20);
      Array x = Array::uniform(random, f64, {rows, k});
      Array weight = Array::uniform(random, f64, {n, k});
      Array bias = Array::uniform(random, f64, {n});
      Array out(f64, {rows, n});
      const Array dOut = Array::uniform(random, f64, {rows, n});
      const auto value = [&] {
        kernels.linear(serial, x, weight, hasBias ? bias : absent, out);
        return weightedSum(out, dOut);
      };
      Array dX(f64, {rows, k});
      kernels.linearInputGrad(serial, dOut, weight, dX);
      const Array initial = Array::uniform(random, f64, {n, k});
      const Array initialBias = Array::uniform(random, f64, {n});
      Array dWeight = copyOf(initial, {n, k}), dBias = copyOf(initialBias, {n});
      kernels.linearWeightGrad(serial, dOut, x, dWeight,
                               hasBias ? dBias : absent);
      expectGradient(value, x, dX, "x");
      expectGradient(value, weight, minus(dWeight, initial), "weight");
      if (hasBias)
        expectGradient(value, bias, minus(dBias, initialBias), "bias");
    }
}

TEST(Gradient, GroupedLinear) {
  Random random(3);
  for (bool hasBias : {false, true})
    for (bool hasScale : {false, true})
      for (int repeat = 0; repeat < 5; ++repeat) {
        const int64_t experts = pick(random, 1, 5), n = pick(random, 1, 12),
                      k = pick(random, 1, 12);
        int64_t rows;
        const Array counts = randomCounts(random, experts, rows);
        const int64_t capacity = rows + pick(random, 0, 3) + 1;
        Array x = Array::uniform(random, f64, {capacity, k});
        Array weight = Array::uniform(random, f64, {experts, n, k});
        Array bias = Array::uniform(random, f64, {experts, n});
        Array scale = Array::uniform(random, f64, {capacity});
        Array out(f64, {capacity, n});
        const Array dOut = Array::uniform(random, f64, {capacity, n});
        const Tensor biasTensor = hasBias ? bias : absent;
        const Tensor scaleTensor = hasScale ? scale : absent;
        const auto value = [&] {
          kernels.groupedLinear(serial, x, counts, weight, biasTensor,
                                scaleTensor, out);
          return weightedPrefix(out, dOut, rows * n);
        };
        Array dX(f64, {capacity, k}), dScale(f64, {capacity});
        kernels.groupedLinearInputGrad(serial, dOut, counts, weight, dX);
        const Array initial = Array::uniform(random, f64, {experts, n, k});
        const Array initialBias = Array::uniform(random, f64, {experts, n});
        Array dWeight = copyOf(initial, {experts, n, k});
        Array dBias = copyOf(initialBias, {experts, n});
        kernels.groupedLinearWeightGrad(serial, dOut, x, counts, scaleTensor,
                                        dWeight, hasBias ? dBias : absent);
        // Rows behind the counts take no part: their gradient is 0.
        expectGradient(value, x, dX, "x");
        expectGradient(value, weight, minus(dWeight, initial), "weight");
        if (hasBias)
          expectGradient(value, bias, minus(dBias, initialBias), "bias");
        if (hasBias && hasScale) {
          kernels.groupedLinearBiasScaleGrad(serial, dOut, counts, bias,
                                             dScale);
          expectGradient(value, scale, dScale, "bias scale");
        }
      }
}

TEST(Gradient, Swiglu) {
  Random random(4);
  for (double limit : {0.0, 0.6})
    for (double alpha : {1.0, 1.702})
      for (double offset : {0.0, 1.0})
        for (bool hasScale : {false, true})
          for (bool hasCounts : {false, true}) {
            const int64_t width = pick(random, 1, 20);
            int64_t rows;
            Array counts = randomCounts(random, 3, rows);
            const int64_t capacity = rows + 2;
            if (!hasCounts)
              rows = capacity;
            Array x = Array::uniform(random, f64, {capacity, 2 * width});
            // Away from the corners of the bounds.
            for (int64_t i = 0; i < x.elements(); ++i)
              if (std::abs(std::abs(x.get(i)) - limit) < 1e-3)
                x.set(i, limit + 0.01);
            Array scale = Array::uniform(random, f64, {capacity});
            const Tensor scaleTensor = hasScale ? scale : absent;
            const Tensor countsTensor = hasCounts ? counts : absent;
            Array out(f64, {capacity, width});
            const Array dOut = Array::uniform(random, f64, {capacity, width});
            const Swiglu swiglu{limit, alpha, offset};
            const auto value = [&] {
              kernels.swiglu(serial, x, scaleTensor, countsTensor, swiglu, out);
              return weightedPrefix(out, dOut, rows * width);
            };
            Array dX(f64, {capacity, 2 * width}), dScale(f64, {capacity});
            kernels.swigluInputGrad(serial, dOut, x, scaleTensor, countsTensor,
                                    swiglu, dX, hasScale ? dScale : absent);
            expectGradient(value, x, dX, "x");
            if (hasScale)
              expectGradient(value, scale, dScale, "row scale");
          }
}

TEST(Gradient, CrossEntropy) {
  Random random(5);
  for (int repeat = 0; repeat < 10; ++repeat) {
    const int64_t rows = pick(random, 1, 6), width = pick(random, 1, 40);
    Array logits = Array::uniform(random, f64, {rows, width}, -4, 4);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < rows; ++t)
      ids.push_back(static_cast<int32_t>(pick(random, 0, width - 1)));
    const Array labels = Array::integers(ids, {rows});
    Array loss(f64, {1}), normalizer(f64, {rows});
    const double seed = 0.7;
    const auto value = [&] {
      kernels.crossEntropy(serial, logits, labels, loss, normalizer);
      return seed * loss.get(0);
    };
    value();
    Array dLogits(f64, {rows, width});
    kernels.crossEntropyInputGrad(serial, logits, labels, normalizer,
                                  seed / static_cast<double>(rows), dLogits);
    expectGradient(value, logits, dLogits, "logits");
    // In place.
    value();
    Array inPlace = copyOf(logits, {rows, width});
    kernels.crossEntropyInputGrad(serial, inPlace, labels, normalizer,
                                  seed / static_cast<double>(rows), inPlace);
    EXPECT_TRUE(inPlace.bytes() == dLogits.bytes());
  }
}

TEST(Gradient, Embedding) {
  Random random(6);
  const int64_t rows = 12, vocabulary = 5, width = 7;
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < rows; ++t)
    ids.push_back(static_cast<int32_t>(pick(random, 0, vocabulary - 1)));
  const Array tokens = Array::integers(ids, {rows});
  Array table = Array::uniform(random, f64, {vocabulary, width});
  Array out(f64, {rows, width});
  const Array dOut = Array::uniform(random, f64, {rows, width});
  const auto value = [&] {
    kernels.embedding(serial, tokens, table, out);
    return weightedSum(out, dOut);
  };
  const Array initial = Array::uniform(random, f64, {vocabulary, width});
  Array dTable = copyOf(initial, {vocabulary, width});
  kernels.embeddingWeightGrad(serial, dOut, tokens, dTable);
  expectGradient(value, table, minus(dTable, initial), "table");
}

} // namespace
} // namespace moe::kernels::test
