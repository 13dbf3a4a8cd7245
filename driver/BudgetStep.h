//===- BudgetStep.h - budgets that plans are made for -----------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace moe::driver {

/// Budgets with ten significant bits, by rising size; the first is 512 bytes.
struct BudgetStep {
  int64_t index = 0;

  /// Of those with eight and with four, as parts of these: every so many.
  static constexpr int64_t kOfEightBits = 4, kOfFourBits = 64;

  int64_t bytes() const { return (512 + index % 512) << (index / 512); }
  /// The largest within `bytes`, at least the first.
  static BudgetStep within(int64_t bytes) {
    const auto width =
        static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(bytes)));
    const int64_t shift = std::max<int64_t>(0, width - 10);
    return {std::max<int64_t>(0, 512 * shift + (bytes >> shift) - 512)};
  }
  /// The largest within this one of those that are `every` so many; that
  /// divides 512.
  BudgetStep roundedDown(int64_t every) const {
    return {index - index % every};
  }
};

} // namespace moe::driver
