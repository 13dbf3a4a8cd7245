//===- Hash.h - counter-based random numbers --------------------*- C++ -*-===//
#pragma once

#include <cstdint>
#include <string_view>

namespace moe::exec {

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, 2014): a bijection that mixes all bits.
constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// FNV-1a.
constexpr uint64_t hash(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : text)
    h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return h;
}

} // namespace moe::exec
