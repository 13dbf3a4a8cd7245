//===- MoEBackwardOps.td - gradients for inputs ---------------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEBACKWARDOPS_TD
#define MOE_DIALECTS_MOE_IR_MOEBACKWARDOPS_TD

include "dialects/MoE/IR/MoEKernelBase.td"

def MoE_BackwardGroup : OpDocGroup {
  let summary = "Level B: gradients of inputs";
  let description = [{
    What backward programs are made of, besides ops of the forward group that
    they replay. `d_x` is the gradient of the loss by `x`.
  }];
}

let opDocGroup = MoE_BackwardGroup in {

def MoE_RmsNormInputGradOp : MoE_PureOp<"rms_norm_input_grad",
    [InferTypeOpAdaptor], MoE_Parameters> {
  let summary = "gradient of rms_norm by its input";
  let description = [{
    Uses the norm's input and `inverse`; with `g = weight * d_out`, part by part,
    `d_x = inverse * (g - x * inverse^2 * mean(g * x))`.

    Example:

    ```mlir
    %d_x = moe.rms_norm_input_grad %d_y, %x, %inverse, @layers.3.input_norm
        : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>)
        -> tensor<8x16xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_out, MoE_Matrix:$x, MoE_SumMatrix:$inverse,
                       FlatSymbolRefAttr:$weight,
                       DefaultValuedAttr<MoE_CountAttr, "1">:$groups);
  let results = (outs MoE_Matrix:$d_x);
  let assemblyFormat = !strconcat(
      "$d_out `,` $x `,` $inverse `,` $weight "
      "(`groups` $groups^)?",
      MoE_FunctionalType);
}

def MoE_LinearInputGradOp : MoE_PureOp<"linear_input_grad", [],
                                       MoE_Parameters> {
  let summary = "gradient of linear by its input";
  let description = [{
    `d_x = d_out weight`, of type `S`; `d_out` may be of type `A`, as the gradient
    of router logits is.

    Example:

    ```mlir
    %d_x = moe.linear_input_grad %d_q, @layers.3.q_proj
        : (tensor<8x32xbf16>) -> tensor<8x16xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_out, FlatSymbolRefAttr:$weight);
  let results = (outs MoE_Matrix:$d_x);
  let assemblyFormat = !strconcat(
      "$d_out `,` $weight",
      MoE_FunctionalType);
  let hasVerifier = 1;
}

def MoE_RopeInputGradOp : MoE_PureOp<"rope_input_grad",
                                     [SameOperandsAndResultType]> {
  let summary = "gradient of rope by its input";
  let description = [{
    Rotates by the negative angles; attributes as `moe.rope`.

    Example:

    ```mlir
    %d_q = moe.rope_input_grad %d_r heads 2 sequence 4 rotary <dim = 16>
        : tensor<8x32xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_out, MoE_CountAttr:$heads,
                       MoE_CountAttr:$sequence_length, MoE_RotaryAttr:$rotary);
  let results = (outs MoE_Matrix:$d_x);
  let assemblyFormat = [{
    $d_out `heads` $heads `sequence` $sequence_length `rotary` $rotary
    attr-dict `:` type($d_out)
  }];
  let hasVerifier = 1;
}

def MoE_MlaKeyInputGradOp : MoE_PureOp<"mla_key_input_grad",
                                       [InferTypeOpAdaptor]> {
  let summary = "gradient of mla_key by its inputs";
  let description = [{
    `d_nope` copies the columns that were copied; `d_pe` is the sum over heads of
    the rotated columns, rotated back. Attributes as `moe.mla_key`.

    Example:

    ```mlir
    %d_nope, %d_pe = moe.mla_key_input_grad %d_key heads 2 sequence 4
        rotary <dim = 4>
        : (tensor<8x24xbf16>) -> (tensor<8x16xbf16>, tensor<8x4xbf16>)
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_key, MoE_CountAttr:$heads,
                       MoE_CountAttr:$sequence_length, MoE_RotaryAttr:$rotary);
  let results = (outs MoE_Matrix:$d_nope, MoE_Matrix:$d_pe);
  let assemblyFormat = !strconcat(
      "$d_key `heads` $heads `sequence` $sequence_length "
      "`rotary` $rotary",
      MoE_FunctionalType);
}

def MoE_AttentionInputGradOp : MoE_PureOp<"attention_input_grad",
    [InferTypeOpAdaptor], [], ["getScratch"]> {
  let summary = "gradient of attention by queries, keys and values";
  let description = [{
    Computes the softmax again from `q`, `k` and `log_sum_exp`; sinks need no
    mention, their share is in `log_sum_exp`. Attributes as `moe.attention`.

    Memory: the row sums of `d_out * out`, one number of type `A` a head and row,
    in scratch.

    Example:

    ```mlir
    %d_q, %d_k, %d_v = moe.attention_input_grad %d_out, %q, %k, %v, %out, %lse
        heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
        : (tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<8x16xbf16>,
           tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>)
        -> (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
    ```
  }];
  let arguments = !con((ins MoE_Matrix:$d_out, MoE_Matrix:$q, MoE_Matrix:$k,
                            MoE_Matrix:$v, MoE_Matrix:$out,
                            MoE_SumMatrix:$log_sum_exp),
                       MoE_AttentionGeometry);
  let results = (outs MoE_Matrix:$d_q, MoE_Matrix:$d_k, MoE_Matrix:$d_v);
  let assemblyFormat = !strconcat(
      "$d_out `,` $q `,` $k `,` $v `,` $out `,` $log_sum_exp",
      MoE_AttentionFormat);
}

def MoE_RouteInputGradOp : MoE_PureOp<"route_input_grad", [],
                                      MoE_OptionalInputs> {
  let summary = "gradient of route by the logits";
  let description = [{
    Zero for experts that were not chosen when `normalize` holds; through the
    whole softmax otherwise. `scores` is present when the forward op has it.
    Attributes as `moe.route`; the correction bias has no gradient.

    Example:

    ```mlir
    %d_logits = moe.route_input_grad %d_probabilities, %probabilities, %experts
        routing <top_k = 2, scoring = softmax, normalize = true>
        : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
    ```
  }];
  let arguments = (ins MoE_SumMatrix:$d_probabilities,
                       MoE_SumMatrix:$probabilities, MoE_IndexMatrix:$experts,
                       Optional<MoE_SumMatrix>:$scores,
                       MoE_RoutingAttr:$routing);
  let results = (outs MoE_SumMatrix:$d_logits);
  let assemblyFormat = !strconcat(
      "$d_probabilities `,` $probabilities `,` $experts "
      "(`scores` $scores^)? `routing` $routing",
      MoE_FunctionalType);
  let hasVerifier = 1;
}

def MoE_DispatchInputGradOp : MoE_ExchangeOp<"dispatch_input_grad", []> {
  let summary = "gradient of dispatch by rows and probabilities";
  let description = [{
    Sends the gradients of rows back to their tokens, where the `top_k` of each
    are added in order of the choices, and the gradients of row probabilities
    back to their places. Attributes as `moe.dispatch`.

    Memory: scratch of `T * k` rows and as many numbers.

    Example:

    ```mlir
    %d_x, %d_p = moe.dispatch_input_grad %d_rows, %d_row_probabilities, %handle
        top_k 2 experts 4 ranks 2 capacity 20
        : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>,
           !moe.handle<tokens = 8, top_k = 2, experts = 4>)
        -> (tensor<8x16xbf16>, tensor<8x2xf32>)
    ```
  }];
  let arguments = !con((ins MoE_Rows:$d_rows,
                            MoE_RowScalars:$d_row_probabilities,
                            MoE_HandleType:$handle), MoE_ExchangeGeometry);
  let results = (outs MoE_Matrix:$d_x, MoE_SumMatrix:$d_probabilities);
  let assemblyFormat = !strconcat(
      "$d_rows `,` $d_row_probabilities `,` $handle",
      MoE_ExchangeFormat);
}

def MoE_GroupedLinearInputGradOp : MoE_PureOp<"grouped_linear_input_grad", [],
                                              MoE_Parameters> {
  let summary = "gradient of grouped_linear by its rows";
  let description = [{
    `d_x[r] = d_out[r] weight[e]` for row `r` of local expert `e`.

    Example:

    ```mlir
    %d_x = moe.grouped_linear_input_grad %d_h, %counts, @layers.3.experts.gate_up
        : (tensor<?x32xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
    ```
  }];
  let arguments = (ins MoE_Rows:$d_out, MoE_IndexVector:$counts,
                       FlatSymbolRefAttr:$weight);
  let results = (outs MoE_Rows:$d_x);
  let assemblyFormat = !strconcat(
      "$d_out `,` $counts `,` $weight",
      MoE_FunctionalType);
  let hasVerifier = 1;
}

def MoE_GroupedLinearBiasScaleGradOp
    : MoE_PureOp<"grouped_linear_bias_scale_grad", [InferTypeOpAdaptor],
                 MoE_Parameters> {
  let summary = "gradient of grouped_linear by its bias scale";
  let description = [{
    `d_scale[r]` is the product of row `d_out[r]` and the bias of its expert.

    Example:

    ```mlir
    %d_scale = moe.grouped_linear_bias_scale_grad %d_y, %counts,
        @layers.3.experts.down_bias
        : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?xf32, #rows>
    ```
  }];
  let arguments = (ins MoE_Rows:$d_out, MoE_IndexVector:$counts,
                       FlatSymbolRefAttr:$bias);
  let results = (outs MoE_RowScalars:$d_scale);
  let assemblyFormat = !strconcat(
      "$d_out `,` $counts `,` $bias",
      MoE_FunctionalType);
}

def MoE_SwigluInputGradOp : MoE_PureOp<"swiglu_input_grad",
    [InferTypeOpAdaptor, AttrSizedOperandSegments, MoE_Overwrites],
    MoE_OptionalInputs # MoE_OptionalOutputs> {
  let summary = "gradient of swiglu by its input and its row scale";
  let description = [{
    Computes the activation again from `x`. `d_row_scale` is present when
    `row_scale` is. Attributes as `moe.swiglu`. `d_x` may overwrite `x`.

    Example:

    ```mlir
    %d_h, %d_scale = moe.swiglu_input_grad %d_a, %h scale %row_probabilities
        counts %counts activation <>
        : (tensor<?x16xbf16, #rows>, tensor<?x32xbf16, #rows>,
           tensor<?xf32, #rows>, tensor<2xi32>)
        -> (tensor<?x32xbf16, #rows>, tensor<?xf32, #rows>)
    ```
  }];
  let arguments = (ins MoE_AnyMatrix:$d_out, MoE_AnyMatrix:$x,
                       Optional<MoE_AnyScalars>:$row_scale,
                       Optional<MoE_IndexVector>:$counts,
                       MoE_SwigluAttr:$activation);
  let results = (outs MoE_AnyMatrix:$d_x,
                      Optional<MoE_AnyScalars>:$d_row_scale);
  let assemblyFormat = !strconcat(
      "$d_out `,` $x (`scale` $row_scale^)? "
      "(`counts` $counts^)? `activation` $activation",
      MoE_FunctionalType);
}

def MoE_CombineInputGradOp : MoE_ExchangeOp<"combine_input_grad", []> {
  let summary = "gradient of combine by its rows";
  let description = [{
    Sends the gradient of each token to the rows that were added into it: a
    dispatch of `d_out` along the same handle, without probabilities. Attributes
    as `moe.combine`.

    Memory: scratch of `T * k` rows.

    Example:

    ```mlir
    %d_rows = moe.combine_input_grad %d_y, %handle
        top_k 2 experts 4 ranks 2 capacity 20
        : (tensor<8x16xbf16>, !moe.handle<tokens = 8, top_k = 2, experts = 4>)
        -> tensor<?x16xbf16, #rows>
    ```
  }];
  let arguments = !con((ins MoE_Matrix:$d_out, MoE_HandleType:$handle),
                       MoE_ExchangeGeometry);
  let results = (outs MoE_Rows:$d_rows);
  let assemblyFormat = !strconcat(
      "$d_out `,` $handle",
      MoE_ExchangeFormat);
}

def MoE_CrossEntropyInputGradOp : MoE_PureOp<"cross_entropy_input_grad",
                                             [InferTypeOpAdaptor,
                                              MoE_Overwrites]> {
  let summary = "gradient of cross_entropy by the logits";
  let description = [{
    `d_logits = scale * (softmax(logits) - onehot(labels))`, which may overwrite
    `logits`.

    Example:

    ```mlir
    %d_logits = moe.cross_entropy_input_grad %logits, %labels, %lse
        scale 0.125
        : (tensor<8x64xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x64xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$logits, MoE_IndexVector:$labels,
                       MoE_SumVector:$log_sum_exp, MoE_RealAttr:$scale);
  let results = (outs MoE_Matrix:$d_logits);
  let assemblyFormat = !strconcat(
      "$logits `,` $labels `,` $log_sum_exp `scale` custom<Real>($scale)",
      MoE_FunctionalType);
}

} // MoE_BackwardGroup

#endif // MOE_DIALECTS_MOE_IR_MOEBACKWARDOPS_TD
