//===- OpOrder.h - order of the ops of a block that move --------*- C++ -*-===//
#pragma once

#include "mlir/IR/Block.h"
#include "llvm/ADT/DenseMap.h"

namespace moe {

/// Says which of two ops of a block comes first, and moves ops inside it.
/// Operation::isBeforeInBlock numbers all ops anew behind every move; this
/// keeps numbers with gaps between them.
class OpOrder {
public:
  /// Ops of `block` must be moved by this object alone, and none added.
  explicit OpOrder(mlir::Block &block);

  bool isBefore(mlir::Operation *a, mlir::Operation *b) const {
    return numbers.lookup(a) < numbers.lookup(b);
  }
  /// Null: to the front of the block.
  void moveBehind(mlir::Operation *op, mlir::Operation *before);

private:
  void renumber();

  mlir::Block &block;
  llvm::DenseMap<mlir::Operation *, int64_t> numbers;
};

} // namespace moe
