//===- GradientNeeds.h - which values need a gradient -----------*- C++ -*-===//
#pragma once

#include "dialects/MoE/IR/MoE.h"
#include "llvm/ADT/DenseSet.h"

namespace moe {

/// Which values of a block's forward region need a gradient: its hidden inputs
/// unless it is `detached`, and whatever is computed from such a value or from
/// a trainable parameter. What is saved for backward follows from this property
/// of each value alone, never from a mode that an op would have to ask for.
class GradientNeeds {
public:
  /// `symbols` finds the parameters, and has to outlive this object. To share
  /// it between the blocks of a module spares a symbol table for each.
  GradientNeeds(BlockOp block, mlir::SymbolTableCollection &symbols);

  bool of(mlir::Value value) const { return values.contains(value); }
  /// Whether anything in the block does: only then it has a backward.
  bool any() const { return !values.empty(); }
  /// Whether a weight gradient adds to trainable parameters, of which it names
  /// one or several. Emits an error where only some are trainable.
  mlir::FailureOr<bool> trainsAll(mlir::Operation *weightGradient);

private:
  /// A parameter that is not declared counts as trainable.
  bool isTrainable(mlir::FlatSymbolRefAttr parameter);

  BlockOp block;
  mlir::SymbolTableCollection &symbols;
  llvm::DenseSet<mlir::Value> values;
};

} // namespace moe
