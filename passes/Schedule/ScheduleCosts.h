//===- ScheduleCosts.h - what stages cost a schedule ------------*- C++ -*-===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "compiler/Schedule/Search.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "passes/Offload/InsertOffload.h"
#include "passes/Recompute/InsertRecompute.h"

#include <string>

namespace moe {

/// The machine called `name`, its figures replaced by those of the profile in
/// the file `profile` where one is named. Emits an error at `module` and fails
/// where one of them cannot be read.
mlir::FailureOr<cost::Machine> loadMachine(mlir::ModuleOp module,
                                           const std::string &name,
                                           const std::string &profile);

/// What stages cost schedules that split some of their backwards, and those
/// that split none.
struct MeasuredCosts {
  schedule::Costs split, whole;

  /// What a search may choose from: both, where they differ.
  llvm::SmallVector<schedule::Structure, 2>
  structures(const schedule::ScheduleProblem &problem) const;
  /// Times that no schedule is quicker than: a weight gradient takes what the
  /// whole backward takes longer than the input gradient.
  schedule::Costs shortest() const;
};

/// Times and bytes of the stages of `module`, which are those of `problem` and
/// have been partitioned but nothing more: programs are made of a copy with
/// releases and with both kinds of backward, which run again what `recompute`
/// asks for, and with the copies to and from the host that `offload` asks for,
/// as if the last stage of a copy of the model turned every microbatch at once
/// (where it does not in the end, its values leave the device as well).
/// Overlaps are measured where
/// `problem` has several stages a rank, for every forward with every backward
/// of the rank. `budgetBytes`, reserve included, is one for every rank or one
/// for each, or empty: no limits. Limits are what parameters and buffers that
/// no schedule changes leave of it, 0 where that is nothing. Emits an error and
/// fails on stages that make no programs.
mlir::FailureOr<MeasuredCosts>
measureCosts(mlir::ModuleOp module, const schedule::ScheduleProblem &problem,
             const cost::Machine &machine, double imbalance,
             llvm::ArrayRef<int64_t> budgetBytes,
             const RecomputeRequest &recompute, const OffloadRequest &offload);

} // namespace moe
