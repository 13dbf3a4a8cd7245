//===- MoEForwardOps.td - Level B ops of a forward program ----*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEFORWARDOPS_TD
#define MOE_DIALECTS_MOE_IR_MOEFORWARDOPS_TD

include "dialects/MoE/IR/MoEKernelBase.td"

def MoE_ForwardGroup : OpDocGroup {
  let summary = "Level B: forward";
  let description = "What forward programs are made of.";
}

defvar MoE_Differentiable = DeclareOpInterfaceMethods<DifferentiableOpInterface>;
defvar MoE_DifferentiableWithWeights = DeclareOpInterfaceMethods<
    DifferentiableOpInterface, ["buildWeightGradients"]>;

let opDocGroup = MoE_ForwardGroup in {

def MoE_EmbeddingOp : MoE_PureOp<"embedding",
    [MoE_DifferentiableWithWeights], MoE_Parameters> {
  let summary = "look up the rows of tokens in a table";
  let description = [{
    `out[t] = table[tokens[t]]`. The table is `[V, H]`. A token outside
    `[0, V)` is an error of the input data, which the runtime reports.

    The gradient needs the tokens only.

    Example:

    ```mlir
    %x = moe.embedding %tokens, @embedding
        : (tensor<4096xi32>) -> tensor<4096x2048xbf16>
    ```
  }];
  let arguments = (ins MoE_IndexVector:$tokens, FlatSymbolRefAttr:$table);
  let results = (outs MoE_Matrix:$out);
  let assemblyFormat = !strconcat(
      "$tokens `,` $table",
      MoE_FunctionalType);
  let hasVerifier = 1;
}

def MoE_RmsNormOp : MoE_PureOp<"rms_norm",
    [InferTypeOpAdaptor, MoE_DifferentiableWithWeights], MoE_Parameters> {
  let summary = "normalize rows by their root mean square";
  let description = [{
    Each of the `groups` equal parts of a row of width `D` is divided by the root
    of its mean square plus `epsilon`, and multiplied by `weight`, which has
    `D / groups` elements and is shared by the parts. `groups` is the number of
    heads when queries or keys are normalized, else 1. `inverse`, one number a
    part, is the reciprocal root in type `A`.

    The gradient needs `x` and `inverse`, not `out`.

    Example:

    ```mlir
    %y, %inverse = moe.rms_norm %x, @layers.3.input_norm epsilon 1.0e-06
        : (tensor<4096x2048xbf16>)
        -> (tensor<4096x2048xbf16>, tensor<4096x1xf32>)
    ```
  }];
  let arguments = (ins MoE_Matrix:$x, FlatSymbolRefAttr:$weight,
                       MoE_RealAttr:$epsilon,
                       DefaultValuedAttr<MoE_CountAttr, "1">:$groups);
  let results = (outs MoE_Matrix:$out, MoE_SumMatrix:$inverse);
  let assemblyFormat = !strconcat(
      "$x `,` $weight `epsilon` custom<Real>($epsilon) (`groups` $groups^)?",
      MoE_FunctionalType);
}

def MoE_LinearOp : MoE_PureOp<"linear",
    [MoE_DifferentiableWithWeights], MoE_Parameters> {
  let summary = "multiply rows by a matrix";
  let description = [{
    `out = x weight^T + bias`, with `weight` `[N, K]` and `bias` `[N]`. Sums are
    kept in `A`; the result has type `S`, or `A` where rounding would cost
    too much, as for router logits.

    The gradient of `x` needs the weight only; that of the weight needs `x`.

    Example:

    ```mlir
    %q = moe.linear %x, @layers.3.q_proj
        : (tensor<4096x2048xbf16>) -> tensor<4096x4096xbf16>
    %logits = moe.linear %x, @layers.3.router bias @layers.3.router_bias
        : (tensor<4096x2048xbf16>) -> tensor<4096x128xf32>
    ```
  }];
  let arguments = (ins MoE_Matrix:$x, FlatSymbolRefAttr:$weight,
                       OptionalAttr<FlatSymbolRefAttr>:$bias);
  let results = (outs MoE_Matrix:$out);
  let assemblyFormat = !strconcat(
      "$x `,` $weight (`bias` $bias^)?",
      MoE_FunctionalType);
  let hasVerifier = 1;
}

def MoE_RopeOp : MoE_PureOp<"rope",
    [SameOperandsAndResultType, MoE_Differentiable]> {
  let summary = "rotate the columns of heads by position";
  let description = [{
    Rows hold `heads` heads side by side. Of each, the columns that `rotary`
    names are rotated by the angle of the row's position, which is its number
    modulo `sequence_length`; the others are copied.

    The gradient rotates backwards and needs no saved value.

    Example:

    ```mlir
    %r = moe.rope %q heads 32 sequence 4096 rotary <dim = 128>
        : tensor<4096x4096xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$x, MoE_CountAttr:$heads,
                       MoE_CountAttr:$sequence_length, MoE_RotaryAttr:$rotary);
  let results = (outs MoE_Matrix:$out);
  let assemblyFormat = [{
    $x `heads` $heads `sequence` $sequence_length `rotary` $rotary attr-dict
    `:` type($x)
  }];
  let hasVerifier = 1;
}

def MoE_MlaKeyOp : MoE_PureOp<"mla_key",
    [InferTypeOpAdaptor, MoE_Differentiable]> {
  let summary = "join the keys of latent attention";
  let description = [{
    The key of each of the `heads` heads is its own `n` columns of `nope`,
    followed by the rotated columns of `pe`, which all heads share. `rotary`
    covers all of `pe`.

    The gradient needs no saved value.

    Example:

    ```mlir
    %k = moe.mla_key %nope, %pe heads 128 sequence 4096 rotary <dim = 64>
        : (tensor<4096x16384xbf16>, tensor<4096x64xbf16>)
        -> tensor<4096x24576xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$nope, MoE_Matrix:$pe, MoE_CountAttr:$heads,
                       MoE_CountAttr:$sequence_length, MoE_RotaryAttr:$rotary);
  let results = (outs MoE_Matrix:$key);
  let assemblyFormat = !strconcat(
      "$nope `,` $pe `heads` $heads "
      "`sequence` $sequence_length `rotary` $rotary",
      MoE_FunctionalType);
}

def MoE_AttentionOp : MoE_PureOp<"attention",
    [InferTypeOpAdaptor, MoE_DifferentiableWithWeights], MoE_Parameters> {
  let summary = "causal attention over packed sequences";
  let description = [{
    Rows `[i * sequence, (i + 1) * sequence)` form a sequence and attend among
    themselves, each to itself and to earlier rows, or to the `window` latest of
    those when `window` is above 0. Query head `h` uses key and value head
    `h * kv_heads / heads`. Scores are multiplied by `softmax_scale`. `sinks`, one
    logit a head, takes part in the softmax and has no value.

    `log_sum_exp` is the logarithm of the softmax's denominator for each head
    and row, sinks included, in type `A`. The matrix of scores exists in no
    memory. The gradient needs `q`, `k`, `v`, `out` and `log_sum_exp`.

    Example:

    ```mlir
    %out, %lse = moe.attention %q, %k, %v heads 32 kv_heads 4 qk_dim 128
        v_dim 128 sequence 4096 scale 0.08838834764831845
        : (tensor<4096x4096xbf16>, tensor<4096x512xbf16>, tensor<4096x512xbf16>)
        -> (tensor<4096x4096xbf16>, tensor<32x4096xf32>)
    ```
  }];
  let arguments = !con((ins MoE_Matrix:$q, MoE_Matrix:$k, MoE_Matrix:$v,
                            OptionalAttr<FlatSymbolRefAttr>:$sinks),
                       MoE_AttentionGeometry);
  let results = (outs MoE_Matrix:$out, MoE_SumMatrix:$log_sum_exp);
  let assemblyFormat = !strconcat(
      "$q `,` $k `,` $v (`sinks` $sinks^)?",
      MoE_AttentionFormat);
}

def MoE_AddOp : MoE_PureOp<"add",
    [SameOperandsAndResultType, MoE_Differentiable]> {
  let summary = "add two tensors";
  let description = [{
    Elementwise sum of tensors of one type: a residual connection, or two
    contributions to one gradient. Rows beyond those that arrived are undefined
    in tensors with `#moe.rows`, in the sum as in its operands.

    The gradient of both operands is that of the result; no op is needed.

    Example:

    ```mlir
    %y = moe.add %x, %attention_out : tensor<4096x2048xbf16>
    ```
  }];
  let arguments = (ins RankedTensorOf<MoE_StorageTypes>:$a,
                       RankedTensorOf<MoE_StorageTypes>:$b);
  let results = (outs RankedTensorOf<MoE_StorageTypes>:$out);
  let assemblyFormat = "$a `,` $b attr-dict `:` type($a)";
}

def MoE_RouteOp : MoE_KernelOp<"route",
    [Pure, InferTypeOpAdaptor, MoE_Differentiable,
     DeclareOpInterfaceMethods<RecomputableOpInterface, ["isReplayable"]>],
    MoE_Parameters # MoE_OptionalOutputs> {
  let summary = "choose the experts of each token";
  let description = [{
    Chooses `routing.top_k` of the experts of each row of `logits` and weights
    them as `#moe.routing` says; `correction`, one number an expert, is added for
    the choice only. `probabilities` are the weights and `experts` the choices,
    best first.

    `scores` is what the gradient needs besides: all scores, `[T, E]`, for a
    softmax without `normalize`; those of the chosen, `[T, k]`, for a sigmoid;
    absent for a softmax with `normalize`, whose gradient follows from
    `probabilities`.

    Not replayable: a logit that differs by one bit may change a choice, hence
    the shapes of everything behind it. Its results are kept.

    Example:

    ```mlir
    %probabilities, %experts = moe.route %logits
        routing <top_k = 8, scoring = softmax, normalize = true>
        : (tensor<4096x128xf32>) -> (tensor<4096x8xf32>, tensor<4096x8xi32>)
    ```
  }];
  let arguments = (ins MoE_SumMatrix:$logits,
                       OptionalAttr<FlatSymbolRefAttr>:$correction,
                       MoE_RoutingAttr:$routing);
  let results = (outs MoE_SumMatrix:$probabilities, MoE_IndexMatrix:$experts,
                      Optional<MoE_SumMatrix>:$scores);
  let assemblyFormat = !strconcat(
      "$logits (`correction` $correction^)? "
      "`routing` $routing",
      MoE_FunctionalType);
}

def MoE_DispatchOp : MoE_ExchangeOp<"dispatch", [MoE_Differentiable]> {
  let summary = "send each token to the ranks that own its experts";
  let description = [{
    Sends row `x[t]` and `probabilities[t, j]` to the rank that owns expert
    `chosen[t, j]`, once for each of the `top_k` choices. Rank `q` of `ranks` owns
    the experts `[q * L, (q + 1) * L)`. What arrives lies grouped by local
    expert, inside an expert by source rank, inside a source in its send order;
    `counts` says how many rows each local expert got. Rows behind their sum are
    undefined. When more than `capacity` rows arrive, the step ends on every rank
    with an error.

    Memory: `rows` and `row_probabilities` are planned at `capacity` rows. Rows in
    send order are staged in scratch, `T * k` rows and as many numbers. The
    result never lies in the bytes of `x`, not even on a single rank: rows are
    permuted and repeated. The handle is a value with one owner.

    Replayable, with a new handle: the copies of the ops behind the replay use
    the new one, and each handle has its own release.

    `groups` and `top_groups` repeat the rule of `moe.route`: how many ranks a
    token reaches, hence the cost, depends on them; the result does not.

    The gradient needs the handle only.

    Example:

    ```mlir
    %rows, %row_probabilities, %counts, %handle = moe.dispatch %x,
        %probabilities, %chosen top_k 8 experts 128 ranks 8 capacity 40960
        : (tensor<4096x2048xbf16>, tensor<4096x8xf32>, tensor<4096x8xi32>)
        -> (tensor<?x2048xbf16, #rows>, tensor<?xf32, #rows>, tensor<16xi32>,
            !moe.handle<tokens = 4096, top_k = 8, experts = 128>)
    ```
  }];
  let arguments = !con((ins MoE_Matrix:$x, MoE_SumMatrix:$probabilities,
                            MoE_IndexMatrix:$chosen), MoE_ExchangeGeometry);
  let results = (outs MoE_Rows:$rows, MoE_RowScalars:$row_probabilities,
                      MoE_IndexVector:$counts,
                      Res<MoE_HandleType, "", [MemAlloc]>:$handle);
  let assemblyFormat = !strconcat(
      "$x `,` $probabilities `,` $chosen ",
      MoE_ExchangeFormat);
}

def MoE_GroupedLinearOp : MoE_PureOp<"grouped_linear",
    [MoE_DifferentiableWithWeights],
    MoE_Parameters # MoE_OptionalInputs> {
  let summary = "multiply the rows of each expert by its matrix";
  let description = [{
    Row `r` of local expert `e` becomes `x[r] weight[e]^T + bias_scale[r] bias[e]`,
    with `weight` `[L, N, K]` and `bias` `[L, N]`; `bias_scale` is 1 where it is
    absent. Rows behind the sum of `counts` are neither read nor written, here
    and in every op that takes counts.

    `bias_scale` is how an expert's output bias takes part in the weighting by
    router probabilities when these were multiplied in before (see `moe.swiglu`).

    The gradient of `x` needs the counts and the weight, that of the weight `x`.

    Example:

    ```mlir
    %h = moe.grouped_linear %rows, %counts, @layers.3.experts.gate_up
        : (tensor<?x2048xbf16, #rows>, tensor<16xi32>)
        -> tensor<?x1536xbf16, #rows>
    ```
  }];
  let arguments = (ins MoE_Rows:$x, MoE_IndexVector:$counts,
                       Optional<MoE_RowScalars>:$bias_scale,
                       FlatSymbolRefAttr:$weight,
                       OptionalAttr<FlatSymbolRefAttr>:$bias);
  let results = (outs MoE_Rows:$out);
  let assemblyFormat = !strconcat(
      "$x `,` $counts `,` $weight (`bias` $bias^)? "
      "(`scale` $bias_scale^)?",
      MoE_FunctionalType);
  let hasVerifier = 1;
}

