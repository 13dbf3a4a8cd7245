//===- InsertOffload.h - keep values on the host ----------------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/PolicyText.h"
#include "passes/Policies/Lead.h"
#include "passes/Policies/Targets.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringSet.h"

#include <string>

namespace moe {

struct OffloadRequest {
  std::string targets; ///< a comma list (docs/recompute.md); empty: nothing
  OffloadLead lead = {};
};

/// What `--pipe-insert-offload` does: the values that `choices` cover are
/// copied to the host behind their last use in the forward regions, which hold
/// no release yet, kept there, and copied back in the regions that use them.
/// `turning` names the stages of which every microbatch runs backward right
/// behind its forward: what these would need before it is back stays. Records
/// the decisions at the stages, and remarks on values that stay. Emits an error
/// and fails for choices that cover nothing, and for single values that cannot
/// leave.
mlir::LogicalResult insertOffload(mlir::ModuleOp module,
                                  mlir::ArrayRef<policy::Choice> choices,
                                  const OffloadLead &lead,
                                  const llvm::StringSet<> &turning = {});

/// The same for values of one stage, in the order in which it keeps them, each
/// with the index of the choice that it belongs to; without remarks.
mlir::LogicalResult offloadValues(pipe::StageOp stage,
                                  mlir::ArrayRef<CoveredValue> values,
                                  mlir::ArrayRef<policy::Choice> choices,
                                  const OffloadLead &lead,
                                  bool isTurning = false);

/// The same for choices as users write them; also fails for text that is no
/// list.
mlir::LogicalResult insertOffload(mlir::ModuleOp module,
                                  const OffloadRequest &request,
                                  const llvm::StringSet<> &turning);

} // namespace moe
