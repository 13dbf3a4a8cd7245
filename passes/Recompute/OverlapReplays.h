//===- OverlapReplays.h - run replays while rows travel ---------*- C++ -*-===//
#pragma once

#include "mlir/IR/Block.h"

namespace moe {

/// Moves computations of `block` that run again, and stand behind the first op
/// that waits for an exchange, before that op where they need nothing of the
/// exchange, so that the compute stream has work while rows travel. Their
/// results live longer then; a move that would need more bytes than the region
/// does anyway is not made. `block` holds no release yet.
void overlapReplays(mlir::Block &block);

} // namespace moe
