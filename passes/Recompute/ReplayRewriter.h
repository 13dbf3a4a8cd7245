//===- ReplayRewriter.h - put replays into backward regions -----*- C++ -*-===//
#pragma once

#include "passes/Recompute/ReplayClosure.h"

namespace moe {

/// Changes `stage` so that forward keeps what `replays` leaves, and each
/// backward region runs again what `replays` says, every op right before the
/// first that uses one of its results. The name of a replayed op is that of
/// the original and ".replay". `onCopy` is told of each that is a copy of its
/// original.
void insertReplays(
    pipe::StageOp stage, const Replays &replays,
    llvm::function_ref<void(mlir::Operation *original, mlir::Operation *copy)>
        onCopy = nullptr);

} // namespace moe
