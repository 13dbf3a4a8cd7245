//===- MoEModelOps.td - models, blocks and parameters ---------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEMODELOPS_TD
#define MOE_DIALECTS_MOE_IR_MOEMODELOPS_TD

include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "dialects/MoE/IR/MoEAttrs.td"
include "dialects/MoE/IR/MoETypes.td"

class MoE_Op<string mnemonic, list<Trait> traits = []>
    : Op<MoE_Dialect, mnemonic, traits>;

def MoE_ModelGroup : OpDocGroup {
  let summary = "Level A: a model, one op a layer";
  let description = "Made by an importer, taken apart by the expansion.";
}
def MoE_StructureGroup : OpDocGroup {
  let summary = "Level B: parameters and blocks";
  let description = "What holds the ops that a rank executes.";
}

def MoE_AttentionChoice
    : AnyAttrOf<[MoE_GqaAttr, MoE_MlaAttr], "#moe.gqa or #moe.mla">;
def MoE_FfnChoice
    : AnyAttrOf<[MoE_DenseAttr, MoE_ExpertsAttr], "#moe.dense or #moe.experts">;

class MoE_LayerOp<string mnemonic, list<Trait> traits = []>
    : MoE_Op<mnemonic, traits # [HasParent<"ModelOp">, Pure]> {
  let results = (outs MoE_Hidden:$result);
  let hasVerifier = 1;
}

let opDocGroup = MoE_ModelGroup in {

def MoE_ModelOp : MoE_Op<"model", [
    IsolatedFromAbove, Symbol,
    DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "a whole model, one op a layer";
  let description = [{
    Takes the tokens of a microbatch and their labels (the tokens one position
    later) and yields the mean loss. The ops inside form a chain over the hidden
    value. The number of tokens may be dynamic: it is known when a parallel
    layout is.

    `hidden` is the model width, `vocabulary` the number of token ids,
    `norm_epsilon` goes into every RMS norm, `initializer_range` is the standard
    deviation of weights at the start of training, and `architecture` the
    `model_type` of the configuration that the model came from.

    Example:

    ```mlir
    moe.model @qwen3 architecture "qwen3_moe" hidden 2048 vocabulary 151936
        norm_epsilon 1.0e-06 initializer_range 0.02
        (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
      %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x2048xbf16>
      %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#experts)
          : tensor<?x2048xbf16>
      %loss = moe.lm_loss %x1, %labels
          : (tensor<?x2048xbf16>, tensor<?xi32>) -> tensor<1xf32>
      moe.yield %loss : tensor<1xf32>
    }
    ```
  }];
  let arguments = (ins
    SymbolNameAttr:$sym_name,
    MoE_CountAttr:$hidden,
    MoE_CountAttr:$vocabulary,
    MoE_RealAttr:$norm_epsilon,
    MoE_RealAttr:$initializer_range,
    StrAttr:$architecture);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `architecture` $architecture `hidden` $hidden
    `vocabulary` $vocabulary `norm_epsilon` custom<Real>($norm_epsilon)
    `initializer_range` custom<Real>($initializer_range) attr-dict-with-keyword
    custom<Program>($body)
  }];
  let hasRegionVerifier = 1;
}

