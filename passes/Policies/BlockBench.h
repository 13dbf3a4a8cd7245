//===- BlockBench.h - blocks as a stage that can be treated -----*- C++ -*-===//
#pragma once

#include "compiler/Export/IR/StagePrograms.h"
#include "compiler/Optimize/LayerOptions.h"
#include "dialects/MoE/IR/MoE.h"
#include "passes/Policies/LinkWaits.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/SymbolTable.h"

#include <string>
#include <vector>

namespace moe {

/// `blocks`, one above the other, as a stage of their own, everything kept,
/// with all its ways backward and its parameters; StageDetail::figures.
/// `symbols` holds the parameters.
mlir::FailureOr<plan::Stage> buildBlockStage(llvm::ArrayRef<BlockOp> blocks,
                                             const mlir::SymbolTable &symbols,
                                             const TimingInputs &timing);

/// What the programs of a stage come to.
struct BlockFigures {
  int64_t forwardNs = 0;
  int64_t backwardNs = 0; ///< both halves together where it is split
  int64_t inputGradNs = 0, weightGradNs = 0; ///< of a split one
  /// Of the backward, or of its half for gradients of inputs, and of gradients
  /// of weights.
  LinkWaits backwardWaits, weightGradWaits;
  int64_t keptBytes = 0;
  /// The most that lives while each of the blocks runs, forward or backward,
  /// besides what those above it have pending.
  llvm::SmallVector<int64_t, 3> peakBytes;
  llvm::SmallVector<int64_t, 3> forwardPeakBytes; ///< of these, forward
  /// What each of the blocks holds until its weight gradients, where these are
  /// a program of their own.
  llvm::SmallVector<int64_t, 3> pendingBytes;
  /// Of the lowest block, when most lives while the one above it runs backward:
  /// what is back from the host, or made again.
  int64_t aheadBytes = 0;
  int64_t hostBytes = 0; ///< kept there
  int64_t copyOutNs = 0; ///< of the copies that bring it there
};

/// How a stage runs.
struct StageHabits {
  bool isTurning = false; ///< backward follows forward at once
  /// Gradients of inputs and of weights are programs of their own.
  bool isSplit = false;
  int64_t leadLayers = 1; ///< of copies back; see OffloadLead
};

/// Neighbouring blocks as the one stage of a module of its own, which can be
/// treated again and again.
class BlockBench {
public:
  /// A value that the stage keeps from forward to backward.
  struct Kept {
    std::string planName; ///< as plans have it
    std::string part;     ///< the same inside its block
    std::string opPart;   ///< of the op that makes it; empty: none does
    int64_t bytes = 0;
    int64_t copyNs = 0; ///< back from the host
    /// From where the backward begins to where it needs the value first.
    int64_t neededNs = optimize::kUnlimitedNs;
    bool isReplayable = false, isOutput = false;
    bool isInput = false;      ///< what the block before hands on
    bool isDispatched = false; ///< a dispatch makes it
    /// What needs it first waits behind an exchange of the block below.
    bool isDeferred = false;

    /// Whether the backward needs it, or where that is split the half for
    /// gradients of inputs.
    bool isNeeded() const { return neededNs < optimize::kUnlimitedNs; }
  };

  /// `symbols` holds the parameters; `timing` must outlive the bench.
  BlockBench(llvm::ArrayRef<BlockOp> blocks, const mlir::SymbolTable &symbols,
             const TimingInputs &timing, StageHabits habits);

  const std::vector<Kept> &kept() const { return values; }

  /// The stage with values treated as `how` says. Emits an error and fails
  /// where a value cannot be moved.
  mlir::FailureOr<BlockFigures>
  treated(llvm::function_ref<optimize::Treatment(const Kept &)> how);

  /// What the stage hands on.
  struct Output {
    std::string planName; ///< empty: nothing
    std::string part;     ///< the same inside its block
    int64_t bytes = 0;
  };
  Output output();

private:
  std::string partOf(const std::string &name) const;
  /// Which of the blocks a name begins with; their number: none, since those of
  /// the head and the embedding have no prefix.
  size_t blockOf(llvm::StringRef name) const;
  /// The block of each op of a region.
  std::vector<size_t> blocksOfOps(pipe::StageOp stage, plan::Phase phase) const;
  /// The same of all programs of a stage.
  using BlocksOfOps = llvm::ArrayRef<std::vector<size_t>>;
  /// Sets what waiting for copies back comes to.
  static void setLinkWaits(plan::Stage &built, BlocksOfOps blocksOf,
                           BlockFigures &figures);
  /// Sets what blocks have pending.
  void setPending(const plan::Stage &built, BlocksOfOps blocksOf,
                  BlockFigures &figures) const;
  /// Sets what lives while blocks run.
  void setPeaks(plan::Stage &built, BlocksOfOps blocksOf,
                BlockFigures &figures) const;

  const TimingInputs &timing;
  StageHabits habits;
  mlir::OwningOpRef<mlir::ModuleOp> module; ///< the stage and its parameters
  /// Where copies of the stage are treated.
  mlir::OwningOpRef<mlir::ModuleOp> workbench;
  std::vector<std::string> prefixes; ///< of names inside each block
  std::vector<std::pair<mlir::Operation *, OpFigures>> figuresOfOps;
  llvm::DenseMap<mlir::Type, int64_t> bytesOfTypes; ///< known so far
  std::vector<Kept> values;
};

} // namespace moe
