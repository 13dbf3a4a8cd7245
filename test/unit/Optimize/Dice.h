//===- Dice.h - numbers drawn for tests -------------------------*- C++ -*-===//
#pragma once

#include <cstdint>
#include <random>

namespace moe::optimize {

/// Numbers that only depend on the seed.
class Random {
public:
  explicit Random(uint64_t seed) : engine(seed) {}
  int64_t operator()(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(engine);
  }

private:
  std::mt19937_64 engine;
};

} // namespace moe::optimize
