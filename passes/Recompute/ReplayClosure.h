//===- ReplayClosure.h - what has to run again ------------------*- C++ -*-===//
#pragma once

#include "dialects/Pipe/IR/Pipe.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace moe {

/// How dispatches are replayed.
struct ReplayOptions {
  /// Rows are sent again along the handle that forward made, which stays kept
  /// with what else the dispatch made but the rows: no new handle, fewer bytes
  /// on the wire.
  bool keepHandles = false;
};

/// What a stage runs again instead of keeping. Ops and values are those of its
/// forward region.
struct Replays {
  using Ops = llvm::SmallSetVector<mlir::Operation *, 16>;
  using Values = llvm::SmallSetVector<mlir::Value, 16>;

  /// What forward keeps no longer, in the order in which it did, each with the
  /// ops that run again for its sake and not for an earlier one's.
  llvm::MapVector<mlir::Value, llvm::SmallVector<mlir::Operation *>> dropped;
  /// What was to be dropped but stays: its op must not run again.
  Values staying;
  /// What forward keeps besides: replays need it, and its op must not run
  /// again, or reads far more bytes than it makes.
  Values added;
  /// What each region runs again. An op runs again at most once for a
  /// microbatch, whichever way its backward takes.
  Ops backward, backwardInput, weightGrad;
};

/// Whether the op may run again, as its interface says.
bool isReplayable(mlir::Operation *op);

/// What a replay of `op` reads, and whether it gives `result` anew.
mlir::SmallVector<mlir::Value> getReplayOperands(mlir::Operation *op,
                                                 const ReplayOptions &options);
bool isMadeByReplay(mlir::OpResult result, const ReplayOptions &options);

/// Finds what `stage` has to run again when forward does not keep `dropped`,
/// some of what it keeps. Each region gets what its own ops need. What only
/// weight gradients need runs again in `weight_grad` where that holds fewer
/// bytes between the halves than its results would take, else in
/// `backward_input`.
Replays findReplays(pipe::StageOp stage, mlir::ArrayRef<mlir::Value> dropped,
                    const ReplayOptions &options);

} // namespace moe
