//===- ReplayClosure.h - what has to run again ------------------*- C++ -*-===//
#pragma once

#include "dialects/Pipe/IR/Pipe.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace moe {

/// How dispatches are replayed.
struct ReplayOptions {
  /// Of a dispatch, nothing but the rows is dropped, so that they are sent
  /// again along its handle. Otherwise that is so where nothing else was to be
  /// dropped.
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
  /// Dispatches of which nothing but the rows is dropped. These are sent again
  /// along the handle that forward made: no new one, and fewer bytes on the
  /// wire.
  llvm::SmallPtrSet<mlir::Operation *, 4> alongHandle;
};

/// Whether the op may run again, as its interface says.
bool isReplayable(mlir::Operation *op);

/// Whether the result is one of a dispatch that a replay along its handle does
/// not give anew: anything but the rows.
bool isKeptWithHandle(mlir::OpResult result);

/// What the replay of `op` reads.
mlir::SmallVector<mlir::Value> getReplayOperands(mlir::Operation *op,
                                                 const Replays &replays);

/// Finds what `stage` has to run again when forward does not keep `dropped`,
/// some of what it keeps. Each region gets what its own ops need. What only
/// weight gradients need runs again in `weight_grad` where that holds fewer
/// bytes between the halves than its results would take, else in
/// `backward_input`.
Replays findReplays(pipe::StageOp stage, mlir::ArrayRef<mlir::Value> dropped,
                    const ReplayOptions &options);

} // namespace moe
