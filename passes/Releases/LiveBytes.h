//===- LiveBytes.h - what lives at each op of a region ----------*- C++ -*-===//
#pragma once

#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"

namespace moe {

/// Bytes of a value's buffer, and of the scratch that an op needs, as plans
/// count them.
int64_t getStorageBytes(mlir::Value value);
int64_t getScratchBytes(mlir::Operation *op);

/// Whether the op runs on another stream than computations.
bool isExchange(mlir::Operation *op);

/// Bytes of values that live while each op of a block runs, its results
/// included, with releases behind the last uses.
class LiveBytes {
public:
  explicit LiveBytes(mlir::Block &block);

  int64_t &operator[](mlir::Operation *op) { return live[op]; }
  /// With its scratch.
  int64_t at(mlir::Operation *op) { return live[op] + getScratchBytes(op); }
  /// The most at any op when this was made, scratch included.
  int64_t peak() const { return most; }
  /// Adds to the live bytes from `first` to `last`, both included.
  void add(int64_t bytes, mlir::Operation *first, mlir::Operation *last);

private:
  llvm::DenseMap<mlir::Operation *, int64_t> live;
  int64_t most = 0;
};

} // namespace moe
