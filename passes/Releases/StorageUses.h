//===- StorageUses.h - until when an op needs what it reads -----*- C++ -*-===//
#pragma once

#include "mlir/IR/Operation.h"

namespace moe {

/// The op of `user`'s block behind which everything that `user` reads and
/// writes is no longer touched by it. For an op on the compute stream that is
/// `user` itself, and so it is for a copy, which can give back by itself what
/// it has read. An op on the expert-communication stream runs beside the
/// compute stream; it is known to be done once an op on the compute stream has
/// waited for it, which the first later user of one of its results does. When
/// nothing waits, the end of the region joins the streams: the terminator.
mlir::Operation *getEndOfUse(mlir::Operation *user);

/// Whether the first of two ops of a block comes before the second.
using IsBefore = llvm::function_ref<bool(mlir::Operation *, mlir::Operation *)>;

/// The op that overwrites `value` (AliasOpInterface), or null: its storage is
/// then that op's first result's.
mlir::Operation *getOverwriter(mlir::Value value);

/// Whether `value` is, at some time, what a stage receives from another rank or
/// sends to one: its bytes are a buffer of that transfer.
bool isTransferred(mlir::Value value);

/// The last of the ends of all uses of `value` in its own block, releases left
/// out; its defining op's when it has no uses; null for an unused argument.
mlir::Operation *getEndOfUses(mlir::Value value);
/// The same, by the order that `isBefore` knows.
mlir::Operation *getEndOfUses(mlir::Value value, IsBefore isBefore);

} // namespace moe
