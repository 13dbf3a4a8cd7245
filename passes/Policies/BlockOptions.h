//===- BlockOptions.h - how each kind of block can be treated ---*- C++ -*-===//
#pragma once

#include "compiler/Cost/StageCosts.h"
#include "compiler/Export/IR/StagePrograms.h"
#include "compiler/Optimize/Partition.h"
#include "compiler/Schedule/WorkBound.h"

#include <optional>
#include <string>
#include <vector>

namespace moe {

/// A way to treat the values that a block keeps from forward to backward, which
/// are named as in "layers.3.NAME", or whole where the block is no layer.
struct BlockOption {
  struct Offloaded {
    std::string value;
    /// What it got from the block before, which has another name there.
    bool isInput = false;
    bool isLate = false; ///< see optimize::Treatment
  };
  std::vector<std::string> recomputed;
  std::vector<Offloaded> offloaded;
};

/// What a block takes, everything kept.
struct BlockTimes {
  int64_t forwardNs = 0, backwardNs = 0;
  int64_t inputGradNs = 0, weightGradNs = 0; ///< of a split backward
};

/// What a block takes of both streams in any case: of the ways backward, that
/// which takes least, everything kept.
struct BlockWorks {
  schedule::BlockWork compute, exchange;
};

/// A kind of block: blocks of one kind differ in names only. The layer below
/// the head is of a kind of its own.
struct BlockOptions {
  optimize::BlockKind figures;
  std::vector<BlockOption> options; ///< those of `figures`
  /// What it hands on, named like the values of its options; empty: nothing.
  std::string output;
  BlockTimes inside; ///< where there are others before and after
  /// Where it is the last of its stage: nothing fills the gaps that its
  /// exchanges leave.
  BlockTimes last;
  BlockWorks works;
  cost::TrainableElements trainable;
  /// Held from a split backward to the gradients of weights, everything kept.
  int64_t weightGradBytes = 0;
};

/// The blocks of a model and what can be done about each.
struct ModelOptions {
  std::vector<BlockOptions> kinds;
  std::vector<int64_t> blocks;    ///< in model order, their kinds
  std::vector<std::string> names; ///< "embedding", "layers.0", ...
  int64_t boundaryBytes = 0;      ///< of what blocks hand on
  int64_t localTransferNs = 0;    ///< of that, from a rank to itself
  double hostBytesPerNs = 0;      ///< of a copy to the host, by itself
  /// Of the shorter of a forward and a backward, what both take less when they
  /// run interleaved: of up to four blocks in a row of the kind with the most.
  /// The backward counts as its halves where others are split.
  double overlapShare = 0;
  /// Nothing: what ranks do behind their last programs takes no time.
  std::optional<cost::EndOfStep> endOfStep;
};

/// What may be done about kept values.
struct Techniques {
  bool recompute = false;
  bool offload = false;
  /// Whether the stage with the head runs every microbatch backward right
  /// behind its forward: what the head and the layer below it would have to
  /// copy back at once stays on the device.
  bool isLastTurning = false;
  /// Whether gradients of inputs and of weights are programs of their own.
  bool splitsBackward = false;
  /// Whether forwards and backwards run interleaved.
  bool overlaps = false;
  int64_t leadLayers = 1; ///< of copies back; see OffloadLead
  bool operator==(const Techniques &) const = default;
};

/// Measures the differentiated blocks of `module`, which is left as it is: each
/// kind as a stage of its own, under the treatments that optimize::findOptions
/// asks for, by the passes that will treat the model. Emits an error and fails
/// where there are no blocks.
mlir::FailureOr<ModelOptions> findModelOptions(mlir::ModuleOp module,
                                               const TimingInputs &timing,
                                               Techniques techniques);

} // namespace moe
