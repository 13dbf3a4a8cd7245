//===- KindBench.h - a kind of block under treatments -----------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/LayerOptions.h"
#include "passes/Policies/BlockBench.h"
#include "passes/Policies/BlockOptions.h"

#include <map>
#include <optional>
#include <string>

namespace moe {

inline bool isDecoder(BlockOp block) {
  return block.getKind() == BlockKind::decoder;
}

/// A block of a kind and what lies around it.
struct Neighbours {
  BlockOp block;
  BlockOp above = {};           ///< null: the block is measured alone
  BlockOp below = {};           ///< null: there is none, or none above
  bool isOfOneKind = true;      ///< with the one above
  bool isBelowOfOneKind = true; ///< with the one below
};

/// A kind of block under treatments: alone, as the last of a stage is, and
/// followed by another one, of its kind where the model has such neighbours.
/// What the pair takes longer than the second alone is what a block takes
/// inside a stage, where exchanges, weight gradients and copies of neighbours
/// fill each other's gaps. What is live while a block runs that has such
/// neighbours on both sides, three of them tell.
class KindBench {
public:
  /// `symbols` holds the parameters; `timing` must outlive the bench.
  KindBench(const Neighbours &neighbours, const mlir::SymbolTable &symbols,
            const TimingInputs &timing, StageHabits habits);

  /// The treatments worth having.
  mlir::FailureOr<optimize::LayerOptions> find(Techniques techniques);

  /// What `found` comes to inside a stage here, where `other` found it for the
  /// same kind elsewhere.
  mlir::FailureOr<optimize::LayerOptions>
  measureAgain(optimize::LayerOptions found, const KindBench &other);

  /// `whole`: the block's stage, everything kept. After one of the above.
  BlockOptions tell(const plan::Stage &whole,
                    const optimize::LayerOptions &found);

  BlockBench::Output output() { return alone.output(); }

private:
  class ByPart;
  struct Measured {
    BlockFigures alone;
    BlockFigures inside; ///< of neighbours only what differs there
    /// Of the last block at the time at which what the block below it has moved
    /// is back, which is not counted.
    int64_t latePeakBytes = 0;
  };

  ByPart partsOf(const optimize::LayerTreatment &treatment);
  mlir::LogicalResult measureBase();
  mlir::FailureOr<Measured> measure(const optimize::LayerTreatment &treatment);
  mlir::FailureOr<BlockFigures>
  measureAlone(const optimize::LayerTreatment &treatment, const ByPart &how);
  mlir::LogicalResult measureAbove(const ByPart &how);
  mlir::LogicalResult refine(const optimize::LayerTreatment &treatment,
                             optimize::LayerFigures &figures,
                             int64_t aheadBytes);
  optimize::LayerFigures relative(const Measured &measured) const;
  optimize::LayerOptionsProblem makeProblem(Techniques techniques) const;

  BlockBench alone;
  std::optional<BlockBench> pair;
  std::optional<BlockBench> other; ///< the neighbour, where its kind is another
  std::optional<BlockFigures> above; ///< of `other`, as measured last
  std::optional<BlockBench> three;
  std::optional<BlockBench> lower; ///< as `other`, of the one below
  bool isBelowHead = false;
  /// Of `alone`, by treatment, in which nothing comes back late: alone, copies
  /// back begin with the backward in any case.
  std::map<optimize::LayerTreatment, BlockFigures> aloneFigures;
  Measured base;
};

} // namespace moe
