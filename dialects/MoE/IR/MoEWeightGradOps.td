//===- MoEWeightGradOps.td - gradients for parameters ---------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEWEIGHTGRADOPS_TD
#define MOE_DIALECTS_MOE_IR_MOEWEIGHTGRADOPS_TD

include "dialects/MoE/IR/MoEKernelBase.td"

def MoE_WeightGradGroup : OpDocGroup {
  let summary = "Level B: gradients of parameters";
  let description = [{
    What weight-gradient programs are made of. Each op adds to the gradient
    buffers of the parameters that it names (type `A`) and has no result. They
    are never removed, merged or run twice.
  }];
}

let opDocGroup = MoE_WeightGradGroup in {

def MoE_EmbeddingWeightGradOp : MoE_WeightGradOp<"embedding_weight_grad", []> {
  let summary = "gradient of an embedding table";
  let description = [{
    Adds row `t` of `d_out` to row `tokens[t]`, in the order of `t`.

    Example:

    ```mlir
    moe.embedding_weight_grad %d_x, %tokens, @embedding
        : tensor<8x16xbf16>, tensor<8xi32>
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_out, MoE_IndexVector:$tokens,
                       FlatSymbolRefAttr:$table);
  let assemblyFormat = [{
    $d_out `,` $tokens `,` $table attr-dict `:` type(operands)
  }];
}

def MoE_RmsNormWeightGradOp : MoE_WeightGradOp<"rms_norm_weight_grad", []> {
  let summary = "gradient of the weight of an rms_norm";
  let description = [{
    Adds the sum over rows and parts of `d_out * x * inverse`.

    Example:

    ```mlir
    moe.rms_norm_weight_grad %d_y, %x, %inverse, @layers.3.input_norm
        : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_out, MoE_Matrix:$x, MoE_SumMatrix:$inverse,
                       FlatSymbolRefAttr:$weight,
                       DefaultValuedAttr<MoE_CountAttr, "1">:$groups);
  let assemblyFormat = [{
    $d_out `,` $x `,` $inverse `,` $weight (`groups` $groups^)? attr-dict
    `:` type(operands)
  }];
}

def MoE_LinearWeightGradOp : MoE_WeightGradOp<"linear_weight_grad", []> {
  let summary = "gradient of the weight and the bias of a linear";
  let description = [{
    Adds `d_out^T x` to the weight's gradient and the column sums of `d_out` to
    the bias's. `d_out` may be of type `A`.

    Example:

    ```mlir
    moe.linear_weight_grad %d_q, %x, @layers.3.q_proj
        : tensor<8x32xbf16>, tensor<8x16xbf16>
    ```
  }];
  let arguments = (ins MoE_Matrix:$d_out, MoE_Matrix:$x,
                       FlatSymbolRefAttr:$weight,
                       OptionalAttr<FlatSymbolRefAttr>:$bias);
  let assemblyFormat = [{
    $d_out `,` $x `,` $weight (`bias` $bias^)? attr-dict `:` type(operands)
  }];
}

def MoE_GroupedLinearWeightGradOp
    : MoE_WeightGradOp<"grouped_linear_weight_grad", [], MoE_OptionalInputs> {
  let summary = "gradient of the weight and the bias of a grouped_linear";
  let description = [{
    For each local expert, adds `d_out^T x` over its rows to its part of the
    weight's gradient, and the sum of `bias_scale * d_out` to the bias's.

    Example:

    ```mlir
    moe.grouped_linear_weight_grad %d_h, %rows, %counts,
        @layers.3.experts.gate_up
        : tensor<?x32xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<2xi32>
    ```
  }];
  let arguments = (ins MoE_Rows:$d_out, MoE_Rows:$x, MoE_IndexVector:$counts,
                       Optional<MoE_RowScalars>:$bias_scale,
                       FlatSymbolRefAttr:$weight,
                       OptionalAttr<FlatSymbolRefAttr>:$bias);
  let assemblyFormat = [{
    $d_out `,` $x `,` $counts `,` $weight (`bias` $bias^)?
    (`scale` $bias_scale^)? attr-dict `:` type(operands)
  }];
}

def MoE_AttentionSinkGradOp : MoE_WeightGradOp<"attention_sink_grad", []> {
  let summary = "gradient of attention sinks";
  let description = [{
    Adds `-sum_t exp(sink - log_sum_exp) * (d_out . out)`, head by head.
    Attributes as `moe.attention`.

    Example:

    ```mlir
    moe.attention_sink_grad %d_out, %out, %lse, @layers.3.sinks
        heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
        : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
    ```
  }];
  let arguments = !con((ins MoE_Matrix:$d_out, MoE_Matrix:$out,
                            MoE_SumMatrix:$log_sum_exp,
                            FlatSymbolRefAttr:$sinks),
                       MoE_AttentionGeometry);
  let assemblyFormat = [{
    $d_out `,` $out `,` $log_sum_exp `,` $sinks `heads` $heads
    `kv_heads` $kv_heads `qk_dim` $qk_dim `v_dim` $v_dim
    `sequence` $sequence_length `scale` custom<Real>($softmax_scale) (`window` $window^)?
    attr-dict `:` type(operands)
  }];
}

} // MoE_WeightGradGroup

#endif // MOE_DIALECTS_MOE_IR_MOEWEIGHTGRADOPS_TD
