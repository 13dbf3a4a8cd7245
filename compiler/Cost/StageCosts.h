//===- StageCosts.h - what a stage's programs cost a schedule ---*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Evaluate.h"
#include "runtime/Plan/Plan.h"

namespace moe::cost {

/// Time and memory of one microbatch on a stage, as schedules are compared by:
/// times as if each program ran alone on its streams; bytes of the values that
/// programs leave for later ones of the same microbatch and of what lives only
/// inside one, buffers of transfers left out. A stage without a split backward
/// has no weightGradNs and weightGradBytes: all of it is in inputGradNs. Where
/// the input gradients leave more bytes than the forward did (gradients of
/// outputs, for the weight gradients), that is what the forward is said to
/// leave: schedules rest on memory that only shrinks.
schedule::StageCosts stageCosts(const plan::Stage &stage);

/// The same for a stage that runs its `backward` program, which it must have if
/// it is trained, and no half of it: all of the time is in inputGradNs.
schedule::StageCosts wholeStageCosts(const plan::Stage &stage);

/// Parameters, gradients and optimizer state of a stage, as placement counts
/// them.
int64_t persistentBytes(const plan::Stage &stage);

} // namespace moe::cost
