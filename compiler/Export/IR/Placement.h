//===- Placement.h - offsets of every buffer of a rank ----------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <span>

namespace moe {

/// Gives every buffer of a rank its place in one arena and returns the arena's
/// size, at most 2^53 bytes; more is an error. From the bottom: parameters,
/// gradients and optimizer state; the slots of each stage (`slotCounts` one for
/// each of `stages`); values that outlive the program that makes them; and a
/// region that all programs share, since a rank runs one at a time, packed by
/// their lifetimes.
Result<int64_t> placeRank(std::span<plan::Stage *const> stages,
                          std::span<const int64_t> slotCounts);

} // namespace moe
