//===- SearchSchedule.h - the best schedule as IR ---------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Search.h"
#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// The best schedule of `structures`. Remarks at `module` on what was found;
/// emits an error and fails where nothing fits.
mlir::FailureOr<schedule::SearchResult>
searchSchedules(mlir::ModuleOp module,
                llvm::ArrayRef<schedule::Structure> structures);

/// Writes the steps of `order` for `stages`, which are those of `module` in
/// model order, and the schedule's name; backwards that a stage has no region
/// for are left out. Emits an error and fails where they cannot be executed.
mlir::LogicalResult emitSchedule(mlir::ModuleOp module,
                                 llvm::ArrayRef<pipe::StageOp> stages,
                                 const schedule::Schedule &order);

} // namespace moe
