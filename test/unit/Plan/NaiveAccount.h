//===- NaiveAccount.h - live bytes, value by value --------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// Fills in what a plan claims of live bytes and busy time: `live` of ops,
/// overlaps and steps, `peak` and where it is, `busyNs` as if nothing ran at
/// the same time. Keeps a set of the values that live and counts it anew at
/// every moment, independent of replay(). Persistent bytes must be there.
void claimNaively(Plan &plan);

} // namespace moe::plan
