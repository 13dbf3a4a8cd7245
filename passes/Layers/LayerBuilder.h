//===- LayerBuilder.h - ops with per-rank shapes ----------------*- C++ -*-===//
#pragma once

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "mlir/IR/Builders.h"

namespace moe {

/// Facts that hold for all layers of an expansion.
struct ExpansionFacts {
  mlir::Type storage; ///< element type of activations and weights
  mlir::Type sums;    ///< f64 when storage is f64, else f32
  int64_t tokens = 0; ///< of a microbatch on one device
  int64_t hidden = 0;
  int64_t vocabulary = 0;
  double epsilon = 0;
  double initializerRange = 0;
  double capacityFactor = 0;
  /// Scale of the loss's gradient: 1 / tokens of the whole step.
  double gradientScale = 1;
  /// Of the losses of all multi-token prediction modules together, beside the
  /// main loss.
  double mtpWeight = 0;
  pipe::LayoutAttr layout;
};

/// Builds blocks of Level B ops. Names given to ops and parameters are relative
/// to the block's prefix, e.g. "attention.q_proj" in "layers.3".
class LayerBuilder {
public:
  /// Blocks and parameters go before `end`.
  LayerBuilder(const ExpansionFacts &facts, mlir::Operation *end);

  /// Starts a block; ops that follow belong to it.
  void beginBlock(llvm::StringRef name, llvm::StringRef prefix, BlockKind kind,
                  llvm::ArrayRef<llvm::StringRef> inputs,
                  llvm::ArrayRef<llvm::StringRef> outputs);
  /// The block's argument with `role`.
  mlir::Value input(llvm::StringRef role);
  void endBlock(mlir::ValueRange results);
  /// Names are relative to `newPrefix` from here on.
  void setPrefix(llvm::StringRef newPrefix) { prefix = newPrefix; }

  /// The embedding table: of the whole model, or a copy of the parameter that
  /// `original` names.
  mlir::FlatSymbolRefAttr table(mlir::FlatSymbolRefAttr original = {});
  mlir::Value embedding(mlir::Value tokens, mlir::FlatSymbolRefAttr table);
  mlir::Value norm(llvm::StringRef name, mlir::Value x, int64_t groups = 1);
  /// `sums` makes the output of the type that sums are kept in.
  mlir::Value linear(llvm::StringRef name, mlir::Value x, int64_t columns,
                     bool bias, bool sums = false);
  /// Multiplies by a weight [columns, ...] that another op has declared.
  mlir::Value linear(llvm::StringRef name, mlir::Value x, int64_t columns,
                     mlir::FlatSymbolRefAttr weight);
  mlir::Value rope(llvm::StringRef name, mlir::Value x, int64_t heads,
                   RotaryAttr rotary);
  mlir::Value add(llvm::StringRef name, mlir::Value a, mlir::Value b);
  mlir::Value swiglu(llvm::StringRef name, mlir::Value x,
                     SwigluAttr activation);
  mlir::Value attention(GqaAttr attention, mlir::Value x);
  mlir::Value attention(MlaAttr attention, mlir::Value x);
  mlir::Value dense(llvm::StringRef name, mlir::Value x, int64_t intermediate,
                    SwigluAttr activation);
  mlir::Value experts(ExpertsAttr experts, mlir::Value x);
  /// The mean over tokens, times `weight` unless that is 1.
  mlir::Value loss(mlir::Value logits, mlir::Value labels, double weight = 1);

private:
  mlir::Location loc(llvm::StringRef name);
  mlir::RankedTensorType matrix(int64_t columns);
  /// Rows behind a dispatch, as a tensor type.
  mlir::RankedTensorType routed(RowsAttr rows, int64_t columns);
  mlir::FlatSymbolRefAttr parameter(llvm::StringRef name,
                                    llvm::ArrayRef<int64_t> shape,
                                    InitializerKind kind,
                                    Replication replication, bool trainable,
                                    mlir::FlatSymbolRefAttr tiedTo = {});
  mlir::FlatSymbolRefAttr weight(llvm::StringRef name,
                                 llvm::ArrayRef<int64_t> shape,
                                 Replication replication = Replication::dense);
  mlir::FlatSymbolRefAttr bias(llvm::StringRef name,
                               llvm::ArrayRef<int64_t> shape,
                               Replication replication = Replication::dense);
  mlir::Value core(mlir::Value q, mlir::Value k, mlir::Value v, int64_t heads,
                   int64_t kvHeads, int64_t qkDim, int64_t vDim, double scale,
                   int64_t window, bool sinks);
  RowsAttr rowsOf(ExpertsAttr experts);

  const ExpansionFacts &facts;
  mlir::OpBuilder modules; ///< before `end`
  mlir::OpBuilder ops;     ///< inside the block
  std::string prefix;
  BlockOp block;
};

} // namespace moe
