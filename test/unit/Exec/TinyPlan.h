//===- TinyPlan.h - small models as plans -----------------------*- C++ -*-===//
#pragma once

#include "PlanBuilder.h"

#include "runtime/Exec/Run.h"

namespace moe::test {

/// embedding, norm, [experts with residual,] head, cross entropy; with all
/// gradients. With two pipeline ranks the head is on the second.
struct TinyModel {
  int64_t pipeline = 1, expert = 1, data = 1;
  int64_t microbatches = 2;
  int64_t microbatchSize = 2, sequenceLength = 5;
  bool experts = false;
  int64_t capacity = 0; ///< rows; 0: what can never overflow
  DType dtype = DType::f32;
  int64_t vocabulary = 256;
};

plan::Plan makePlan(const TinyModel &model);

/// A text of `bytes` bytes, the same in every run.
exec::Dataset makeData(const TinyModel &model, int64_t bytes = 2000);

/// Binds and runs the plan.
Result<exec::RunReport> runPlan(const plan::Plan &plan,
                                const exec::Dataset &data,
                                exec::RunOptions options = {});

} // namespace moe::test
