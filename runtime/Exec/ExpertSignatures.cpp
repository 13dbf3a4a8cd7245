// Routing, expert layers and the exchange around them.
#include "runtime/Exec/Exchange.h"

namespace moe::exec {
namespace {

using Context = CallContext;

AttributeRules routeRules() {
  using A = Attributes;
  return {
      {"top_k", [](A &a) -> int64_t & { return a.routing.topK; }, 1, "k"},
      {"scoring",
       [](A &a, std::string_view word) {
         a.routing.scoring = word == "softmax" ? kernels::Scoring::softmax
                                               : kernels::Scoring::sigmoid;
         return word == "softmax" || word == "sigmoid";
       }},
      {"normalize", [](A &a) -> bool & { return a.routing.normalize; }},
      {"groups", [](A &a) -> int64_t & { return a.routing.groups; }},
      {"top_groups", [](A &a) -> int64_t & { return a.routing.topGroups; }},
      {"group_score",
       [](A &a, std::string_view word) {
         a.routing.groupScore = word == "maximum"
                                    ? kernels::GroupScore::maximum
                                    : kernels::GroupScore::top2_sum;
         return word == "maximum" || word == "top2_sum";
       }},
      {"scale", [](A &a) -> double & { return a.routing.scale; }},
  };
}

AttributeRules exchangeRules() {
  using A = Attributes;
  return {
      {"top_k", [](A &a) -> int64_t & { return a.exchange.topK; }, 1, "k"},
      {"experts", [](A &a) -> int64_t & { return a.exchange.experts; }, 1, "E"},
      {"ranks", [](A &a) -> int64_t & { return a.exchange.ranks; }, 1, "R"},
      {"capacity", [](A &a) -> int64_t & { return a.exchange.capacity; }, 1,
       "C"},
  };
}

Status checkRoute(const Dimensions &d, Attributes &a) {
  const kernels::Routing &routing = a.routing;
  int64_t experts = d.at("E");
  if (routing.topGroups > routing.groups || experts % routing.groups != 0 ||
      (routing.groups > 1 &&
       routing.groupScore == kernels::GroupScore::top2_sum &&
       experts / routing.groups < 2))
    return Error{"groups " + std::to_string(routing.groups) +
                 " and top_groups " + std::to_string(routing.topGroups) +
                 " do not fit " + std::to_string(experts) + " experts"};
  int64_t eligible = experts / routing.groups * routing.topGroups;
  if (routing.topK > eligible)
    return Error{"top_k " + std::to_string(routing.topK) + " exceeds the " +
                 std::to_string(eligible) + " experts to choose from"};
  bool softmax = routing.scoring == kernels::Scoring::softmax;
  int64_t wanted = softmax ? (routing.normalize ? 0 : experts) : routing.topK;
  int64_t found = d.contains("?scores") ? d.at("score_columns") : 0;
  if (wanted != found)
    return Error{"scores must have " + std::to_string(wanted) +
                 " columns (0: absent), has " + std::to_string(found)};
  return {};
}

Status checkExchange(const Dimensions &d, Attributes &a) {
  kernels::Exchange &exchange = a.exchange;
  exchange.tokens = d.at("T");
  if (exchange.experts % exchange.ranks != 0)
    return Error{"experts " + std::to_string(exchange.experts) +
                 " must be a multiple of ranks " +
                 std::to_string(exchange.ranks)};
  if (d.at("Z") != handleElements(exchange))
    return Error{"handle must have " +
                 std::to_string(handleElements(exchange)) + " elements, has " +
                 std::to_string(d.at("Z"))};
  auto local = d.find("L");
  if (local != d.end() && local->second != exchange.localExperts())
    return Error{"counts must have " + std::to_string(exchange.localExperts()) +
                 " elements, has " + std::to_string(local->second)};
  return {};
}

std::vector<Signature> routingSignatures() {
  return {
      {.kind = "route",
       .inputs = {"logits f T E"},
       .parameters = {"?correction x E"},
       .outputs = {"probabilities f T k", "experts i T k",
                   "?scores f T score_columns"},
       .attributes = routeRules(),
       .call =
           [](const Context &c) {
             c.kernels.route(c.parallel, c.inputs[0], c.weights[0],
                             c.attributes.routing, c.outputs[0], c.outputs[1],
                             c.outputs[2]);
             return Status();
           },
       .check = checkRoute},
      {.kind = "route_input_grad",
       .inputs = {"d_probabilities f T k", "probabilities f T k",
                  "experts i T k from=route", "?scores f T score_columns"},
       .outputs = {"d_logits f T E"},
       .attributes = routeRules(),
       .call =
           [](const Context &c) {
             c.kernels.routeInputGrad(c.parallel, c.inputs[0], c.inputs[1],
                                      c.inputs[2], c.inputs[3],
                                      c.attributes.routing, c.outputs[0]);
             return Status();
           },
       .check = checkRoute},
  };
}

std::vector<Signature> exchangeSignatures() {
  return {
      {.kind = "dispatch",
       .inputs = {"x s T H", "probabilities f T k", "experts i T k from=route"},
       .outputs = {"rows s C H", "row_probabilities f C", "counts i L",
                   "handle i Z"},
       .attributes = exchangeRules(),
       .call = dispatch,
       .exchanges = true,
       .check = checkExchange,
       .scratch = stagingBytesWithScalars},
      {.kind = "dispatch_input_grad",
       .inputs = {"d_rows s C H", "d_row_probabilities f C",
                  "handle i Z from=dispatch"},
       .outputs = {"d_x s T H", "d_probabilities f T k"},
       .attributes = exchangeRules(),
       .call = dispatchInputGrad,
       .exchanges = true,
       .check = checkExchange,
       .scratch = stagingBytesWithScalars},
      {.kind = "combine",
       .inputs = {"rows s C H", "handle i Z from=dispatch"},
       .outputs = {"out s T H"},
       .attributes = exchangeRules(),
       .call = combine,
       .exchanges = true,
       .check = checkExchange,
       .scratch = stagingBytes},
      {.kind = "combine_input_grad",
       .inputs = {"d_out s T H", "handle i Z from=dispatch"},
       .outputs = {"d_rows s C H"},
       .attributes = exchangeRules(),
       .call = combineInputGrad,
       .exchanges = true,
       .check = checkExchange,
       .scratch = stagingBytes},
  };
}

std::vector<Signature> groupedSignatures() {
  return {
      {.kind = "grouped_linear",
       .inputs = {"x s C K", "counts i L from=dispatch", "?bias_scale f C"},
       .parameters = {"weight s L N K", "?bias s L N"},
       .outputs = {"out s C N"},
       .call =
           [](const Context &c) {
             c.kernels.groupedLinear(c.parallel, c.inputs[0], c.inputs[1],
                                     c.weights[0], c.weights[1], c.inputs[2],
                                     c.outputs[0]);
             return Status();
           }},
      {.kind = "grouped_linear_input_grad",
       .inputs = {"d_out s C N", "counts i L from=dispatch"},
       .parameters = {"weight s L N K"},
       .outputs = {"d_x s C K"},
       .call =
           [](const Context &c) {
             c.kernels.groupedLinearInputGrad(c.parallel, c.inputs[0],
                                              c.inputs[1], c.weights[0],
                                              c.outputs[0]);
             return Status();
           }},
      {.kind = "grouped_linear_bias_scale_grad",
       .inputs = {"d_out s C N", "counts i L from=dispatch"},
       .parameters = {"bias s L N"},
       .outputs = {"d_scale f C"},
       .call =
           [](const Context &c) {
             c.kernels.groupedLinearBiasScaleGrad(c.parallel, c.inputs[0],
                                                  c.inputs[1], c.weights[0],
                                                  c.outputs[0]);
             return Status();
           }},
      {.kind = "grouped_linear_weight_grad",
       .inputs = {"d_out s C N", "x s C K", "counts i L from=dispatch",
                  "?bias_scale f C"},
       .parameters = {"weight s L N K", "?bias s L N"},
       .call =
           [](const Context &c) {
             c.kernels.groupedLinearWeightGrad(
                 c.parallel, c.inputs[0], c.inputs[1], c.inputs[2], c.inputs[3],
                 c.gradients[0], c.gradients[1]);
             return Status();
           },
       .accumulates = true},
  };
}

} // namespace

std::vector<Signature> expertSignatures() {
  std::vector<Signature> all;
  for (auto part :
       {routingSignatures(), exchangeSignatures(), groupedSignatures()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

} // namespace moe::exec
