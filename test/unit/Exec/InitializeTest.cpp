#include "runtime/Exec/Parameters.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace moe;

namespace {

plan::Parameter normal(const std::string &name) {
  plan::Parameter parameter;
  parameter.name = name;
  parameter.initializer = {"normal", 0.02};
  return parameter;
}

std::vector<double> make(const plan::Parameter &parameter, uint64_t seed,
                         int64_t first, size_t count, int64_t threads = 1) {
  exec::ThreadPool pool(threads);
  std::vector<double> values(count);
  exec::initialize(pool, parameter, seed, first, std::span(values));
  return values;
}

TEST(Initialize, AnElementDependsOnSeedNameAndIndexAlone) {
  std::vector<double> whole = make(normal("w"), 1, 0, 1000);
  EXPECT_EQ(make(normal("w"), 1, 0, 1000, 3), whole);
  for (int64_t first : {1, 250, 501}) {
    std::vector<double> part = make(normal("w"), 1, first, 99);
    for (size_t i = 0; i < part.size(); ++i)
      EXPECT_EQ(part[i], whole[static_cast<size_t>(first) + i]);
  }
  EXPECT_NE(make(normal("w"), 2, 0, 1000), whole);
  EXPECT_NE(make(normal("v"), 1, 0, 1000), whole);
}

TEST(Initialize, IsNormal) {
  constexpr size_t kCount = 200000;
  std::vector<double> values = make(normal("w"), 3, 0, kCount);
  double mean = 0, square = 0, neighbours = 0, fourth = 0;
  for (size_t i = 0; i < kCount; ++i) {
    double x = values[i] / 0.02;
    mean += x;
    square += x * x;
    fourth += x * x * x * x;
    if (i > 0)
      neighbours += x * values[i - 1] / 0.02;
  }
  EXPECT_NEAR(mean / kCount, 0, 0.01);
  EXPECT_NEAR(square / kCount, 1, 0.015);
  EXPECT_NEAR(fourth / kCount, 3, 0.12);
  EXPECT_NEAR(neighbours / kCount, 0, 0.01);
}

TEST(Initialize, Constants) {
  plan::Parameter ones = normal("w"), zeros = normal("w");
  ones.initializer.kind = "ones";
  zeros.initializer.kind = "zeros";
  EXPECT_EQ(make(ones, 1, 0, 3), (std::vector<double>{1, 1, 1}));
  EXPECT_EQ(make(zeros, 1, 0, 3), (std::vector<double>{0, 0, 0}));
}

} // namespace
