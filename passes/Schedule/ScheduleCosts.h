//===- ScheduleCosts.h - what stages cost a schedule ------------*- C++ -*-===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "compiler/Schedule/Evaluate.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "passes/Recompute/InsertRecompute.h"

#include <string>

namespace moe {

/// The machine called `name`, its figures replaced by those of the profile in
/// the file `profile` where one is named. Emits an error at `module` and fails
/// where one of them cannot be read.
mlir::FailureOr<cost::Machine> loadMachine(mlir::ModuleOp module,
                                           const std::string &name,
                                           const std::string &profile);

/// Times and bytes of the stages of `module`, which are those of `problem` and
/// have been partitioned but nothing more: programs are made of a copy with
/// releases and with both kinds of backward, which run again what `recompute`
/// asks for. Overlaps are measured where
/// `problem` has several stages a rank, for every forward with every backward
/// of the rank. With a `budgetBytes` above 0, reserve included, limits are what
/// parameters and buffers that no schedule changes leave of it, 0 where that is
/// nothing. Emits an error and fails on stages that make no programs.
mlir::FailureOr<schedule::Costs>
measureCosts(mlir::ModuleOp module, const schedule::ScheduleProblem &problem,
             const cost::Machine &machine, double imbalance,
             int64_t budgetBytes, const RecomputeRequest &recompute);

} // namespace moe
