//===- PartitionStages.h - blocks to stages ---------------------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"
#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// What `--pipe-partition-stages` does to `module`, whose layout is that of
/// `problem`. Emits an error and fails where blocks are missing, not
/// differentiated, or fewer than stages.
mlir::LogicalResult partitionStages(mlir::ModuleOp module,
                                    const schedule::ScheduleProblem &problem);

/// The problem that the layout of `module` makes with stages placed like this;
/// `placement` is a name. Emits an error and fails where there is none.
mlir::FailureOr<schedule::ScheduleProblem>
makeProblem(mlir::ModuleOp module, int64_t stagesPerRank,
            llvm::StringRef placement);

/// How many decoder blocks `module` has: the most stages that one copy of the
/// model can be cut into.
int64_t countDecoderBlocks(mlir::ModuleOp module);

} // namespace moe
