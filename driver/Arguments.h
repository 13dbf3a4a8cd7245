//===- Arguments.h - what users write on command lines ----------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe::driver {

/// "76GiB", "80gb", "512MiB", "1000B": a number with a binary (KiB, MiB, GiB,
/// TiB) or decimal (KB, MB, GB, TB) unit in any case, as bytes. Fractions are
/// rounded down. At least one byte, at most 2^53; without a unit, at least 1
/// MiB.
Result<int64_t> parseBytes(std::string_view text);

/// "20.53 GiB", or MiB or KiB below one, rounded up, so that what is read again
/// is enough.
std::string sizeText(int64_t bytes);

/// "pp=4,ep=8,dp=2": sizes of the parallel groups (pp, ep, dp, tp, cp), 1 where
/// not given; at least one is. The batch fields of the layout are left alone.
Result<plan::Layout> parseLayout(std::string_view text);

/// The most that is taken of microbatches, and of sequences of each.
inline constexpr int64_t kMostMicrobatches = 16384,
                         kMostMicrobatchSize = 1'000'000;

/// "2": sequences of a microbatch, and as many microbatches as the sequences of
/// `layout` fill, which have to be a whole number.
Result<plan::Layout> withMicrobatchSize(plan::Layout layout,
                                        std::string_view text);

/// "4,4,3,4": layers of each stage, each at least 1.
Result<std::vector<int64_t>> parseLayers(std::string_view text);

/// Decoder layers that have to lie on a stage.
struct Pin {
  int64_t first = 0, last = 0; ///< layers, both included
  int64_t stage = 0;
  bool operator==(const Pin &) const = default;
};
/// "layers.0-2=stage0,layers.7=stage2": no layer twice.
Result<std::vector<Pin>> parsePins(std::string_view text);
/// Whether so many layers can lie on so many stages, in their order and at
/// least one on each, with those of `pins` where they have to. Errors name the
/// pin.
Status checkPins(std::vector<Pin> pins, int64_t layers, int64_t stages);

/// A capacity factor: "max" (as 0) or a number of at least 1.
Result<double> parseCapacityFactor(std::string_view text);

} // namespace moe::driver
