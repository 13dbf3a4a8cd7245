//===- StageRules.h - the rules that stages keep ----------------*- C++ -*-===//
//
// The rules that would have caught the leaks of dispatch handles that training
// systems have shipped. Each has a name, which its diagnostics end with; test/
// lit/Passes/verify-rules.mlir breaks every one.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/IR/StepLists.h"

namespace moe {

/// A rule as diagnostics name it: " [R1 linear-handle]".
namespace rule {
/// A handle has one owner: on every path it is released or passed on once.
inline constexpr llvm::StringLiteral kLinearHandle = " [R1 linear-handle]";
/// A replayed dispatch makes a handle of its own, which its region uses for the
/// replayed rows, and ends.
inline constexpr llvm::StringLiteral kReplayHandle = " [R2 replay-handle]";
/// Bytes are given back behind every use of them, on any stream.
inline constexpr llvm::StringLiteral kLastUse = " [R3 last-use]";
/// What is kept is read by a backward: nothing is kept for a mode.
inline constexpr llvm::StringLiteral kNeeded = " [R4 needed-only]";
/// Every op says what it does to memory, links and gradients.
inline constexpr llvm::StringLiteral kEffects = " [R5 declared-effects]";
/// Decisions are not taken again: routing, counts, random numbers.
inline constexpr llvm::StringLiteral kReplayable = " [R6 replayable]";
/// Live handles: at most one for each dispatch of a microbatch in flight, none
/// at the end of a step.
inline constexpr llvm::StringLiteral kCapacity = " [R7 handle-capacity]";
/// What adds to state is run once for a microbatch.
inline constexpr llvm::StringLiteral kOnce = " [R8 applied-once]";
} // namespace rule

/// Checks R1 to R6 and R8 on one stage whose releases were placed: the life of
/// every value on every path, what replays may do, and what is kept. Emits an
/// error with notes at the op that makes the value, those that use it, and the
/// end of the region.
mlir::LogicalResult verifyStageRules(pipe::StageOp stage);

/// Checks R7 on the steps of all ranks.
mlir::LogicalResult verifyHandleCapacity(StepLists &lists);

} // namespace moe
