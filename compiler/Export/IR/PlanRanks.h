//===- PlanRanks.h - steps, overlaps and places of every rank ---*- C++ -*-===//
#pragma once

#include "compiler/Schedule/IR/StepLists.h"
#include "runtime/Plan/Plan.h"

namespace moe {

/// Fills the ranks of `plan`, which has its stages, machine and layout: steps
/// with values and slots, overlaps, arenas with all offsets and the waits that
/// follow from them, and live bytes. Bytes are reused without waits between
/// streams where the budget allows it, with fewest bytes on a rank where it
/// does not. Emits an error and fails on interleavings without order and on
/// ranks that no arena can hold.
mlir::LogicalResult fillRanks(mlir::ModuleOp module, const StepLists &lists,
                              plan::Plan &plan);

} // namespace moe
