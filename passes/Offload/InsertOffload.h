//===- InsertOffload.h - keep values on the host ----------------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/PolicyText.h"
#include "mlir/IR/BuiltinOps.h"

namespace moe {

/// How early a value comes back.
struct OffloadLead {
  int64_t layers = 1; ///< before the layer that uses it first
  int64_t ops = 0;    ///< above 0: as many ops before its first use instead
};

/// What `--pipe-insert-offload` does: the values that `choices` cover are
/// copied to the host behind their last use in the forward regions, which hold
/// no release yet, kept there, and copied back in the regions that use them.
/// Records the decisions at the stages, and remarks on values that stay. Emits
/// an error and fails for choices that cover nothing, and for single values
/// that cannot leave.
mlir::LogicalResult insertOffload(mlir::ModuleOp module,
                                  mlir::ArrayRef<policy::Choice> choices,
                                  const OffloadLead &lead);

} // namespace moe
