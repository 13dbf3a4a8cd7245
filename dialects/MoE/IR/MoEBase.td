//===- MoEBase.td - the moe dialect and what its ops share ----*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEBASE_TD
#define MOE_DIALECTS_MOE_IR_MOEBASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def MoE_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::moe";
  let summary = "mixture-of-experts models, from layers to kernels";
  let description = [{
    A model is written at one of two levels.

    *Level A* is what an importer produces: a `moe.model` with one op a layer,
    whose attributes (`#moe.gqa`, `#moe.mla`, `#moe.dense`, `#moe.experts`) hold
    the architecture. Nothing is said about ranks.

    *Level B* is what a rank executes: `moe.parameter` symbols, and `moe.block`s
    whose three regions (forward, backward, weight gradient) hold one op for
    each kernel or collective, with the shapes that are local to the rank.

    Both have value semantics on tensors. `T` stands for the tokens of a
    microbatch on one rank, `H` for the model width, `C` for the rows that a rank
    can receive from a dispatch, `E` for all experts, `L` for those of one rank,
    `k` for the experts that a token is sent to, `S` for the element type of
    activations and weights (`bf16`, `f32` or `f64`) and `A` for the type that
    sums are kept in: `f64` when `S` is `f64`, else `f32`.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let extraClassDeclaration = [{
    void registerTypes();
    void registerAttributes();
    void registerOps();
  }];
}

//===----------------------------------------------------------------------===//
// Enumerations
//===----------------------------------------------------------------------===//

class MoE_Enum<string name, string summary, list<string> cases>
    : I32EnumAttr<name, summary,
                  !foreach(i, !range(!size(cases)),
                           I32EnumAttrCase<cases[i], i>)> {
  let cppNamespace = "::moe";
  let genSpecializedAttr = 0;
}

def MoE_Scoring : MoE_Enum<"Scoring", "how router logits become scores",
                           ["softmax", "sigmoid"]>;
def MoE_GroupScore : MoE_Enum<"GroupScore", "how a group of experts is rated",
                              ["maximum", "top2_sum"]>;
def MoE_QKNorm : MoE_Enum<"QKNorm", "RMS norm of queries and keys",
                          ["none", "head", "full"]>;
def MoE_Replication : MoE_Enum<"Replication",
    "which ranks hold the same bytes of a parameter", ["dense", "expert"]>;
def MoE_InitializerKind : MoE_Enum<"InitializerKind",
    "how elements are made at the start of training",
    ["normal", "zeros", "ones"]>;
def MoE_BlockKind : MoE_Enum<"BlockKind", "what a block of a model is",
                             ["embedding", "decoder", "mtp", "head"]>;

def MoE_ReplicationAttr
    : EnumAttr<MoE_Dialect, MoE_Replication, "replication">;
def MoE_BlockKindAttr : EnumAttr<MoE_Dialect, MoE_BlockKind, "block_kind">;

//===----------------------------------------------------------------------===//
// Operand, result and attribute constraints
//===----------------------------------------------------------------------===//

defvar MoE_StorageTypes = [BF16, F32, F64];
defvar MoE_SumTypes = [F32, F64];

def MoE_IsStatic : CPred<
    "::llvm::cast<::mlir::RankedTensorType>($_self).hasStaticShape()">;
def MoE_IsRows : CPred<"::moe::getRows($_self) != nullptr">;

class MoE_Fixed<list<Type> types, int rank, string what>
    : RankedTensorOf<types, [HasAnyRankOfPred<[rank]>, MoE_IsStatic],
                     "statically shaped " # rank # "-D tensor (" # what # ")">;
class MoE_Bounded<list<Type> types, int rank, string what>
    : RankedTensorOf<types, [HasAnyRankOfPred<[rank]>, MoE_IsRows],
                     rank # "-D tensor with #moe.rows (" # what # ")">;
class MoE_Either<list<Type> types, int rank, string what>
    : RankedTensorOf<types, [HasAnyRankOfPred<[rank]>,
                             Or<[MoE_IsStatic, MoE_IsRows]>],
                     rank # "-D tensor, static or with #moe.rows ("
                     # what # ")">;

def MoE_Matrix : MoE_Fixed<MoE_StorageTypes, 2, "activations">;
def MoE_SumMatrix : MoE_Fixed<MoE_SumTypes, 2, "sums">;
def MoE_SumVector : MoE_Fixed<MoE_SumTypes, 1, "sums">;
def MoE_IndexMatrix : MoE_Fixed<[I32], 2, "indices">;
def MoE_IndexVector : MoE_Fixed<[I32], 1, "indices">;
def MoE_Rows : MoE_Bounded<MoE_StorageTypes, 2, "rows behind a dispatch">;
def MoE_RowScalars : MoE_Bounded<MoE_SumTypes, 1, "one number a row">;
def MoE_AnyMatrix : MoE_Either<MoE_StorageTypes, 2, "activations">;
def MoE_AnyScalars : MoE_Either<MoE_SumTypes, 1, "one number a row">;
/// Level A does not know how many tokens a microbatch has.
def MoE_Hidden : TensorRankOf<MoE_StorageTypes, [2]>;
def MoE_Tokens : TensorRankOf<[I32], [1]>;

/// A 64-bit real, seen as double in C++.
def MoE_RealAttr
    : TypedAttrBase<F64, "FloatAttr",
                    And<[CPred<"::llvm::isa<::mlir::FloatAttr>($_self)">,
                         CPred<"::llvm::cast<::mlir::FloatAttr>($_self)"
                               ".getType().isF64()">]>,
                    "64-bit real attribute"> {
  let returnType = "double";
  let convertFromStorage = "$_self.getValueAsDouble()";
  let constBuilderCall = "$_builder.getF64FloatAttr($0)";
}
def MoE_IntegerAttr : TypedSignlessIntegerAttrBase<
    I64, "int64_t", "64-bit integer attribute">;
def MoE_CountAttr : ConfinedAttr<MoE_IntegerAttr, [IntPositive]>;
def MoE_SizeAttr : ConfinedAttr<MoE_IntegerAttr, [IntNonNegative]>;

//===----------------------------------------------------------------------===//
// Side effects
//===----------------------------------------------------------------------===//

/// Exchanges between ranks: every rank must issue the same ones in the same
/// order, so they are ordered among themselves and never removed or merged.
def MoE_WireResource : Resource<"::moe::WireResource">;
/// Gradient buffers of parameters, which weight-gradient ops add to.
def MoE_GradientResource : Resource<"::moe::GradientResource">;

#endif // MOE_DIALECTS_MOE_IR_MOEBASE_TD