def MoE_SwigluOp : MoE_PureOp<"swiglu",
    [InferTypeOpAdaptor, AttrSizedOperandSegments, MoE_Differentiable],
    MoE_OptionalInputs> {
  let summary = "gated activation";
  let description = [{
    The first half of a row is the gate, the second what it lets through (see
    `#moe.swiglu`); the result of row `r` is multiplied by `row_scale[r]`. In a
    mixture of experts the scale is the router probability: applied here, the
    combine adds rows as they are, and neither the experts' outputs nor the
    probabilities are needed again behind it. `counts` limits the rows.

    The gradient needs `x`, `row_scale` and `counts`, not `out`.

    Example:

    ```mlir
    %a = moe.swiglu %h scale %row_probabilities counts %counts activation <>
        : (tensor<?x1536xbf16, #rows>, tensor<?xf32, #rows>, tensor<16xi32>)
        -> tensor<?x768xbf16, #rows>
    ```
  }];
  let arguments = (ins MoE_AnyMatrix:$x, Optional<MoE_AnyScalars>:$row_scale,
                       Optional<MoE_IndexVector>:$counts,
                       MoE_SwigluAttr:$activation);
  let results = (outs MoE_AnyMatrix:$out);
  let assemblyFormat = !strconcat(
      "$x (`scale` $row_scale^)? (`counts` $counts^)? "
      "`activation` $activation",
      MoE_FunctionalType);
}

