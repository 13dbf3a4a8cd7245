//===- RandomPlan.h - valid plans for property tests ------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// A small plan that follows all rules, different for every seed: one to three
/// pipeline ranks with one to three stages each, in a loop, a V or as two
/// copies of the model in opposite directions, one to four microbatches;
/// forward only, or with gradients in one piece, in halves, or in both ways in
/// one stage; overlaps; ops on two streams, with waits. Its claims come from
/// NaiveAccount.h, its waits from NaiveStreams.h.
Plan makeRandomPlan(unsigned seed);

} // namespace moe::plan
