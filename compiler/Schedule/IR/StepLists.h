//===- StepLists.h - step lists as IR and as plain data ---------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"
#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// Appends a pipe.rank for every rank of `steps` to `module`, whose stages are
/// named `stages` in model order.
void writeSteps(mlir::ModuleOp module, llvm::ArrayRef<mlir::StringAttr> stages,
                const schedule::StepSchedule &steps);

/// What the last stage loads besides tokens: its roles "labels", "labels_2",
/// ... in order; "labels" for a stage that names none.
std::vector<std::string> labelRoles(pipe::StageOp last);

/// The step lists of a module as plain data, beside the ops they came from.
struct StepLists {
  schedule::StepSchedule steps;
  /// Per rank and step, the op.
  llvm::SmallVector<llvm::SmallVector<mlir::Operation *>> ops;
  /// In model order.
  llvm::SmallVector<pipe::StageOp> stages;
};

/// Reads stages and ranks of `module`. Emits an error and fails where a step
/// names an unknown stage or a stage of another rank, ranks are missing or
/// named twice, or a microbatch is not one of the layout's.
mlir::FailureOr<StepLists> readSteps(mlir::ModuleOp module);

} // namespace moe
