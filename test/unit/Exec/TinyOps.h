//===- TinyOps.h - the ops of the small model -------------------*- C++ -*-===//
#pragma once

#include "TinyPlan.h"

namespace moe::test {

/// A copy of the model: its stages, which may be one, and the values that steps
/// name.
struct TinyCopy {
  int64_t body = -1, head = -1;
  int64_t tokens = -1, labels = -1, loss = -1;
  int64_t hidden = -1, dHidden = -1;     ///< on the body
  int64_t received = -1, dReceived = -1; ///< on the head
};

/// Writes stages, parameters (their names end in `suffix`), values and ops.
TinyCopy writeCopy(PlanBuilder &builder, const TinyModel &model,
                   int64_t bodyRank, int64_t headRank,
                   const std::string &suffix);

} // namespace moe::test
