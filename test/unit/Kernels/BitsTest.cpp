// The CPU backend's promise: the same bits for any number of threads, any split
// of rows and any instruction set; products equal to the plain triple loop.

#include "test/unit/Kernels/KernelCases.h"

#include "gtest/gtest.h"

#include <cmath>

namespace moe::kernels::test {
namespace {

const Parallel serial{};

void expectSame(const std::vector<Array> &left, const std::vector<Array> &right,
                const std::string &what) {
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i)
    EXPECT_TRUE(left[i].bytes() == right[i].bytes())
        << what << ": output " << i << " differs";
}

TEST(Bits, DoNotDependOnThreads) {
  for (const KernelCase &test : kernelCases())
    for (DType type : {DType::bf16, DType::f32, DType::f64}) {
      const auto expected = test.run(cpuKernels(), serial, type);
      for (int threads = 1; threads <= 5; ++threads) {
        TestPool pool(threads);
        expectSame(test.run(cpuKernels(), pool.parallel(), type), expected,
                   test.name + " on " + std::to_string(threads) + " threads");
      }
    }
}

TEST(Bits, DoNotDependOnInstructionSet) {
  for (const KernelCase &test : kernelCases())
    for (DType type : {DType::bf16, DType::f32, DType::f64}) {
      const auto expected = test.run(cpuKernels(), serial, type);
      for (Isa isa : machineIsas())
        expectSame(test.run(cpuKernels(isa), serial, type), expected,
                   test.name + " with " + name(isa));
    }
}

// Fixed values, since no single build can compare compilers and machines. They
// change only with a deliberate change of the arithmetic.
TEST(Bits, DoNotDependOnCompilerOrMachine) {
  const std::pair<DType, uint64_t> expected[] = {
      {DType::bf16, 1827751860899700531u},
      {DType::f32, 12677292696573615543u},
      {DType::f64, 149301989739974101u}};
  for (const auto &[type, expectedHash] : expected) {
    uint64_t hash = 0xcbf29ce484222325; // FNV-1a
    for (const KernelCase &test : kernelCases())
      for (const Array &output : test.run(cpuKernels(), serial, type))
        for (unsigned char byte : output.bytes())
          hash = (hash ^ byte) * 0x100000001b3;
    EXPECT_EQ(hash, expectedHash) << moe::name(type);
  }
}

// Guards the comparisons above against empty cases: values are finite, and no
// output is all zero.
TEST(Bits, CasesProduceValues) {
  for (const KernelCase &test : kernelCases())
    for (const Array &output : test.run(cpuKernels(), serial, DType::bf16)) {
      if (output.dtype() == DType::i32)
        continue;
      bool allZero = true;
      for (double value : output.values()) {
        ASSERT_TRUE(std::isfinite(value)) << test.name;
        allZero &= value == 0;
      }
      EXPECT_FALSE(allZero) << test.name;
    }
}

/// fma in the accumulator's type, rounded to the output's type at the end.
template <typename A> struct Naive {
  static A dot(const Array &x, int64_t xBegin, int64_t xStep, const Array &y,
               int64_t yBegin, int64_t yStep, int64_t n, A sum) {
    for (int64_t k = 0; k < n; ++k)
      sum = std::fma(static_cast<A>(x.get(xBegin + k * xStep)),
                     static_cast<A>(y.get(yBegin + k * yStep)), sum);
    return sum;
  }
};

template <typename A> void checkProducts(DType s, DType outType, Isa isa) {
  const KernelTable &table = cpuKernels(isa);
  const DType a = accumulatorType(s);
  Random random(51);
  for (int repeat = 0; repeat < 12; ++repeat) {
    const int64_t rows = pick(random, 1, 60), n = pick(random, 1, 80);
    const int64_t k = repeat < 2 ? 500 + repeat : pick(random, 1, 60);
    const Array x = Array::uniform(random, s, {rows, k});
    const Array weight = Array::uniform(random, s, {n, k});
    const Array bias = Array::uniform(random, s, {n});
    const Array dOut = Array::uniform(random, outType, {rows, n});
    Array out(outType, {rows, n}), dX(s, {rows, k}), expected(outType, {1});
    const Array before = Array::uniform(random, a, {n, k});
    Array dWeight(a, {n, k});
    for (int64_t i = 0; i < n * k; ++i)
      dWeight.set(i, before.get(i));
    table.linear(serial, x, weight, bias, out);
    table.linearInputGrad(serial, dOut, weight, dX);
    table.linearWeightGrad(serial, dOut, x, dWeight, absent);
    for (int64_t i = 0; i < rows * n; ++i) {
      const A sum = Naive<A>::dot(x, i / n * k, 1, weight, i % n * k, 1, k, 0);
      expected.set(0, sum + static_cast<A>(bias.get(i % n)));
      ASSERT_EQ(out.get(i), expected.get(0)) << name(isa);
    }
    Array rounded(s, {1});
    for (int64_t i = 0; i < rows * k; ++i) {
      rounded.set(0, Naive<A>::dot(dOut, i / k * n, 1, weight, i % k, k, n, 0));
      ASSERT_EQ(dX.get(i), rounded.get(0)) << name(isa);
    }
    for (int64_t i = 0; i < n * k; ++i)
      ASSERT_EQ(dWeight.get(i), Naive<A>::dot(dOut, i / k, n, x, i % k, k, rows,
                                              static_cast<A>(before.get(i))))
          << name(isa);
  }
}

TEST(Bits, ProductsEqualTheTripleLoop) {
  for (Isa isa : machineIsas()) {
    checkProducts<float>(DType::bf16, DType::bf16, isa);
    checkProducts<float>(DType::bf16, DType::f32, isa);
    checkProducts<float>(DType::f32, DType::f32, isa);
    checkProducts<double>(DType::f64, DType::f64, isa);
  }
}

// Accumulating two halves of the rows gives the bits of all rows at once.
TEST(Bits, WeightGradientsDoNotDependOnMicrobatches) {
  Random random(52);
  const int64_t rows = 40, n = 30, k = 20, half = 13;
  const Array dOut = Array::uniform(random, DType::bf16, {rows, n});
  const Array x = Array::uniform(random, DType::bf16, {rows, k});
  Array once(DType::f32, {n, k}), twice(DType::f32, {n, k});
  const auto slice = [](const Array &array, int64_t first, int64_t count) {
    Tensor tensor = array;
    tensor.data = tensor.as<char>() + first * tensor.dims[1] * 2;
    tensor.dims[0] = count;
    return tensor;
  };
  const KernelTable &table = cpuKernels();
  table.linearWeightGrad(serial, dOut, x, once, absent);
  table.linearWeightGrad(serial, slice(dOut, 0, half), slice(x, 0, half), twice,
                         absent);
  table.linearWeightGrad(serial, slice(dOut, half, rows - half),
                         slice(x, half, rows - half), twice, absent);
  EXPECT_EQ(once.bytes(), twice.bytes());
}

// Gradients may be written over what they are the gradients of.
TEST(Bits, DoNotDependOnOverwriting) {
  Random random(54);
  for (DType s : {DType::bf16, DType::f32, DType::f64})
    for (Isa isa : machineIsas())
      for (int repeat = 0; repeat < 12; ++repeat) {
        SCOPED_TRACE(std::string(moe::name(s)) + " " + name(isa));
        const KernelTable &table = cpuKernels(isa);
        const int64_t rows = pick(random, 1, 30), width = pick(random, 1, 70);
        std::vector<int32_t> ids;
        for (int64_t t = 0; t < rows; ++t)
          ids.push_back(static_cast<int32_t>(pick(random, 0, width - 1)));
        const Array labels = Array::integers(ids, {rows});
        Array logits = Array::uniform(random, s, {rows, width}, -4, 4);
        Array loss(accumulatorType(s), {1}),
            normalizer(accumulatorType(s), {rows});
        table.crossEntropy(serial, logits, labels, loss, normalizer);
        Array apart(s, {rows, width});
        TestPool pool(1 + repeat % 3);
        table.crossEntropyInputGrad(pool.parallel(), logits, labels, normalizer,
                                    0.7, apart);
        table.crossEntropyInputGrad(pool.parallel(), logits, labels, normalizer,
                                    0.7, logits);
        EXPECT_TRUE(logits.bytes() == apart.bytes());

        const Swiglu swiglu = repeat % 2 ? Swiglu{2.0, 1.702, 1.0} : Swiglu{};
        Array x = Array::uniform(random, s, {rows, 2 * width}, -4, 4);
        const Array dOut = Array::uniform(random, s, {rows, width});
        const Array scale = Array::uniform(random, accumulatorType(s), {rows});
        const Array counts =
            Array::integers({static_cast<int32_t>(pick(random, 0, rows))}, {1});
        // Rows that did not arrive are left alone.
        Array dX(s, {rows, 2 * width});
        for (int64_t i = 0; i < rows * 2 * width; ++i)
          dX.set(i, x.get(i));
        Array dScale(accumulatorType(s), {rows}),
            dScaleToo(accumulatorType(s), {rows});
        table.swigluInputGrad(pool.parallel(), dOut, x, scale, counts, swiglu,
                              dX, dScale);
        table.swigluInputGrad(pool.parallel(), dOut, x, scale, counts, swiglu,
                              x, dScaleToo);
        EXPECT_TRUE(x.bytes() == dX.bytes());
        EXPECT_TRUE(dScale.bytes() == dScaleToo.bytes());
      }
}

// Rows of one matrix do not see one another: any split gives the same bits.
TEST(Bits, RowsDoNotDependOnTheirNeighbours) {
  Random random(53);
  const int64_t rows = 67, n = 41, k = 300;
  const Array x = Array::uniform(random, DType::bf16, {rows, k});
  const Array weight = Array::uniform(random, DType::bf16, {n, k});
  Array whole(DType::bf16, {rows, n}), parts(DType::bf16, {rows, n});
  cpuKernels().linear(serial, x, weight, absent, whole);
  for (int64_t first = 0; first < rows; first += 7) {
    const int64_t count = std::min<int64_t>(7, rows - first);
    Tensor input = x, output = parts;
    input.data = input.as<char>() + first * k * 2;
    output.data = output.as<char>() + first * n * 2;
    input.dims[0] = output.dims[0] = count;
    cpuKernels().linear(serial, input, weight, absent, output);
  }
  EXPECT_EQ(whole.bytes(), parts.bytes());
}

} // namespace
} // namespace moe::kernels::test
