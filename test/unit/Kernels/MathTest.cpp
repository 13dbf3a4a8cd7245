// The elementary functions of the float path against libm in double.

#define MOE_ISA MOE_ISA_PORTABLE
#include "kernels/Cpu/Math.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstdint>

namespace moe::kernels::portable {
namespace {

/// Error in units in the last place of the exact result.
double ulps(float actual, double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::abs(actual - exact) / unit;
}

/// Every `stride`-th float between two positive ones.
template <typename Check>
void forFloats(float low, float high, uint32_t stride, const Check &check) {
  const auto end = __builtin_bit_cast(uint32_t, high);
  for (auto bits = __builtin_bit_cast(uint32_t, low); bits <= end;
       bits += stride)
    check(__builtin_bit_cast(float, bits));
}

TEST(Math, Exponential) {
  double worst = 0;
  forFloats(1e-10f, 104.0f, 997, [&](float x) {
    worst = std::max(worst, ulps(exponential(-x), std::exp(-double(x))));
    if (x < 88.7f)
      worst = std::max(worst, ulps(exponential(x), std::exp(double(x))));
  });
  EXPECT_LT(worst, 2.0);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exponential(0.0f), 1.0f);
  EXPECT_EQ(exponential(-infinity), 0.0f);
  EXPECT_EQ(exponential(-200.0f), 0.0f);
  EXPECT_EQ(exponential(88.8f), infinity);
  EXPECT_EQ(exponential(infinity), infinity);
  EXPECT_TRUE(std::isnan(exponential(std::nanf(""))));
}

TEST(Math, Logarithm) {
  double worst = 0;
  forFloats(std::numeric_limits<float>::min(),
            std::numeric_limits<float>::max(), 4999, [&](float x) {
              worst = std::max(worst, ulps(logarithm(x), std::log(double(x))));
            });
  forFloats(0.5f, 2.0f, 61, [&](float x) {
    if (x != 1.0f)
      worst = std::max(worst, ulps(logarithm(x), std::log(double(x))));
  });
  EXPECT_LT(worst, 2.0);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(logarithm(1.0f), 0.0f);
  EXPECT_EQ(logarithm(0.0f), -infinity);
  EXPECT_EQ(logarithm(infinity), infinity);
  EXPECT_TRUE(std::isnan(logarithm(-1.0f)));
  EXPECT_TRUE(std::isnan(logarithm(std::nanf(""))));
}

TEST(Math, DoubleFunctions) {
  const auto relative = [](double actual, long double exact) {
    return static_cast<double>(std::abs((actual - exact) / exact));
  };
  double worst = 0, worstAngle = 0;
  for (int i = 1; i < 200000; ++i) {
    const double x = i * 0.0035;
    worst = std::max(worst, relative(exponential(x), std::exp((long double)x)));
    worst =
        std::max(worst, relative(exponential(-x), std::exp(-(long double)x)));
    const double y = std::ldexp(1 + i * 0x1p-18, i % 200 - 100);
    worst = std::max(worst, relative(logarithm(y), std::log((long double)y)));
    for (double angle : {x, -x, x * 1234.5}) {
      const SineCosine turn = sineCosine(angle);
      worstAngle = std::max(
          {worstAngle,
           double(std::abs(turn.sine - std::sin((long double)angle))),
           double(std::abs(turn.cosine - std::cos((long double)angle)))});
    }
  }
  EXPECT_LT(worst, 4.5e-16);
  EXPECT_LT(worstAngle, 4e-16);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(exponential(0.0), 1.0);
  EXPECT_EQ(exponential(-800.0), 0.0);
  EXPECT_EQ(exponential(-infinity), 0.0);
  EXPECT_EQ(exponential(800.0), infinity);
  EXPECT_EQ(logarithm(1.0), 0.0);
  EXPECT_EQ(logarithm(0.0), -infinity);
  EXPECT_TRUE(std::isnan(exponential(std::nan(""))));
  EXPECT_TRUE(std::isnan(logarithm(std::nan(""))));
  EXPECT_TRUE(std::isnan(logarithm(-1.0)));
  EXPECT_EQ(wholePower(3, 0), 1);
  EXPECT_EQ(wholePower(3, 13), 1594323);
}

TEST(Math, LaneSumAddsEveryTermOnce) {
  for (int64_t n = 0; n < 70; ++n) {
    const double sum = laneSum<double>(n, [](int64_t i, double partial) {
      return partial + static_cast<double>(i + 1);
    });
    const int64_t expected = n * (n + 1) / 2;
    EXPECT_EQ(sum, static_cast<double>(expected));
  }
}

} // namespace
} // namespace moe::kernels::portable
