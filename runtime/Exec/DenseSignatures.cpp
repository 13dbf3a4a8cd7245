// Embedding, norms, linear layers, activation and loss.
#include "runtime/Exec/Signature.h"

namespace moe::exec {
namespace {

using Context = CallContext;

AttributeRule groupsRule() {
  return {"groups", [](Attributes &a) -> int64_t & { return a.groups; }, 1,
          "groups"};
}

AttributeRules swigluRules() {
  return {{"limit", [](Attributes &a) -> double & { return a.swiglu.limit; }},
          {"alpha", [](Attributes &a) -> double & { return a.swiglu.alpha; }},
          {"up_offset",
           [](Attributes &a) -> double & { return a.swiglu.upOffset; }}};
}

/// Rows behind the sum of counts are only skipped when there are counts.
std::vector<std::string_view> swigluOperands(std::string_view gradient) {
  std::vector<std::string_view> operands;
  if (!gradient.empty())
    operands.push_back(gradient);
  operands.insert(operands.end(),
                  {"x s C 2*F", "?row_scale f C", "?counts i L from=dispatch"});
  return operands;
}

} // namespace

std::vector<Signature> denseSignatures() {
  return {
      {.kind = "embedding",
       .inputs = {"tokens i T from=load"},
       .parameters = {"table s V H"},
       .outputs = {"out s T H"},
       .call =
           [](const Context &c) {
             c.kernels.embedding(c.parallel, c.inputs[0], c.weights[0],
                                 c.outputs[0]);
             return Status();
           }},
      {.kind = "embedding_weight_grad",
       .inputs = {"d_out s T H", "tokens i T from=load"},
       .parameters = {"table s V H"},
       .call =
           [](const Context &c) {
             c.kernels.embeddingWeightGrad(c.parallel, c.inputs[0], c.inputs[1],
                                           c.gradients[0]);
             return Status();
           },
       .accumulates = true},
      {.kind = "rms_norm",
       .inputs = {"x s T groups*D"},
       .parameters = {"weight s D"},
       .outputs = {"out s T groups*D", "inverse f T groups"},
       .attributes = {{"epsilon",
                       [](Attributes &a) -> double & { return a.epsilon; }},
                      groupsRule()},
       .call =
           [](const Context &c) {
             c.kernels.rmsNorm(c.parallel, c.inputs[0], c.weights[0],
                               c.attributes.epsilon, c.attributes.groups,
                               c.outputs[0], c.outputs[1]);
             return Status();
           }},
      {.kind = "rms_norm_input_grad",
       .inputs = {"d_out s T groups*D", "x s T groups*D", "inverse f T groups"},
       .parameters = {"weight s D"},
       .outputs = {"d_x s T groups*D"},
       .attributes = {groupsRule()},
       .call =
           [](const Context &c) {
             c.kernels.rmsNormInputGrad(c.parallel, c.inputs[0], c.inputs[1],
                                        c.inputs[2], c.weights[0],
                                        c.attributes.groups, c.outputs[0]);
             return Status();
           }},
      {.kind = "rms_norm_weight_grad",
       .inputs = {"d_out s T groups*D", "x s T groups*D", "inverse f T groups"},
       .parameters = {"weight s D"},
       .attributes = {groupsRule()},
       .call =
           [](const Context &c) {
             c.kernels.rmsNormWeightGrad(c.parallel, c.inputs[0], c.inputs[1],
                                         c.inputs[2], c.attributes.groups,
                                         c.gradients[0]);
             return Status();
           },
       .accumulates = true},
      {.kind = "linear",
       .inputs = {"x s T K"},
       .parameters = {"weight s N K", "?bias s N"},
       .outputs = {"out x T N"},
       .call =
           [](const Context &c) {
             c.kernels.linear(c.parallel, c.inputs[0], c.weights[0],
                              c.weights[1], c.outputs[0]);
             return Status();
           }},
      {.kind = "linear_input_grad",
       .inputs = {"d_out x T N"},
       .parameters = {"weight s N K"},
       .outputs = {"d_x s T K"},
       .call =
           [](const Context &c) {
             c.kernels.linearInputGrad(c.parallel, c.inputs[0], c.weights[0],
                                       c.outputs[0]);
             return Status();
           }},
      {.kind = "linear_weight_grad",
       .inputs = {"d_out x T N", "x s T K"},
       .parameters = {"weight s N K", "?bias s N"},
       .call =
           [](const Context &c) {
             c.kernels.linearWeightGrad(c.parallel, c.inputs[0], c.inputs[1],
                                        c.gradients[0], c.gradients[1]);
             return Status();
           },
       .accumulates = true},
      {.kind = "add",
       .inputs = {"a x *", "b x *"},
       .outputs = {"out x *"},
       .call =
           [](const Context &c) {
             c.kernels.add(c.parallel, c.inputs[0], c.inputs[1], c.outputs[0]);
             return Status();
           }},
      {.kind = "swiglu",
       .inputs = swigluOperands(""),
       .outputs = {"out s C F"},
       .attributes = swigluRules(),
       .call =
           [](const Context &c) {
             c.kernels.swiglu(c.parallel, c.inputs[0], c.inputs[1], c.inputs[2],
                              c.attributes.swiglu, c.outputs[0]);
             return Status();
           }},
      {.kind = "swiglu_input_grad",
       .inputs = swigluOperands("d_out s C F"),
       .outputs = {"d_x s C 2*F", "?d_row_scale f C"},
       .attributes = swigluRules(),
       .call =
           [](const Context &c) {
             c.kernels.swigluInputGrad(
                 c.parallel, c.inputs[0], c.inputs[1], c.inputs[2], c.inputs[3],
                 c.attributes.swiglu, c.outputs[0], c.outputs[1]);
             return Status();
           },
       .overwritable = 1,
       .check = [](const Dimensions &d, Attributes &) -> Status {
         if (d.contains("?row_scale") == d.contains("?d_row_scale"))
           return {};
         return Error{"d_row_scale must be present exactly when row_scale "
                      "is"};
       }},
      {.kind = "cross_entropy",
       .inputs = {"logits x T V", "labels i T from=load"},
       .outputs = {"loss f 1", "log_sum_exp f T"},
       .attributes = {{.key = "weight",
                       .target = [](Attributes &a) -> double & {
                         return a.weight;
                       },
                       .optional = true}},
       .call =
           [](const Context &c) {
             c.kernels.crossEntropy(c.parallel, c.inputs[0], c.inputs[1],
                                    c.outputs[0], c.outputs[1]);
             if (c.outputs[0].dtype == DType::f64)
               *c.outputs[0].as<double>() *= c.attributes.weight;
             else
               *c.outputs[0].as<float>() *=
                   static_cast<float>(c.attributes.weight);
             return Status();
           }},
      {.kind = "cross_entropy_input_grad",
       .inputs = {"logits x T V", "labels i T from=load", "log_sum_exp f T"},
       .outputs = {"d_logits x T V"},
       .attributes = {{"scale",
                       [](Attributes &a) -> double & { return a.scale; }}},
       .call =
           [](const Context &c) {
             c.kernels.crossEntropyInputGrad(c.parallel, c.inputs[0],
                                             c.inputs[1], c.inputs[2],
                                             c.attributes.scale, c.outputs[0]);
             return Status();
           },
       .overwritable = 0},
  };
}

} // namespace moe::exec