def MoE_CombineOp : MoE_ExchangeOp<"combine", [MoE_Differentiable]> {
  let summary = "bring rows back to their tokens and add them";
  let description = [{
    The way back of the dispatch that made `handle`: every row returns to the rank
    and token that it came from, and `out[t]` is the sum of the `top_k` rows of
    token `t`, in the order of the choices. Router probabilities take no part
    here; they are in the rows already.

    Memory: returned rows are staged in scratch, `T * k` rows. The gradient needs
    the handle only.

    Example:

    ```mlir
    %y = moe.combine %rows, %handle top_k 8 experts 128 ranks 8 capacity 40960
        : (tensor<?x2048xbf16, #rows>,
           !moe.handle<tokens = 4096, top_k = 8, experts = 128>)
        -> tensor<4096x2048xbf16>
    ```
  }];
  let arguments = !con((ins MoE_Rows:$rows, MoE_HandleType:$handle), MoE_ExchangeGeometry);
  let results = (outs MoE_Matrix:$out);
  let assemblyFormat = !strconcat(
      "$rows `,` $handle ",
      MoE_ExchangeFormat);
}

def MoE_CrossEntropyOp : MoE_PureOp<"cross_entropy",
    [InferTypeOpAdaptor, DeclareOpInterfaceMethods<DifferentiableOpInterface,
                                                   ["isSeed"]>]> {
  let summary = "mean loss of predicting labels";
  let description = [{
    `loss` is the mean over rows of the negative logarithm of the softmax of
    `logits` at the label, times `weight` (1 where absent). `log_sum_exp` is the
    logarithm of the softmax's denominator of each row. Both have type `A`.

    Differentiation starts here: `grad_scale` is the weight of a row in the loss
    of the whole step, `weight / (T * microbatches * data-parallel ranks)`. The
    gradient needs the logits, the labels and `log_sum_exp`.

    Example:

    ```mlir
    %loss, %lse = moe.cross_entropy %logits, %labels grad_scale 1.0e-05
        : (tensor<4096x151936xbf16>, tensor<4096xi32>)
        -> (tensor<1xf32>, tensor<4096xf32>)
    ```
  }];
  let arguments = (ins MoE_Matrix:$logits, MoE_IndexVector:$labels,
                       OptionalAttr<MoE_RealAttr>:$weight,
                       OptionalAttr<MoE_RealAttr>:$grad_scale);
  let results = (outs MoE_SumVector:$loss, MoE_SumVector:$log_sum_exp);
  let assemblyFormat = !strconcat(
      "$logits `,` $labels (`weight` custom<Real>($weight)^)? ",
      "(`grad_scale` custom<Real>($grad_scale)^)?", MoE_FunctionalType);
}

} // MoE_ForwardGroup

#endif // MOE_DIALECTS_MOE_IR_MOEFORWARDOPS_TD
