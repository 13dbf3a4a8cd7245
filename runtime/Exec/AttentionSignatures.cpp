// Rotary embedding and attention.
#include "runtime/Exec/Signature.h"

namespace moe::exec {
namespace {

using Context = CallContext;

int64_t of(const Dimensions &dimensions, std::string_view name) {
  auto found = dimensions.find(name);
  return found == dimensions.end() ? 0 : found->second;
}

AttributeRules rotaryRules() {
  using A = Attributes;
  return {
      {"heads", [](A &a) -> int64_t & { return a.heads; }, 1, "heads"},
      {"sequence_length",
       [](A &a) -> int64_t & { return a.rotary.sequenceLength; }, 1,
       "sequence"},
      {"rotary_begin", [](A &a) -> int64_t & { return a.rotary.begin; }, 0},
      {"rotary_dim", [](A &a) -> int64_t & { return a.rotary.dim; }, 2},
      {"rotary_interleaved",
       [](A &a) -> bool & { return a.rotary.interleaved; }},
      {"rotary_theta", [](A &a) -> double & { return a.rotary.theta; }},
      {"yarn_factor", [](A &a) -> double & { return a.rotary.yarnFactor; }},
      {"yarn_original_length",
       [](A &a) -> double & { return a.rotary.yarnOriginalLength; }},
      {"yarn_beta_fast",
       [](A &a) -> double & { return a.rotary.yarnBetaFast; }},
      {"yarn_beta_slow",
       [](A &a) -> double & { return a.rotary.yarnBetaSlow; }},
      {"yarn_truncate", [](A &a) -> bool & { return a.rotary.yarnTruncate; }},
      {"rotary_scale",
       [](A &a) -> double & { return a.rotary.attentionScale; }},
  };
}

AttributeRules attentionRules() {
  using A = Attributes;
  return {
      {"sequence_length",
       [](A &a) -> int64_t & { return a.attention.sequenceLength; }, 1,
       "sequence"},
      {"heads", [](A &a) -> int64_t & { return a.attention.heads; }, 1,
       "heads"},
      {"kv_heads", [](A &a) -> int64_t & { return a.attention.kvHeads; }, 1,
       "kv_heads"},
      {"qk_dim", [](A &a) -> int64_t & { return a.attention.qkDim; }, 1,
       "qk_dim"},
      {"v_dim", [](A &a) -> int64_t & { return a.attention.vDim; }, 1, "v_dim"},
      {"softmax_scale",
       [](A &a) -> double & { return a.attention.softmaxScale; }},
      {"window", [](A &a) -> int64_t & { return a.attention.window; }, 0},
  };
}

Status checkSequences(const Dimensions &d) {
  int64_t sequence = of(d, "sequence");
  if (sequence > 0 && of(d, "T") % sequence == 0)
    return {};
  return Error{std::to_string(of(d, "T")) +
               " rows are no whole number of sequences of " +
               std::to_string(sequence)};
}

/// The rotated columns lie inside `width` columns of a head, in pairs.
Status checkRotary(const Attributes &a, int64_t width) {
  if (a.rotary.dim % 2 == 0 && a.rotary.begin + a.rotary.dim <= width)
    return {};
  return Error{"rotary_begin " + std::to_string(a.rotary.begin) +
               " and rotary_dim " + std::to_string(a.rotary.dim) +
               " must name pairs of columns within " + std::to_string(width)};
}

Status checkRope(const Dimensions &d, Attributes &a) {
  MOE_RETURN_IF_ERROR(checkSequences(d));
  return checkRotary(a, of(d, "head_dim"));
}

Status checkMlaKey(const Dimensions &d, Attributes &a) {
  MOE_RETURN_IF_ERROR(checkSequences(d));
  if (of(d, "key_dim") != of(d, "n") + of(d, "r"))
    return Error{"a key head has " + std::to_string(of(d, "key_dim")) +
                 " columns, must have " + std::to_string(of(d, "n")) + " + " +
                 std::to_string(of(d, "r"))};
  return checkRotary(a, of(d, "r"));
}

Status checkAttention(const Dimensions &d, Attributes &a) {
  MOE_RETURN_IF_ERROR(checkSequences(d));
  if (a.attention.heads % a.attention.kvHeads == 0)
    return {};
  return Error{"heads " + std::to_string(a.attention.heads) +
               " must be a multiple of kv_heads " +
               std::to_string(a.attention.kvHeads)};
}

/// The row sums that attention_input_grad takes as scratch.
kernels::Tensor rowSums(const Context &c) {
  kernels::Tensor sums = c.inputs[5]; // [heads, T] like log_sum_exp
  sums.data = c.scratch;
  return sums;
}

} // namespace

std::vector<Signature> attentionSignatures() {
  return {
      {.kind = "rope",
       .inputs = {"x s T heads*head_dim"},
       .outputs = {"out s T heads*head_dim"},
       .attributes = rotaryRules(),
       .call =
           [](const Context &c) {
             c.kernels.rope(c.parallel, c.inputs[0], c.attributes.heads,
                            c.attributes.rotary, c.outputs[0]);
             return Status();
           },
       .check = checkRope},
      {.kind = "rope_input_grad",
       .inputs = {"d_out s T heads*head_dim"},
       .outputs = {"d_x s T heads*head_dim"},
       .attributes = rotaryRules(),
       .call =
           [](const Context &c) {
             c.kernels.ropeInputGrad(c.parallel, c.inputs[0],
                                     c.attributes.heads, c.attributes.rotary,
                                     c.outputs[0]);
             return Status();
           },
       .check = checkRope},
      {.kind = "mla_key",
       .inputs = {"nope s T heads*n", "pe s T r"},
       .outputs = {"key s T heads*key_dim"},
       .attributes = rotaryRules(),
       .call =
           [](const Context &c) {
             c.kernels.mlaKey(c.parallel, c.inputs[0], c.inputs[1],
                              c.attributes.heads, c.attributes.rotary,
                              c.outputs[0]);
             return Status();
           },
       .check = checkMlaKey},
      {.kind = "mla_key_input_grad",
       .inputs = {"d_key s T heads*key_dim"},
       .outputs = {"d_nope s T heads*n", "d_pe s T r"},
       .attributes = rotaryRules(),
       .call =
           [](const Context &c) {
             c.kernels.mlaKeyInputGrad(c.parallel, c.inputs[0],
                                       c.attributes.heads, c.attributes.rotary,
                                       c.outputs[0], c.outputs[1]);
             return Status();
           },
       .check = checkMlaKey},
      {.kind = "attention",
       .inputs = {"q s T heads*qk_dim", "k s T kv_heads*qk_dim",
                  "v s T kv_heads*v_dim"},
       .parameters = {"?sinks s heads"},
       .outputs = {"out s T heads*v_dim", "log_sum_exp f heads T"},
       .attributes = attentionRules(),
       .call =
           [](const Context &c) {
             c.kernels.attention(c.parallel, c.inputs[0], c.inputs[1],
                                 c.inputs[2], c.weights[0],
                                 c.attributes.attention, c.outputs[0],
                                 c.outputs[1]);
             return Status();
           },
       .check = checkAttention},
      {.kind = "attention_input_grad",
       .inputs = {"d_out s T heads*v_dim", "q s T heads*qk_dim",
                  "k s T kv_heads*qk_dim", "v s T kv_heads*v_dim",
                  "out s T heads*v_dim", "log_sum_exp f heads T"},
       .outputs = {"d_q s T heads*qk_dim", "d_k s T kv_heads*qk_dim",
                   "d_v s T kv_heads*v_dim"},
       .attributes = attentionRules(),
       .call =
           [](const Context &c) {
             c.kernels.attentionInputGrad(
                 c.parallel, c.inputs[0], c.inputs[1], c.inputs[2], c.inputs[3],
                 c.inputs[4], c.inputs[5], c.attributes.attention, rowSums(c),
                 c.outputs[0], c.outputs[1], c.outputs[2]);
             return Status();
           },
       .check = checkAttention,
       .scratch =
           [](const Dimensions &d, int64_t, int64_t wideBytes) {
             return of(d, "heads") * of(d, "T") * wideBytes;
           }},
      {.kind = "attention_sink_grad",
       .inputs = {"d_out s T heads*v_dim", "out s T heads*v_dim",
                  "log_sum_exp f heads T"},
       .parameters = {"sinks s heads"},
       .attributes = attentionRules(),
       .call =
           [](const Context &c) {
             c.kernels.attentionSinkGrad(
                 c.parallel, c.inputs[0], c.inputs[1], c.inputs[2],
                 c.weights[0], c.attributes.attention, c.gradients[0]);
             return Status();
           },
       .accumulates = true,
       .check = checkAttention},
  };
}

} // namespace moe::exec
