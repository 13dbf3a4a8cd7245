//===- MoEAttrs.td - attributes of the moe dialect ------------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEATTRS_TD
#define MOE_DIALECTS_MOE_IR_MOEATTRS_TD

include "mlir/IR/TensorEncoding.td"
include "dialects/MoE/IR/MoEBase.td"

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

/// A number that may be left out when it has its usual value.
class MoE_Int<string default> : DefaultValuedParameter<"int64_t", default>;

/// `true` or `false`.
class MoE_Bool<string default> : DefaultValuedParameter<"bool", default> {
  let parser = "::moe::detail::parseBool($_parser)";
  let printer = "::moe::detail::printBool($_printer, $_self)";
}

/// A real number; printed with as few digits as give the same number back.
class MoE_Real<string default = "">
    : AttrOrTypeParameter<"::moe::detail::Real", "", "double"> {
  let defaultValue = default;
  let parser = "::moe::detail::parseReal($_parser)";
  let printer = "::moe::detail::printReal($_printer.getStream(), $_self)";
}

class MoE_Choice<EnumInfo enum, string default> : EnumParameter<enum> {
  let defaultValue = enum.cppNamespace # "::" # enum.className # "::" # default;
}

class MoE_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<MoE_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

//===----------------------------------------------------------------------===//
// Attributes of types and parameters
//===----------------------------------------------------------------------===//

def MoE_RowsAttr : MoE_Attr<"Rows", "rows",
    [DeclareAttrInterfaceMethods<VerifiableTensorEncoding>]> {
  let summary = "how many rows a tensor behind a dispatch has";
  let description = [{
    Encoding of a tensor whose leading dimension depends on routing, hence is
    dynamic; all others are static. Memory is planned for `capacity` rows and
    time for the `balanced` number, which is what arrives when every expert is
    chosen equally often. More than `capacity` rows end the step with an error.

    ```mlir
    tensor<?x2048xbf16, #moe.rows<balanced = 32768, capacity = 40960>>
    ```
  }];
  let parameters = (ins "int64_t":$balanced, "int64_t":$capacity);
  let genMnemonicAlias = 1;
}

def MoE_InitializerAttr : MoE_Attr<"Initializer", "initializer"> {
  let summary = "how a parameter is made at the start of training";
  let description = [{
    `normal` draws from a normal distribution with mean 0 and the given standard
    deviation.

    ```mlir
    #moe.initializer<normal, 0.02>
    #moe.initializer<zeros>
    ```
  }];
  let parameters = (ins
    EnumParameter<MoE_InitializerKind>:$kind,
    MoE_Real<"::moe::detail::Real(0)">:$standard_deviation);
  let assemblyFormat = "`<` $kind (`,` $standard_deviation^)? `>`";
}

//===----------------------------------------------------------------------===//
// Attributes of layers and kernels
//===----------------------------------------------------------------------===//

def MoE_RotaryAttr : MoE_Attr<"Rotary", "rotary"> {
  let summary = "rotary position embedding";
  let description = [{
    Of each head, the `dim` columns from `begin` on are rotated by an angle that
    grows with the position of the row in its sequence; the frequencies are
    powers of `theta`. Pairs are columns (i, i + dim/2), or (2i, 2i + 1) when
    `interleaved`. `yarn_factor` above 1 selects YaRN (arXiv 2309.00071), with
    the correction range rounded to integers when `yarn_truncate`.
    `attention_scale` multiplies cosine and sine.

    ```mlir
    #moe.rotary<dim = 128, theta = 1000000.0>
    ```
  }];
  let parameters = (ins
    MoE_Int<"0">:$begin,
    "int64_t":$dim,
    MoE_Bool<"false">:$interleaved,
    MoE_Real<"::moe::detail::Real(10000)">:$theta,
    MoE_Real<"::moe::detail::Real(1)">:$yarn_factor,
    MoE_Int<"0">:$yarn_original_length,
    MoE_Real<"::moe::detail::Real(32)">:$yarn_beta_fast,
    MoE_Real<"::moe::detail::Real(1)">:$yarn_beta_slow,
    MoE_Bool<"true">:$yarn_truncate,
    MoE_Real<"::moe::detail::Real(1)">:$attention_scale);
}

def MoE_RoutingAttr : MoE_Attr<"Routing", "routing"> {
  let summary = "how a token's experts are chosen and weighted";
  let description = [{
    Scores are the softmax over all experts, or the sigmoid of each logit.
    Selection adds the correction bias, where there is one; the weights of the
    chosen experts do not. With several `groups` of experts, first the
    `top_groups` best are kept, rated by their best selection score (`maximum`)
    or by the sum of their two best (`top2_sum`). `normalize` divides the weights
    by their sum; `scale` multiplies them afterwards. Ties go to the lower
    expert.

    ```mlir
    #moe.routing<top_k = 8, scoring = softmax, normalize = true>
    ```
  }];
  let parameters = (ins
    "int64_t":$top_k,
    EnumParameter<MoE_Scoring>:$scoring,
    MoE_Bool<"false">:$normalize,
    MoE_Int<"1">:$groups,
    MoE_Int<"1">:$top_groups,
    MoE_Choice<MoE_GroupScore, "maximum">:$group_score,
    MoE_Real<"::moe::detail::Real(1)">:$scale);
}

