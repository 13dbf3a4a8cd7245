//===- RandomLag.h - copies of random layers --------------------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include "test/unit/Optimize/Dice.h"

namespace moe::optimize {

/// Copies back of up to `most`, every other time none that come early.
inline CopiesBack randomCopies(Random &random, int64_t most) {
  CopiesBack copies;
  copies.earlyNs = random(0, 1) * random(0, most);
  copies.linkFreeNs = random(-most / 2, 2 * most);
  copies.mayWaitNs = random(0, most);
  return copies;
}

/// Gives the option a tail of up to `most`, every other one none, a queue that
/// grows or shrinks by as much, a peak of its forward, and copies back.
inline void addLag(LayerOption &option, Random &random, int64_t most) {
  option.tailNs = random(0, 1) * random(0, most);
  option.queueNs = option.tailNs - random(0, 2 * most);
  option.forwardPeakBytes = random(0, option.peakBytes);
  option.backward = randomCopies(random, most);
}

/// The same where weight gradients are a program of their own, which has a
/// share of the extra time, and copies back.
inline void addLags(LayerOption &option, Random &random, int64_t most) {
  addLag(option, random, most);
  option.weightGrad = randomCopies(random, most);
  option.weightGradNs = random(0, option.extraNs);
}

} // namespace moe::optimize
