//===- MoEInterfaces.h - what planners ask of ops ----------------*- C++
//-*-===//
#pragma once

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"

#include <optional>
#include <string>

namespace moe {

/// What one run of an op costs. Rows behind a dispatch count at their balanced
/// number.
struct OpCost {
  double flops = 0;      ///< additions and multiplications
  int64_t bytes = 0;     ///< device memory, read and written
  int64_t linkBytes = 0; ///< payload that this rank sends to other ranks
  /// "gemm", "grouped_gemm", "attention", "elementwise", "exchange", "to_host"
  /// or "to_device": which of a machine's rates and efficiencies applies. What
  /// a copy moves counts as `bytes`.
  llvm::StringRef opClass = "elementwise";
  /// Equal parts that a kernel works through: experts of a grouped
  /// multiplication, heads times sequences of attention.
  int64_t parts = 1;
  /// Of an exchange: what is sent, and how a token's experts are chosen.
  struct Exchange {
    int64_t tokens = 0;   ///< of this rank; 0: no exchange
    int64_t rowBytes = 0; ///< of one row with what travels along
    int64_t topK = 1, experts = 1, groups = 1, topGroups = 1;
  };
  Exchange exchange = {};
};

/// The stream that an op is issued on.
enum class StreamKind : uint8_t {
  compute,
  expert_communication,
  copy_out, ///< to the host
  copy_in   ///< from the host
};
llvm::StringRef stringifyStreamKind(StreamKind kind);

/// Memory that an op needs while it runs.
struct Scratch {
  int64_t bytes = 0;
  /// "expert_communication" or "workspace".
  llvm::StringRef memoryClass = "workspace";
};

/// A parameter as an op uses it.
struct ParameterUse {
  llvm::StringRef role;           ///< name of the op's attribute
  mlir::FlatSymbolRefAttr symbol; ///< null: absent
  /// What the op needs; kDynamic stands for any size.
  llvm::SmallVector<int64_t> shape;
  mlir::Type elementType; ///< null: any float
};

/// The name that a location carries: "layers.3.input_norm"; empty without one.
llvm::StringRef getOpName(mlir::Operation *op);
/// The name of a result in plans: "layers.3.input_norm:inverse", which is the
/// name of its op, `suffix`, and that of the result where the op has several.
std::string getResultName(mlir::OpResult result, llvm::StringRef suffix = "");
/// Ends the names of ops that run again in a backward program.
inline constexpr llvm::StringLiteral kReplaySuffix = ".replay";
/// Whether an op runs again what forward has run.
bool isReplay(mlir::Operation *op);
/// The unit attribute of an op that overwrites an operand (AliasOpInterface).
inline constexpr llvm::StringLiteral kInPlaceName = "moe.in_place";
/// AliasOpInterface::getAliasedOperand() of any op.
std::optional<unsigned> getAliasedOperand(mlir::Operation *op, unsigned result);
/// Whether `op` is on the stream of the expert-parallel group's collectives.
bool isExchange(mlir::Operation *op);
/// The location that carries a name.
mlir::Location nameLoc(mlir::MLIRContext *context, const llvm::Twine &name);

/// An op's attributes under their names in the plan document: all but parameter
/// symbols and segment sizes; defaults filled in; `rotary`, `routing` and
/// `activation` taken apart into numbers, booleans and strings.
llvm::SmallVector<mlir::NamedAttribute>
getKernelAttributes(mlir::Operation *op);

namespace detail {
mlir::LogicalResult verifyParameters(mlir::Operation *op,
                                     mlir::SymbolTableCollection &symbolTable);
} // namespace detail

/// Checks an op's parameters against their declarations, wherever symbols can
/// be looked up.
template <typename ConcreteOp>
class UsesParameters
    : public mlir::OpTrait::TraitBase<ConcreteOp, UsesParameters> {
public:
  mlir::LogicalResult
  verifySymbolUses(mlir::SymbolTableCollection &symbolTable) {
    return detail::verifyParameters(this->getOperation(), symbolTable);
  }
};

} // namespace moe

#include "dialects/MoE/IR/MoEInterfaces.h.inc"
