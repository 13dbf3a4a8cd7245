//===- InsertRecompute.h - run ops again instead of keeping -----*- C++ -*-===//
#pragma once

#include "passes/Recompute/ReplayClosure.h"

#include "mlir/IR/BuiltinOps.h"

#include <string>

namespace moe {

struct RecomputeRequest {
  std::string targets; ///< a comma list (docs/recompute.md); empty: nothing
  ReplayOptions options = {};
};

/// What `--pipe-insert-recompute` does: the values that the targets cover are
/// no longer kept; the backward regions of their stages, which hold no release
/// yet, run the ops again that make them. Records the decisions at the stages
/// and remarks on what else has to be kept. Emits an error and fails for text
/// that is no list, for choices that cover nothing, and for single values that
/// cannot be recomputed.
mlir::LogicalResult insertRecompute(mlir::ModuleOp module,
                                    const RecomputeRequest &request);

} // namespace moe
