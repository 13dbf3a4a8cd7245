//===- RandomPlan.h - valid plans for property tests ------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// A small plan that follows all rules, different for every seed: one to three
/// pipeline ranks with one or two stages each, one to four microbatches, with
/// or without weight-gradient programs. Its claims about live bytes come from
/// an account that is kept here, value by value, independent of replay().
Plan makeRandomPlan(unsigned seed);

} // namespace moe::plan
