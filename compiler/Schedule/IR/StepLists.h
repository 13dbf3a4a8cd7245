//===- StepLists.h - step lists as IR and as plain data ---------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"
#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// Appends a pipe.rank for every rank of `steps` to `module`, whose stages are
/// named `stages` in model order, and before them a pipe.interleaving @i0, @i1,
/// ... without order for every pair of regions that some step overlaps, in
/// order of first use.
void writeSteps(mlir::ModuleOp module, llvm::ArrayRef<mlir::StringAttr> stages,
                const schedule::StepSchedule &steps);

/// What the last stage loads besides tokens: its roles "labels", "labels_2",
/// ... in order; "labels" for a stage that names none.
std::vector<std::string> labelRoles(pipe::StageOp last);

/// The problem that `stages`, in model order, and `layout` make. The placement
/// is what the ranks of the stages say; two copies of the model are told from
/// two passes through the ranks by the second half's own "tokens". Which stages
/// run backward is what their regions say. Emits an error and fails where the
/// ranks fit no placement, or the regions no model.
mlir::FailureOr<schedule::ScheduleProblem>
readProblem(mlir::ModuleOp module, pipe::LayoutAttr layout,
            llvm::ArrayRef<pipe::StageOp> stages);

/// The step lists of a module as plain data, beside the ops they came from.
struct StepLists {
  schedule::StepSchedule steps;
  /// Per rank and step, the op.
  llvm::SmallVector<llvm::SmallVector<mlir::Operation *>> ops;
  /// In model order.
  llvm::SmallVector<pipe::StageOp> stages;
  /// In the order of the module. A pipe.overlap names one of them.
  llvm::SmallVector<pipe::InterleavingOp> interleavings;
};

/// Reads stages and ranks of `module`. Emits an error and fails where a step
/// names an unknown stage or interleaving, a stage of another rank or an empty
/// region, ranks are missing or named twice, or a microbatch is not one of the
/// layout's.
mlir::FailureOr<StepLists> readSteps(mlir::ModuleOp module);

} // namespace moe
