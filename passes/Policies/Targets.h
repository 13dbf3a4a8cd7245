//===- Targets.h - saved values by the names users give them ----*- C++ -*-===//
#pragma once

#include "compiler/Optimize/PolicyText.h"
#include "dialects/Pipe/IR/Pipe.h"

#include <optional>
#include <string>

namespace moe {

/// A value that a stage keeps from forward to backward, and why it was chosen.
struct CoveredValue {
  pipe::StageOp stage;
  mlir::Value value; ///< of the stage's forward region
  std::string name;  ///< in the plan
  size_t choice;     ///< that covers it: index
  /// Whether the choice names this very value, not a target.
  bool isNamed;
  /// Choice::lead of the narrowest that covers it and has one.
  std::optional<int64_t> lead = {};
};

/// The name of a value of a stage's forward region in the plan: that of its op
/// and result, or "input", "tokens", ... for what enters.
std::string getPlanName(pipe::StageOp stage, mlir::Value value);

/// The values kept by the stages of `module` that `choices` cover, each once,
/// stage by stage and in the order in which a stage keeps them. Of choices that
/// overlap the one that covers most has the value; for one that has nothing of
/// its own left, nor a lead, there is a remark. Diagnostics begin with
/// `technique`
/// ("recompute", "offload").
/// Emits an error at `module` and fails for a choice that covers nothing: an
/// unknown name, a target that no layer in its scope has, or a scope outside
/// the model.
mlir::FailureOr<llvm::SmallVector<CoveredValue>>
resolveChoices(mlir::ModuleOp module, llvm::ArrayRef<policy::Choice> choices,
               llvm::StringRef technique);

} // namespace moe
