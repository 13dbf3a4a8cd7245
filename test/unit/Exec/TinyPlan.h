//===- TinyPlan.h - small models as plans -----------------------*- C++ -*-===//
#pragma once

#include "PlanBuilder.h"

#include "runtime/Exec/Run.h"

namespace moe::test {

/// embedding, norm, [experts with residual,] head, cross entropy; with all
/// gradients. With two pipeline ranks the head is on the second. Without what
/// stands last, all forward programs run before all backward programs.
struct TinyModel {
  int64_t pipeline = 1, expert = 1, data = 1;
  int64_t microbatches = 2;
  int64_t microbatchSize = 2, sequenceLength = 5;
  bool experts = false;
  int64_t capacity = 0; ///< rows; 0: what can never overflow
  DType dtype = DType::f32;
  int64_t vocabulary = 256;
  bool splitBackward = false; ///< weight gradients are programs of their own
  /// With one pipeline rank: the head is a second stage of it all the same.
  bool selfSend = false;
  /// With two pipeline ranks and an even number of microbatches: a second copy
  /// of the model with its head on the first rank; half of the microbatches
  /// runs through either.
  bool bidirectional = false;
  /// Some of the ops that other streams could take are not on compute.
  std::optional<uint32_t> streamSeed = {};
  /// The forward of a microbatch is overlapped with the backward of another, in
  /// a random order of issue. With one stage, or bidirectional.
  std::optional<uint32_t> overlapSeed = {};
};

plan::Plan makePlan(const TinyModel &model);

/// A text of `bytes` bytes, the same in every run.
exec::Dataset makeData(const TinyModel &model, int64_t bytes = 2000);

/// Binds and runs the plan.
Result<exec::RunReport> runPlan(const plan::Plan &plan,
                                const exec::Dataset &data,
                                exec::RunOptions options = {});

} // namespace moe::test
