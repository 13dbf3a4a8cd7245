//===- BlockProfiles.h - what each kind of block takes ----------*- C++ -*-===//
#pragma once

#include "compiler/Export/IR/StagePrograms.h"

#include <string>
#include <vector>

namespace moe {

/// A block of the model as a stage of its own, which keeps all that its
/// backward needs: forward, whole and split backward with times, sizes and
/// releases.
struct BlockProfile {
  plan::Stage stage;
  bool isLayer = false; ///< one of those that stages are cut between
};

/// The blocks of a model, equal ones measured once.
struct BlockProfiles {
  std::vector<BlockProfile> kinds;
  std::vector<int64_t> blocks;    ///< in model order, their kinds
  std::vector<std::string> names; ///< "embedding", "layers.0", ...
};

/// Measures the differentiated blocks of `module`, which is left as it is.
/// Blocks are of one kind that differ in names only. Emits an error and fails
/// where there are none, or they are not differentiated.
mlir::FailureOr<BlockProfiles> profileBlocks(mlir::ModuleOp module,
                                             const TimingInputs &timing);

} // namespace moe
