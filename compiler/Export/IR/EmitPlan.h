//===- EmitPlan.h - from verified IR to the plan document -------*- C++ -*-===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "mlir/IR/BuiltinOps.h"
#include "runtime/Plan/Plan.h"

#include <string>
#include <vector>

namespace moe {

/// What a plan records besides the IR it comes from.
struct EmissionInputs {
  const cost::Machine &machine;
  int64_t budgetBytes = 0; ///< device memory that may be used, reserve included
  double capacityFactor = 0; ///< 0: the most that routing can produce
  /// Rows behind a dispatch as a multiple of the balanced rows, for time.
  double imbalance = 1;
  std::string generator;
  std::string schedule;
  plan::Model model;
  std::string recompute = {}; ///< what is made again; empty: nothing
  std::string offload = {};   ///< what waits on the host; empty: nothing
  /// Recorded besides those that every plan has.
  std::vector<plan::Assumption> assumptions = {};
};

/// Turns a module that passed `--pipe-verify-plan` into a plan: stages become
/// programs with placed buffers, ranks become step lists with the bytes live
/// before every step, and times are estimated. Emits an error and fails on IR
/// that is not ready for it.
mlir::FailureOr<plan::Plan> emitPlan(mlir::ModuleOp module,
                                     const EmissionInputs &inputs);

} // namespace moe
