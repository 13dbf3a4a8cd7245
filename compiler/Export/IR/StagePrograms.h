//===- StagePrograms.h - regions of a stage as programs ---------*- C++ -*-===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "runtime/Plan/Plan.h"

#include "llvm/ADT/DenseMap.h"

namespace moe {

/// What op times are estimated from.
struct TimingInputs {
  const cost::Machine &machine;
  double imbalance = 1;
  int64_t expertRanks = 1;
};

/// By its cost interface; 0: it has none. Nanoseconds.
int64_t estimateNs(mlir::Operation *op, const TimingInputs &timing);

/// How much of a stage is wanted.
enum class StageDetail : uint8_t {
  whole,
  /// What times and bytes follow from: neither names of values, names and kinds
  /// of ops, nor shapes and attributes.
  figures,
};

/// The stage with its parameters, values, programs, releases and relative live
/// bytes; offsets are left for placement.
mlir::FailureOr<plan::Stage>
buildStagePrograms(pipe::StageOp stage, const TimingInputs &timing,
                   StageDetail detail = StageDetail::whole);

/// What interfaces of an op say of its run.
struct OpFigures {
  int64_t timeNs = 0; ///< estimateNs()
  plan::Stream stream = plan::Stream::compute;
  int64_t scratchBytes = 0; ///< aligned
  plan::MemoryClass scratchClass = plan::MemoryClass::workspace;
};
OpFigures figuresOfOp(mlir::Operation *op, const TimingInputs &timing);

/// What is known of the ops of a stage before its programs are built.
struct KnownOfOps {
  /// Of some of them.
  llvm::DenseMap<mlir::Operation *, const OpFigures *> figures;
  /// What is released behind ops, or by terminators behind all others, where
  /// the stage has no ops for that.
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<mlir::Value, 4>> releases;
  /// Aligned sizes of contents, to which missing ones are added.
  llvm::DenseMap<mlir::Type, int64_t> *bytesOfTypes = nullptr;
};

/// StageDetail::figures, less its parameters.
mlir::FailureOr<plan::Stage> buildStageFigures(pipe::StageOp stage,
                                               const TimingInputs &timing,
                                               const KnownOfOps &known);

/// What the stage's attribute says was decided about its values. `stage` is
/// what buildStagePrograms() made of `op`, number `index` of the plan. Emits an
/// error and fails where the attribute is no list of decisions about values of
/// the stage.
mlir::FailureOr<std::vector<plan::Decision>>
listDecisions(pipe::StageOp op, const plan::Stage &stage, int64_t index);

} // namespace moe
