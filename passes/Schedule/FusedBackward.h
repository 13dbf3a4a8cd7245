//===- FusedBackward.h - gradients of inputs and weights in one -*- C++ -*-===//
#pragma once

#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// Fills the empty `backward` region of `stage` with the ops of its
/// `backward_input` and `weight_grad` regions, which stay as they are. A weight
/// gradient stands behind the last of its operands, or behind the next exchange
/// where that raises the region's peak of live bytes nowhere. Ops that add to
/// the same parameter keep their order.
void addFusedBackward(pipe::StageOp stage);

/// Erases the `backward_input` and `weight_grad` regions.
void dropSplitBackward(pipe::StageOp stage);

} // namespace moe
