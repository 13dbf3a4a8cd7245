// The local halves of dispatch and combine.

#include "test/unit/Kernels/KernelTestSupport.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <numeric>

namespace moe::kernels::test {
namespace {

const KernelTable &kernels = cpuKernels();
const Parallel serial{};

struct Instance {
  Exchange exchange;
  Array experts, handle;
};

Instance randomInstance(Random &random) {
  Instance instance;
  Exchange &e = instance.exchange;
  e.tokens = pick(random, 1, 40);
  e.experts = pick(random, 1, 12);
  e.topK = pick(random, 1, e.experts);
  std::vector<int32_t> chosen;
  std::vector<int32_t> all(static_cast<size_t>(e.experts));
  std::iota(all.begin(), all.end(), 0);
  for (int64_t t = 0; t < e.tokens; ++t) {
    std::shuffle(all.begin(), all.end(), random);
    chosen.insert(chosen.end(), all.begin(), all.begin() + e.topK);
  }
  instance.experts = Array::integers(chosen, {e.tokens, e.topK});
  instance.handle = Array(DType::i32, {handleElements(e)});
  kernels.planExchange(serial, instance.experts, e, instance.handle);
  return instance;
}

TEST(Exchange, PositionsAreAStableSortByExpert) {
  Random random(21);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const Instance instance = randomInstance(random);
    const int64_t n = instance.exchange.tokens * instance.exchange.topK;
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return std::pair(instance.experts.integer(a), a) <
             std::pair(instance.experts.integer(b), b);
    });
    for (int64_t i = 0; i < n; ++i)
      ASSERT_EQ(instance.handle.integer(order[static_cast<size_t>(i)]), i);
    for (int64_t e = 0; e < instance.exchange.experts; ++e) {
      int64_t expected = 0;
      for (int64_t a = 0; a < n; ++a)
        expected += instance.experts.integer(a) == e;
      ASSERT_EQ(instance.handle.integer(n + e), expected);
    }
  }
}

TEST(Exchange, GatherThenReduceMultipliesByTopK) {
  Random random(22);
  for (DType type : {DType::bf16, DType::f32, DType::f64})
    for (int repeat = 0; repeat < 30; ++repeat) {
      const Instance instance = randomInstance(random);
      const Exchange &e = instance.exchange;
      const int64_t width = pick(random, 1, 33);
      const Array x = Array::uniform(random, type, {e.tokens, width});
      Array staging(type, {e.tokens * e.topK, width});
      Array out(type, {e.tokens, width});
      kernels.gatherRows(serial, x, instance.handle, e, staging);
      for (int64_t t = 0; t < e.tokens; ++t)
        for (int64_t j = 0; j < e.topK; ++j)
          for (int64_t h = 0; h < width; ++h)
            ASSERT_EQ(staging.get(
                          instance.handle.integer(t * e.topK + j) * width + h),
                      x.get(t * width + h));
      kernels.reduceRows(serial, staging, instance.handle, e, out);
      Array expected(type, {1});
      for (int64_t i = 0; i < out.elements(); ++i) {
        // A few times a bf16 value is exact in f32; one rounding remains.
        expected.set(0, x.get(i) * static_cast<double>(e.topK));
        ASSERT_EQ(out.get(i), expected.get(0));
      }
    }
}

// <reduce(staging), y> = <staging, gather(y)>: each is the other's gradient.
TEST(Exchange, ReduceIsTheAdjointOfGather) {
  Random random(23);
  for (int repeat = 0; repeat < 50; ++repeat) {
    const Instance instance = randomInstance(random);
    const Exchange &e = instance.exchange;
    const int64_t rows = e.tokens * e.topK, width = 3;
    const Array staging = Array::uniform(random, DType::f64, {rows, width});
    const Array y = Array::uniform(random, DType::f64, {e.tokens, width});
    Array reduced(DType::f64, {e.tokens, width});
    Array gathered(DType::f64, {rows, width});
    kernels.reduceRows(serial, staging, instance.handle, e, reduced);
    kernels.gatherRows(serial, y, instance.handle, e, gathered);
    EXPECT_NEAR(weightedSum(reduced, y), weightedSum(staging, gathered), 1e-12);
  }
}

TEST(Exchange, ScatterUndoesGatherOfScalars) {
  Random random(24);
  for (DType type : {DType::f32, DType::f64})
    for (int repeat = 0; repeat < 50; ++repeat) {
      const Instance instance = randomInstance(random);
      const Exchange &e = instance.exchange;
      const Array values = Array::uniform(random, type, {e.tokens, e.topK});
      Array staging(type, {e.tokens * e.topK}), back(type, {e.tokens, e.topK});
      kernels.gatherScalars(serial, values, instance.handle, e, staging);
      kernels.scatterScalars(serial, staging, instance.handle, e, back);
      EXPECT_EQ(back.bytes(), values.bytes());
      // Scalars take the way of rows.
      for (int64_t a = 0; a < values.elements(); ++a)
        ASSERT_EQ(staging.get(instance.handle.integer(a)), values.get(a));
    }
}

} // namespace
} // namespace moe::kernels::test
