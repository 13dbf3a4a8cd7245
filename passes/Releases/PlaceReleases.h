//===- PlaceReleases.h - end storage after the last use ---------*- C++ -*-===//
#pragma once

#include "dialects/Pipe/IR/Pipe.h"

#include "llvm/ADT/MapVector.h"

namespace moe {

/// What `--pipe-place-releases` does to a stage that holds no release yet.
void placeReleases(pipe::StageOp stage, bool overwrite = true);

/// Lets ops of a stage overwrite operands of which nothing is read later.
void placeOverwrites(pipe::StageOp stage);

/// What ends behind each op of `block`, in order: arguments and results that
/// its terminator does not yield and no op overwrites. Null: at its front; the
/// terminator: before it.
llvm::MapVector<mlir::Operation *, llvm::SmallVector<mlir::Value>>
findReleases(mlir::Block &block);

} // namespace moe
