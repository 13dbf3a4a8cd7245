//===- MoEDialect.h - the moe dialect, its types and attributes -*- C++ -*-===//
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/TensorEncoding.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <bit>

#include "dialects/MoE/IR/MoEDialect.h.inc"
#include "dialects/MoE/IR/MoEEnums.h.inc"

namespace moe {

/// Exchanges between the ranks of an expert-parallel group.
struct WireResource : public mlir::SideEffects::Resource::Base<WireResource> {
  llvm::StringRef getName() final { return "moe.wire"; }
};

/// Gradient buffers of parameters.
struct GradientResource
    : public mlir::SideEffects::Resource::Base<GradientResource> {
  llvm::StringRef getName() final { return "moe.gradient"; }
};

namespace detail {

/// A double that can be stored in an attribute: compared and hashed by its
/// bits, so that equal attributes print equal text.
struct Real {
  double value = 0;

  constexpr Real() = default;
  constexpr Real(double value) : value(value) {}
  constexpr operator double() const { return value; }
  friend bool operator==(const Real &a, const Real &b) {
    return std::bit_cast<uint64_t>(a.value) == std::bit_cast<uint64_t>(b.value);
  }
  friend bool operator==(double a, const Real &b) { return Real(a) == b; }
  friend llvm::hash_code hash_value(const Real &real) {
    return llvm::hash_value(std::bit_cast<uint64_t>(real.value));
  }
};

mlir::FailureOr<bool> parseBool(mlir::AsmParser &parser);
void printBool(mlir::AsmPrinter &printer, bool value);
mlir::FailureOr<Real> parseReal(mlir::AsmParser &parser);
/// Writes as few digits as give the same number back.
void printReal(llvm::raw_ostream &stream, double value);

} // namespace detail
} // namespace moe

#define GET_TYPEDEF_CLASSES
#include "dialects/MoE/IR/MoETypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/MoE/IR/MoEAttrs.h.inc"

namespace moe {

/// The encoding of a tensor whose rows depend on routing; null for any other
/// type.
RowsAttr getRows(mlir::Type type);

/// Rows that memory is planned for: the capacity of a tensor with #moe.rows,
/// the leading dimension of any other tensor of rank 1 or more, else 1.
int64_t getCapacityRows(mlir::Type type);

/// The shape with a dynamic leading dimension replaced by its capacity.
llvm::SmallVector<int64_t> getCapacityShape(mlir::RankedTensorType type);

/// Bytes at capacity of a tensor, not rounded up, or of a dispatch handle.
int64_t getByteSize(mlir::Type type);

/// Bytes at the balanced number of rows: what an average run touches.
int64_t getBalancedByteSize(mlir::Type type);

/// The type that sums are kept in: f64 for f64, else f32.
mlir::Type getSumType(mlir::Type storage);

/// `tensor<?x(trailing)xelement, #moe.rows<balanced, capacity>>`.
mlir::RankedTensorType getRowsType(RowsAttr rows,
                                   llvm::ArrayRef<int64_t> trailing,
                                   mlir::Type element);

} // namespace moe