def MoE_SwigluAttr : MoE_Attr<"Swiglu", "swiglu"> {
  let summary = "gated activation of a feed-forward network";
  let description = [{
    Of a row, the first half is `gate` and the second `up`. With `limit` above
    zero, gate is cut off above it and up on both sides. The result is
    `gate * sigmoid(alpha * gate) * (up + up_offset)`.

    ```mlir
    #moe.swiglu<>
    #moe.swiglu<limit = 7.0, alpha = 1.702, up_offset = 1.0>
    ```
  }];
  let parameters = (ins
    MoE_Real<"::moe::detail::Real(0)">:$limit,
    MoE_Real<"::moe::detail::Real(1)">:$alpha,
    MoE_Real<"::moe::detail::Real(0)">:$up_offset);
}

def MoE_GqaAttr : MoE_Attr<"Gqa", "gqa"> {
  let summary = "grouped-query attention of a layer";
  let description = [{
    `heads` query heads share `kv_heads` key and value heads. `qk_norm` is an RMS
    norm of queries and keys before the rotation, of each head or of the full
    row. `sinks` adds a learned logit to each head that takes probability and
    has no value. `window` above zero lets a position see that many latest
    positions, its own included.

    ```mlir
    #moe.gqa<heads = 32, kv_heads = 4, head_dim = 128, qk_norm = head,
             softmax_scale = 0.08838834764831845,
             rotary = #moe.rotary<dim = 128, theta = 1000000.0>>
    ```
  }];
  let parameters = (ins
    "int64_t":$heads, "int64_t":$kv_heads, "int64_t":$head_dim,
    MoE_Bool<"false">:$qkv_bias, MoE_Bool<"false">:$out_bias,
    MoE_Choice<MoE_QKNorm, "none">:$qk_norm,
    MoE_Bool<"false">:$sinks,
    MoE_Int<"0">:$window,
    MoE_Real<>:$softmax_scale,
    "::moe::RotaryAttr":$rotary);
  let genMnemonicAlias = 1;
}

def MoE_MlaAttr : MoE_Attr<"Mla", "mla"> {
  let summary = "multi-head latent attention of a layer";
  let description = [{
    Keys and values come from a latent row of `kv_lora_rank` columns and one
    rotated key of `rope_dim` columns that all heads share; queries from a latent
    row of `q_lora_rank` columns, or straight from the hidden row when it is 0.
    Per head, queries and keys have `nope_dim + rope_dim` columns and values
    `v_dim`. `rotary.begin` counts inside the `rope_dim` columns and is 0.

    ```mlir
    #moe.mla<heads = 128, q_lora_rank = 1536, kv_lora_rank = 512,
             nope_dim = 128, rope_dim = 64, v_dim = 128,
             softmax_scale = 0.1147213867929261,
             rotary = #moe.rotary<dim = 64, interleaved = true>>
    ```
  }];
  let parameters = (ins
    "int64_t":$heads, MoE_Int<"0">:$q_lora_rank, "int64_t":$kv_lora_rank,
    "int64_t":$nope_dim, "int64_t":$rope_dim, "int64_t":$v_dim,
    MoE_Real<>:$softmax_scale,
    "::moe::RotaryAttr":$rotary);
  let genMnemonicAlias = 1;
}

def MoE_DenseAttr : MoE_Attr<"Dense", "dense"> {
  let summary = "dense feed-forward network of a layer";
  let description = [{
    A gated network of `intermediate` columns, activated by `#moe.swiglu<>`.

    ```mlir
    #moe.dense<intermediate = 18432>
    ```
  }];
  let parameters = (ins "int64_t":$intermediate);
}

def MoE_ExpertsAttr : MoE_Attr<"Experts", "experts"> {
  let summary = "mixture of experts of a layer";
  let description = [{
    `count` experts of `intermediate` columns each, and a dense network of
    `shared_intermediate` columns that every token passes when it is not 0.

    ```mlir
    #moe.experts<count = 128, intermediate = 768,
                 routing = #moe.routing<top_k = 8, scoring = softmax,
                                        normalize = true>>
    ```
  }];
  let parameters = (ins
    "int64_t":$count, "int64_t":$intermediate,
    MoE_Int<"0">:$shared_intermediate,
    "::moe::RoutingAttr":$routing,
    MoE_Bool<"false">:$correction_bias,
    MoE_Bool<"false">:$router_bias,
    MoE_Bool<"false">:$expert_bias,
    DefaultValuedParameter<"::moe::SwigluAttr",
                           "::moe::SwigluAttr::get($_ctxt, 0, 1, 0)">:$activation);
  let genMnemonicAlias = 1;
}

#endif // MOE_DIALECTS_MOE_IR_MOEATTRS_TD