def MoE_InputEmbeddingOp : MoE_Op<"input_embedding",
    [HasParent<"ModelOp">, Pure]> {
  let summary = "token embedding of a model";
  let description = [{
    Looks each token up in a table of `vocabulary` rows of the model.

    Example:

    ```mlir
    %x = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x2048xbf16>
    ```
  }];
  let arguments = (ins MoE_Tokens:$tokens);
  let results = (outs MoE_Hidden:$hidden);
  let assemblyFormat = [{
    $tokens attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def MoE_DecoderLayerOp : MoE_LayerOp<"decoder_layer",
    [AllTypesMatch<["hidden", "result"]>]> {
  let summary = "one transformer layer";
  let description = [{
    `h = x + attention(norm(x))`, then `h + ffn(norm(h))`. `index` counts the
    layers of the model from 0, in order.

    Example:

    ```mlir
    %y = moe.decoder_layer %x layer 3 attention(#gqa) ffn(#experts)
        : tensor<?x2048xbf16>
    ```
  }];
  let arguments = (ins MoE_Hidden:$hidden, MoE_SizeAttr:$index,
                       MoE_AttentionChoice:$attention,
                       MoE_FfnChoice:$ffn);
  let assemblyFormat = [{
    $hidden `layer` $index `attention` `(` $attention `)` `ffn` `(` $ffn `)` attr-dict
    `:` type($hidden)
  }];
}

def MoE_MtpLayerOp : MoE_LayerOp<"mtp_layer",
    [AllTypesMatch<["hidden", "result"]>]> {
  let summary = "a layer that predicts one token further ahead";
  let description = [{
    Multi-token prediction (arXiv 2412.19437, section 2.2): the hidden value and
    the embedding of the next token, an RMS norm of each, are joined and
    projected back to the model width; then follows a layer like
    `moe.decoder_layer`. Embedding table and output head are the model's own.
    The result goes to the `mtp` operands of `moe.lm_loss`. `index` goes on
    counting after the decoder layers.

    Example:

    ```mlir
    %z = moe.mtp_layer %x, %tokens layer 61 attention(#mla) ffn(#experts)
        : tensor<?x7168xbf16>, tensor<?xi32>
    ```
  }];
  let arguments = (ins MoE_Hidden:$hidden, MoE_Tokens:$tokens,
                       MoE_SizeAttr:$index,
                       MoE_AttentionChoice:$attention,
                       MoE_FfnChoice:$ffn);
  let assemblyFormat = [{
    $hidden `,` $tokens `layer` $index `attention` `(` $attention `)` `ffn` `(` $ffn `)`
    attr-dict `:` type($hidden) `,` type($tokens)
  }];
}

def MoE_LmLossOp : MoE_Op<"lm_loss", [
    HasParent<"ModelOp">, Pure]> {
  let summary = "output head and loss of a language model";
  let description = [{
    RMS norm, projection to the vocabulary, and the mean cross entropy with the
    labels. `tied` uses the embedding table as the projection. The values of
    `mtp`, in order, predict the label 1, 2, ... positions further; they share
    the head.

    Example:

    ```mlir
    %loss = moe.lm_loss %x, %labels
        : (tensor<?x2048xbf16>, tensor<?xi32>) -> tensor<1xf32>
    ```
  }];
  let arguments = (ins MoE_Hidden:$hidden, MoE_Tokens:$labels,
                       Variadic<MoE_Hidden>:$mtp,
                       DefaultValuedAttr<BoolAttr, "false">:$tied);
  let results = (outs MoE_SumVector:$loss);
  let assemblyFormat = [{
    $hidden `,` $labels (`mtp` `(` $mtp^ `)`)? attr-dict
    `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

} // MoE_ModelGroup

let opDocGroup = MoE_StructureGroup in {

def MoE_ParameterOp : MoE_Op<"parameter", [Symbol,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a parameter, as one rank holds it";
  let description = [{
    The type is that of the local shard. `replication` says which ranks hold the
    same bytes and hence sum their gradients: `dense`, all expert- and
    data-parallel ranks of the stage; `expert`, the data-parallel ranks that own
    the same experts, which are sharded along dimension 0. A parameter that is
    not `trainable` has no gradient and no optimizer state; without `decay`,
    weight decay leaves it alone. `tied_to` names the parameter that this one
    is a copy of, for another stage: both start equal and are updated by the sum
    of their gradients.

    Example:

    ```mlir
    moe.parameter @layers.3.q_proj : tensor<4096x2048xbf16> dense
        #moe.initializer<normal, 0.02>
    moe.parameter @layers.3.input_norm : tensor<2048xbf16> dense
        #moe.initializer<ones> {decay = false}
    ```
  }];
  let arguments = (ins
    SymbolNameAttr:$sym_name,
    TypeAttrOf<StaticShapeTensorOf<[BF16, F32, F64]>>:$type,
    MoE_ReplicationAttr:$replication,
    MoE_InitializerAttr:$initializer,
    DefaultValuedAttr<BoolAttr, "true">:$trainable,
    DefaultValuedAttr<BoolAttr, "true">:$decay,
    OptionalAttr<FlatSymbolRefAttr>:$tied_to);
  let assemblyFormat = [{
    $sym_name `:` $type `` $replication qualified($initializer) attr-dict
  }];
  let hasVerifier = 1;
}

def MoE_BlockOp : MoE_Op<"block", [
    IsolatedFromAbove, Symbol,
    DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "the smallest part of a model that a stage can hold";
  let description = [{
    Three programs over Level B ops, each a region with at most one block:

    - `forward` takes the block's `inputs` and yields its `outputs`, and the
      values that backward needs as `saved`.
    - `backward` takes the gradients of the outputs with role `hidden`, then
      forward's saved values; yields the gradients of the inputs with role
      `hidden`, and the values that the weight gradient needs as `saved`.
      A `detached` block yields no gradients: nothing before it is trained.
    - `weight_grad` takes backward's saved values and yields nothing.

    A region may be empty before differentiation has filled it, and where no
    value of the block needs a gradient; a weight gradient needs a backward
    region. Roles are `hidden`, `tokens`, `labels` (the tokens
    one position later), `labels_2` (two), ... and, of outputs only, `loss`. A loss has no incoming gradient: differentiation starts
    there.

    Example:

    ```mlir
    moe.block @layers.3.norm decoder inputs(hidden) outputs(hidden)
    forward(%x: tensor<8x16xbf16>) {
      %y, %inverse = moe.rms_norm %x, @w epsilon 1.0e-06
          : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
      moe.yield %y : tensor<8x16xbf16>
          saved(%x, %inverse : tensor<8x16xbf16>, tensor<8x1xf32>)
    }
    ```
  }];
  let arguments = (ins
    SymbolNameAttr:$sym_name,
    MoE_BlockKindAttr:$kind,
    StrArrayAttr:$inputs,
    StrArrayAttr:$outputs,
    UnitAttr:$detached);
  let regions = (region MaxSizedRegion<1>:$forward,
                        MaxSizedRegion<1>:$backward,
                        MaxSizedRegion<1>:$weight_grad);
  let assemblyFormat = [{
    $sym_name `` $kind `inputs` `` custom<Roles>($inputs)
    `outputs` `` custom<Roles>($outputs) (`detached` $detached^)?
    attr-dict-with-keyword
    `` custom<Programs>($forward, $backward, $weight_grad)
  }];
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$name, "::moe::BlockKind":$kind,
                   "::llvm::ArrayRef<::llvm::StringRef>":$inputs,
                   "::llvm::ArrayRef<::llvm::StringRef>":$outputs)>,
  ];
  let hasRegionVerifier = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The terminator of a region; null when the region is empty.
    static ::moe::YieldOp getYield(::mlir::Region &region);
    /// Positions of a role among the inputs or outputs.
    static ::llvm::SmallVector<unsigned> getPositions(::mlir::ArrayAttr roles,
                                                      ::llvm::StringRef role);
  }];
}

def MoE_YieldOp : MoE_Op<"yield", [
    Pure, Terminator, ParentOneOf<["ModelOp", "BlockOp"]>,
    AttrSizedOperandSegments]> {
  let summary = "ends a program: its results and what it saves";
  let description = [{
    `results` leave the block; `saved` goes to the next program of the same
    block and microbatch. A value may be both.

    Example:

    ```mlir
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$results, Variadic<AnyType>:$saved);
  let assemblyFormat = [{
    ($results^ `:` type($results))?
    (`saved` `(` $saved^ `:` type($saved) `)`)? attr-dict
  }];
}

} // MoE_StructureGroup

#endif // MOE_DIALECTS_MOE_IR_MOEMODELOPS_TD
