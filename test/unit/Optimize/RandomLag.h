//===- RandomLag.h - copies of random layers --------------------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include "test/unit/Optimize/Dice.h"

namespace moe::optimize {

/// Gives the option a tail of up to `most`, every other one none, a queue that
/// grows or shrinks by as much, and a peak of its forward.
inline void addLag(LayerOption &option, Random &random, int64_t most) {
  option.tailNs = random(0, 1) * random(0, most);
  option.queueNs = option.tailNs - random(0, 2 * most);
  option.forwardPeakBytes = random(0, option.peakBytes);
}

} // namespace moe::optimize
