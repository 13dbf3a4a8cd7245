//===- PartitionStages.h - blocks to stages ---------------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"
#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// What `--pipe-partition-stages` does to `module`, whose layout is that of
/// `problem`; `layers` are those of each stage of one copy of the model, empty:
/// even shares. Emits an error and fails where blocks are missing, not
/// differentiated, or fewer than stages, or `layers` do not fit them.
mlir::LogicalResult partitionStages(mlir::ModuleOp module,
                                    const schedule::ScheduleProblem &problem,
                                    llvm::ArrayRef<int64_t> layers = {});

/// Merges differentiated blocks into the stage `s<index>` on `rank`, in front
/// of `builder`'s place; what remains of the blocks is to be erased.
pipe::StageOp mergeBlocks(mlir::OpBuilder &builder, int64_t index, int64_t rank,
                          llvm::MutableArrayRef<BlockOp> blocks);

/// The problem that the layout of `module` makes with stages placed like this;
/// `placement` is a name. Emits an error and fails where there is none.
mlir::FailureOr<schedule::ScheduleProblem>
makeProblem(mlir::ModuleOp module, int64_t stagesPerRank,
            llvm::StringRef placement);

/// How many decoder blocks `module` has: the most stages that one copy of the
/// model can be cut into.
int64_t countDecoderBlocks(mlir::ModuleOp module);

} // namespace moe
