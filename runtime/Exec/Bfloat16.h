//===- Bfloat16.h - conversions of bf16 bits --------------------*- C++ -*-===//
#pragma once

#include <bit>
#include <cstdint>

namespace moe::exec {

inline float fromBfloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// Rounds a finite value to nearest, ties to even.
inline uint16_t toBfloat16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

} // namespace moe::exec
