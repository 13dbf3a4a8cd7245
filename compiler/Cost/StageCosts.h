//===- StageCosts.h - what a stage's programs cost a schedule ---*- C++ -*-===//
#pragma once

#include "compiler/Cost/Cost.h"
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

/// Trainable elements that a device has, by who else has the same.
struct TrainableElements {
  int64_t dense = 0, expert = 0;

  TrainableElements &operator+=(const TrainableElements &other) {
    dense += other.dense;
    expert += other.expert;
    return *this;
  }
};
TrainableElements trainableElements(const plan::Stage &stage);

/// What a rank does behind its last program. `machine` must outlive it.
struct EndOfStep {
  const Machine *machine = nullptr;
  int64_t expertWays = 1, dataWays = 1;
  DType storage = DType::bf16;

  /// Sums gradients over all that have the same elements. Ties are left out.
  int64_t reduceNs(const TrainableElements &elements) const;
  /// The same of what another pipeline rank has too, over the link between the
  /// two, both ways at once.
  int64_t reduceSharedNs(const Link &link, int64_t elements) const;
  int64_t updateNs(const TrainableElements &elements) const;
  int64_t ns(const TrainableElements &elements) const {
    return reduceNs(elements) + updateNs(elements);
  }
};
/// Bytes of an element in such a sum.
int64_t sumBytes(DType storage);

} // namespace moe::cost
