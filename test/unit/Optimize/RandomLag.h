//===- RandomLag.h - copies of random layers --------------------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include "test/unit/Optimize/Dice.h"

namespace moe::optimize {

/// Gives the option a tail of up to `most`, every other one none, a queue that
/// grows or shrinks by as much, a peak of its forward, and copies back.
inline void addLag(LayerOption &option, Random &random, int64_t most) {
  option.tailNs = random(0, 1) * random(0, most);
  option.queueNs = option.tailNs - random(0, 2 * most);
  option.forwardPeakBytes = random(0, option.peakBytes);
  option.earlyCopyNs = random(0, 1) * random(0, most);
  option.linkFreeNs = random(-most / 2, 2 * most);
  option.mayWaitNs = random(0, most);
}

} // namespace moe::optimize
