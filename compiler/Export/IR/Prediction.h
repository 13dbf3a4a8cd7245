//===- Prediction.h - how long a plan takes, and what that rests on -------===//
#pragma once

#include "compiler/Export/IR/EmitPlan.h"
#include "compiler/Schedule/IR/StepLists.h"

namespace moe {

/// Fills what the plan says about the rates of the machine, the times of
/// gradient reduction and update, and its prediction, which is what the
/// simulation of the plan gives. The plan must have its stages and ranks. Emits
/// an error and fails for steps beyond all times that people wait for.
mlir::LogicalResult predict(mlir::ModuleOp module, const StepLists &lists,
                            const cost::Machine &machine, plan::Plan &plan);

/// Numbers and choices behind every plan, then those of `inputs`, then those of
/// its machine.
std::vector<plan::Assumption> listAssumptions(const EmissionInputs &inputs);

} // namespace moe
