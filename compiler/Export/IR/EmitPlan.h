//===- EmitPlan.h - from verified IR to the plan document -------*- C++ -*-===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "compiler/Export/IR/PlanRanks.h"
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
  bool overwrite = true; ///< whether gradients may overwrite their operands
  /// Recorded besides those that every plan has.
  std::vector<plan::Assumption> assumptions = {};
  size_t jobs = 1; ///< ranks that are placed at the same time
};

/// A plan whose stages, steps and places are final: it says what its ranks
/// need. What lives when, and how long it takes, is not known yet.
struct PlanDraft {
  plan::Plan plan;
  StepLists lists;               ///< into the module
  std::vector<RankArena> arenas; ///< of each rank
  size_t jobs = 1;               ///< EmissionInputs::jobs
};

/// Turns a module with explicit lifetimes into a draft, which may be finished
/// once the module has passed `--pipe-verify-plan`: stages become programs,
/// ranks step lists, and all buffers get their places. `known`: of the draft
/// before (placeRanks()). Emits an error and fails on IR that is not ready for
/// it.
mlir::FailureOr<PlanDraft> draftPlan(mlir::ModuleOp module,
                                     const EmissionInputs &inputs,
                                     PlacedRanks *known = nullptr);

/// The plan of a draft of the same module: with the bytes live before every
/// step, decisions and estimated times, and proven as a whole
/// (runtime/Plan/Proof.h). Emits an error and fails for steps beyond all times
/// that people wait for, and for a plan that is not safe: with a counterexample
/// as notes at its ops.
mlir::FailureOr<plan::Plan> finishPlan(mlir::ModuleOp module,
                                       const cost::Machine &machine,
                                       PlanDraft draft);

} // namespace moe
