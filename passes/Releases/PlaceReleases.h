//===- PlaceReleases.h - end storage after the last use ---------*- C++ -*-===//
#pragma once

#include "dialects/Pipe/IR/Pipe.h"

#include "llvm/ADT/DenseMap.h"

namespace moe {

/// What `--pipe-place-releases` does to a stage that holds no release yet.
void placeReleases(pipe::StageOp stage, bool overwrite = true);

/// Lets ops of a stage overwrite operands of which nothing is read later.
void placeOverwrites(pipe::StageOp stage);

/// What ends behind ops, in order. Null: at the front of a block; its
/// terminator: before that.
using Releases =
    llvm::DenseMap<mlir::Operation *, llvm::SmallVector<mlir::Value, 4>>;

/// Adds what ends in `block`: arguments and results that its terminator does
/// not yield and no op overwrites.
void findReleases(mlir::Block &block, Releases &releases);

} // namespace moe
