//===- PrintConfig.cpp - a configuration as canonical JSON ----------------===//

#include "compiler/Import/ModelConfig.h"

#include <nlohmann/json.hpp>

namespace moe::model {

// Keys keep the order in which they are written, so that the text reads like
// the structures.
using Json = nlohmann::ordered_json;

static Json toJson(const Rotary &r) {
  return {{"begin", r.begin},
          {"dim", r.dim},
          {"interleaved", r.interleaved},
          {"theta", r.theta},
          {"yarn_factor", r.yarnFactor},
          {"yarn_original_length", r.yarnOriginalLength},
          {"yarn_beta_fast", r.yarnBetaFast},
          {"yarn_beta_slow", r.yarnBetaSlow},
          {"yarn_truncate", r.yarnTruncate},
          {"attention_scale", r.attentionScale}};
}

static const char *text(QkNorm norm) {
  switch (norm) {
  case QkNorm::none:
    return "none";
  case QkNorm::head:
    return "head";
  case QkNorm::full:
    return "full";
  }
  return "";
}

static Json toJson(const Gqa &a) {
  return {{"kind", "gqa"},
          {"heads", a.heads},
          {"kv_heads", a.kvHeads},
          {"head_dim", a.headDim},
          {"qkv_bias", a.qkvBias},
          {"out_bias", a.outBias},
          {"qk_norm", text(a.qkNorm)},
          {"sinks", a.sinks},
          {"window", a.window},
          {"softmax_scale", a.softmaxScale},
          {"rotary", toJson(a.rotary)}};
}

static Json toJson(const Mla &a) {
  return {{"kind", "mla"},
          {"heads", a.heads},
          {"q_lora_rank", a.qLoraRank},
          {"kv_lora_rank", a.kvLoraRank},
          {"nope_dim", a.nopeDim},
          {"rope_dim", a.ropeDim},
          {"v_dim", a.vDim},
          {"softmax_scale", a.softmaxScale},
          {"rotary", toJson(a.rotary)}};
}

static Json toJson(const Dense &f) {
  return {{"kind", "dense"}, {"intermediate", f.intermediate}};
}

static Json toJson(const Experts &f) {
  const Routing &r = f.routing;
  Json routing = {
      {"top_k", r.topK},
      {"scoring", r.scoring == Scoring::softmax ? "softmax" : "sigmoid"},
      {"normalize", r.normalize},
      {"groups", r.groups},
      {"top_groups", r.topGroups},
      {"group_score",
       r.groupScore == GroupScore::maximum ? "maximum" : "top2_sum"},
      {"scale", r.scale}};
  Json activation = {{"limit", f.activation.limit},
                     {"alpha", f.activation.alpha},
                     {"up_offset", f.activation.upOffset}};
  return {{"kind", "experts"},
          {"count", f.count},
          {"intermediate", f.intermediate},
          {"shared_intermediate", f.sharedIntermediate},
          {"routing", std::move(routing)},
          {"correction_bias", f.correctionBias},
          {"router_bias", f.routerBias},
          {"expert_bias", f.expertBias},
          {"activation", std::move(activation)}};
}

static Json toJson(const std::vector<Layer> &layers) {
  Json list = Json::array();
  for (const Layer &layer : layers)
    list.push_back(
        {{"attention",
          std::visit([](const auto &a) { return toJson(a); }, layer.attention)},
         {"ffn",
          std::visit([](const auto &f) { return toJson(f); }, layer.ffn)}});
  return list;
}

std::string printConfig(const ModelConfig &config) {
  ParameterCounts counts = countParameters(config);
  Json document = {{"name", config.name},
                   {"architecture", config.architecture},
                   {"hidden", config.hidden},
                   {"vocabulary", config.vocabulary},
                   {"norm_epsilon", config.normEpsilon},
                   {"initializer_range", config.initializerRange},
                   {"reductions", config.reductions},
                   {"notes", config.notes},
                   {"parameters",
                    {{"total", counts.total},
                     {"active", counts.active},
                     {"mtp_total", counts.mtpTotal},
                     {"mtp_active", counts.mtpActive}}},
                   {"layers", toJson(config.layers)},
                   {"mtp_layers", toJson(config.mtpLayers)}};
  return document.dump(2, ' ', /*ensure_ascii=*/false,
                       Json::error_handler_t::replace) +
         "\n";
}

} // namespace moe::model
