//===- PlanBuilder.h - small plans with known times -------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe {

// Values of every stage.
inline constexpr int64_t kInput = 0;
inline constexpr int64_t kOutput = 1;
inline constexpr int64_t kInputGrad = 2;
inline constexpr int64_t kOutputGrad = 3;
inline constexpr int64_t kOther = 4; ///< what is loaded or collected

/// An op of `ns` on a stream.
plan::Op makeOp(int64_t ns, plan::Stream stream = plan::Stream::compute,
                std::vector<int64_t> waits = {});

/// Plans with just enough in them to be simulated: no shapes, no offsets, and
/// live bytes only where a test sets them.
class PlanBuilder {
public:
  explicit PlanBuilder(size_t ranks);

  /// A stage without programs; its messages have `bytes`.
  int64_t addStage(int64_t rank, int64_t bytes = 1000);
  plan::Program &addProgram(int64_t stage, plan::Phase phase,
                            std::vector<plan::Op> ops);

  // Steps of the rank that holds the stage.
  plan::Step &load(int64_t stage, int64_t microbatch);
  plan::Step &run(int64_t stage, int64_t microbatch, plan::Phase phase);
  plan::Step &send(int64_t stage, int64_t microbatch, plan::Phase phase,
                   int64_t peer);
  plan::Step &receive(int64_t stage, int64_t microbatch, plan::Phase phase,
                      int64_t peer);
  plan::Step &waitSend(int64_t stage, int64_t microbatch, plan::Phase phase,
                       int64_t peer);
  plan::Step &overlap(int64_t rank, int64_t overlap, int64_t microbatch,
                      int64_t secondMicrobatch);
  /// reduce_gradients and update.
  void finish(int64_t rank);

  plan::Plan plan;

private:
  plan::Step &add(plan::StepKind kind, int64_t stage, int64_t microbatch,
                  plan::Phase phase, int64_t value, int64_t peer);
};

/// Any legal order on one to four ranks with up to three stages each, split or
/// fused backwards, overlaps, ops on both streams with random waits and times
/// (some 0), random live bytes, random link rates: different for every seed.
plan::Plan makeAnyPlan(unsigned seed);

} // namespace moe
