//===- MoEKernelBase.td - base classes of Level B ops ---------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEKERNELBASE_TD
#define MOE_DIALECTS_MOE_IR_MOEKERNELBASE_TD

include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "dialects/MoE/IR/MoEAttrs.td"
include "dialects/MoE/IR/MoEInterfaces.td"
include "dialects/MoE/IR/MoETypes.td"

/// Names of the methods of KernelOpInterface that an op does not leave at their
/// default.
defvar MoE_Parameters = ["getParameters"];
defvar MoE_OptionalInputs = ["getKernelInputs"];
defvar MoE_OptionalOutputs = ["getKernelOutputs"];

/// Checks the parameters of an op against their declarations.
def MoE_UsesParameters : NativeOpTrait<"UsesParameters"> {
  let cppNamespace = "::moe";
}

/// A kernel: runs on the compute stream, may be run again, overwrites nothing.
/// `own` names the methods of KernelOpInterface that the op defines itself.
class MoE_KernelOp<string mnemonic, list<Trait> traits, list<string> own = [],
                   list<string> scratch = []>
    : Op<MoE_Dialect, mnemonic, traits # [
          DeclareOpInterfaceMethods<KernelOpInterface, own>,
          DeclareOpInterfaceMethods<CostOpInterface>,
          StreamOpInterface, AliasOpInterface,
          DeclareOpInterfaceMethods<ScratchOpInterface, scratch>]
        # !if(!empty(!filter(name, own, !eq(name, "getParameters"))), []<Trait>,
              [MoE_UsesParameters, SymbolUserOpInterface]<Trait>)>;

/// The first result may overwrite an operand.
defvar MoE_Overwrites = DeclareOpInterfaceMethods<AliasOpInterface,
                                                  ["getOverwritableOperand"]>;

/// A kernel whose result is a function of its operands alone.
class MoE_PureOp<string mnemonic, list<Trait> traits, list<string> own = [],
                 list<string> scratch = []>
    : MoE_KernelOp<mnemonic, traits # [Pure, RecomputableOpInterface], own,
                   scratch>;

defvar MoE_FunctionalType = " attr-dict `:` functional-type(operands, results)";

// `groups` and `top_groups` repeat what `moe.route` was told: how many ranks a
// token reaches depends on it, hence the cost. The result does not.
defvar MoE_ExchangeGeometry = (ins
    MoE_CountAttr:$top_k, MoE_CountAttr:$experts,
    MoE_CountAttr:$ranks, MoE_CountAttr:$capacity,
    DefaultValuedAttr<MoE_CountAttr, "1">:$groups,
    DefaultValuedAttr<MoE_CountAttr, "1">:$top_groups);
defvar MoE_ExchangeFormat = !strconcat(
    " `top_k` $top_k `experts` $experts `ranks` $ranks `capacity` $capacity",
    " (`groups` $groups^ `top_groups` $top_groups)?",
    MoE_FunctionalType);

/// The local half of an exchange, together with the exchange itself: a
/// collective of the expert-parallel group, on the stream of its own.
class MoE_ExchangeOp<string mnemonic, list<Trait> traits>
    : MoE_KernelOp<mnemonic, traits # [
          MemoryEffects<[MemRead<MoE_WireResource>, MemWrite<MoE_WireResource>]>,
          InferTypeOpAdaptor,
          DeclareOpInterfaceMethods<RecomputableOpInterface, ["hasCollective"]>,
          DeclareOpInterfaceMethods<StreamOpInterface, ["getStreamKind"]>],
          [], ["getScratch"]> {
  let extraClassDeclaration = [{
    /// Experts of one rank.
    int64_t getLocalExperts() { return getExperts() / getRanks(); }
  }];
}

/// Adds to the gradients of parameters; has no result.
class MoE_WeightGradOp<string mnemonic, list<Trait> traits,
                       list<string> own = []>
    : MoE_KernelOp<mnemonic, traits # [
          MemoryEffects<[MemRead<MoE_GradientResource>,
                         MemWrite<MoE_GradientResource>]>,
          DeclareOpInterfaceMethods<RecomputableOpInterface,
                                    ["isReplayable"]>],
          MoE_Parameters # own> {
  let hasVerifier = 1;
}

defvar MoE_AttentionGeometry = (ins
    MoE_CountAttr:$sequence_length,
    MoE_CountAttr:$heads, MoE_CountAttr:$kv_heads,
    MoE_CountAttr:$qk_dim, MoE_CountAttr:$v_dim,
    MoE_RealAttr:$softmax_scale,
    DefaultValuedAttr<MoE_SizeAttr, "0">:$window);
defvar MoE_AttentionFormat = !strconcat(
    " `heads` $heads `kv_heads` $kv_heads `qk_dim` $qk_dim `v_dim` $v_dim "
    "`sequence` $sequence_length `scale` custom<Real>($softmax_scale) (`window` $window^)? ",
    MoE_FunctionalType);

#endif // MOE_DIALECTS_MOE_IR_MOEKERNELBASE_TD
