//===- PlanRanks.h - steps, overlaps and places of every rank ---*- C++ -*-===//
#pragma once

#include "compiler/Schedule/IR/StepLists.h"
#include "runtime/Plan/Plan.h"

namespace moe {

/// What is known of the arena of a rank besides its size.
struct RankArena {
  /// What it takes if no stream waits for bytes that another one still uses.
  int64_t bytesWithoutWaits = 0;
  /// No packing of the same lifetimes is smaller than this.
  int64_t boundBytes = 0;
};

/// Fills the ranks of `plan`, which has its stages, machine and layout: steps
/// with values and slots, overlaps, arenas with all offsets and the waits that
/// follow from them. Bytes are reused without waits between streams where the
/// budget allows it, with fewest bytes on a rank where it does not. Emits an
/// error and fails on interleavings without order and on ranks that no arena
/// can hold.
mlir::FailureOr<std::vector<RankArena>>
placeRanks(mlir::ModuleOp module, const StepLists &lists, plan::Plan &plan);

/// Fills in the live bytes of the ranks of a placed plan.
mlir::LogicalResult accountForRanks(mlir::ModuleOp module, plan::Plan &plan);

} // namespace moe
