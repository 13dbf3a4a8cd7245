//===- HfFamilies.cpp - how the families differ ---------------------------===//
//
// The semantics follow the published model code; docs/import.md has the table
// of fields.
//
//===----------------------------------------------------------------------===//

#include "compiler/Import/HfImporter.h"

namespace moe::model {

void HfImporter::importDeepseek(bool v3) {
  readCommon(v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM");
  names.experts = "n_routed_experts";
  Mla mla = readMla();
  fields.mustBe("mlp_bias", false, "biases in networks are not supported");

  Experts experts;
  experts.count = fields.integer("n_routed_experts", 1, kMaximumExperts);
  experts.intermediate = width("moe_intermediate_size");
  experts.sharedIntermediate =
      readSharedIntermediate(experts.intermediate, /*nullable=*/!v3);
  Routing &routing = experts.routing;
  routing.topK = fields.integer("num_experts_per_tok", 1, kMaximumExperts);
  routing.scale = fields.positive("routed_scaling_factor");
  if (v3) {
    fields.mustBe("topk_method", "noaux_tc", "deepseek_v3 has no other");
    fields.mustBe("scoring_func", "sigmoid", "deepseek_v3 has no other");
    routing.scoring = Scoring::sigmoid;
    routing.groupScore = GroupScore::top2Sum;
    routing.normalize = fields.boolean("norm_topk_prob");
    experts.correctionBias = true;
    readGroups(routing);
  } else {
    fields.mustBe("scoring_func", "softmax", "deepseek_v2 has no other");
    fields.mustBe("norm_topk_prob", false,
                  "implementations of deepseek_v2 disagree on the scaling of "
                  "normalized probabilities");
    std::string method =
        fields.choice("topk_method", {"greedy", "group_limited_greedy"});
    if (method == "greedy")
      fields.ignore({"n_group", "topk_group"});
    else
      readGroups(routing);
  }

  ExpertLayers hasExperts = readExpertLayers(/*hasFrequency=*/true);
  int64_t mtpLayers = 0;
  if (v3)
    mtpLayers = readMtpLayers();
  else
    fields.mustBe("num_nextn_predict_layers", 0, "deepseek_v2 has none");
  Dense dense;
  if (hasExperts.firstDense > 0 || hasExperts.frequency > 1)
    dense.intermediate = width("intermediate_size");
  else
    fields.ignore({"intermediate_size"});
  build(
      mtpLayers, [&](int64_t) { return mla; },
      [&](int64_t i) { return hasExperts(i) ? Ffn(experts) : Ffn(dense); });
}

void HfImporter::importQwen3Moe() {
  readCommon("Qwen3MoeForCausalLM");
  Gqa gqa = readGqa(headDimOrQuotient());
  gqa.qkvBias = gqa.outBias = fields.booleanOr("attention_bias", false);
  gqa.qkNorm = QkNorm::head;
  fields.mustBe("use_sliding_window", false,
                "implementations disagree on the layers that slide");
  fields.ignore({"sliding_window"});

  Experts experts;
  experts.count = fields.integer("num_experts", 1, kMaximumExperts);
  experts.intermediate = width("moe_intermediate_size");
  experts.routing.topK =
      fields.integer("num_experts_per_tok", 1, kMaximumExperts);
  experts.routing.normalize = fields.boolean("norm_topk_prob");

  int64_t step = fields.integerOr("decoder_sparse_step", 1, 1, kMaximumLayers);
  std::set<int64_t> denseLayers;
  if (fields.has("mlp_only_layers"))
    for (int64_t i : fields.integers("mlp_only_layers", 0, layerCount - 1))
      denseLayers.insert(i);
  fields.ignore({"mlp_only_layers", "intermediate_size"});
  auto hasExperts = [&](int64_t i) {
    return (i + 1) % step == 0 && !denseLayers.count(i);
  };
  int64_t expertLayers = 0;
  for (int64_t i = 0; i < layerCount; ++i)
    expertLayers += hasExperts(i);
  if (expertLayers == 0)
    fields.reject(denseLayers.empty() ? "decoder_sparse_step"
                                      : "mlp_only_layers",
                  "expected to leave layers with experts");
  Dense dense;
  if (expertLayers < layerCount)
    dense.intermediate = width("intermediate_size");
  build(
      0, [&](int64_t) { return gqa; },
      [&](int64_t i) { return hasExperts(i) ? Ffn(experts) : Ffn(dense); });
}

void HfImporter::importMixtral() {
  readCommon("MixtralForCausalLM");
  names.experts = "num_local_experts";
  Gqa gqa = readGqa(headDimOrQuotient());
  gqa.window = fields.integerOr("sliding_window", 0, 1, kMaximumWindow);
  fields.mustBe("attention_bias", false, "this family has no biases");
  fields.mustBe("router_jitter_noise", 0, "noise is not supported");

  Experts experts;
  experts.count = fields.integer("num_local_experts", 1, kMaximumExperts);
  experts.intermediate = width("intermediate_size");
  experts.routing.topK =
      fields.integer("num_experts_per_tok", 1, kMaximumExperts);
  experts.routing.normalize = true;
  build(0, [&](int64_t) { return gqa; }, [&](int64_t) { return experts; });
}

void HfImporter::importGptOss() {
  readCommon("GptOssForCausalLM");
  names.experts = "num_local_experts";
  // Without the field the family has a YaRN of its own, not none.
  if (!fields.contains("rope_scaling") && !fields.contains("rope_parameters"))
    fields.reject("rope_scaling", "expected an object, or null for none");
  Gqa gqa = readGqa(fields.integer("head_dim", 1, kMaximumHeadDim));
  gqa.qkvBias = gqa.outBias = fields.booleanOr("attention_bias", true);
  gqa.sinks = true;
  std::vector<std::string> types = fields.strings("layer_types");
  bool slides = false;
  for (const std::string &type : types) {
    slides |= type == "sliding_attention";
    if (type != "sliding_attention" && type != "full_attention")
      fields.fail("layer_types: holds " + quote(Json(type)) +
                  "; expected \"sliding_attention\" or \"full_attention\"");
  }
  if (static_cast<int64_t>(types.size()) != layerCount)
    fields.reject("layer_types", "expected " + std::to_string(layerCount) +
                                     ", one for each of num_hidden_layers");
  int64_t window = 0;
  if (slides)
    window = fields.integer("sliding_window", 1, kMaximumWindow);
  else
    fields.ignore({"sliding_window"});

  Experts experts;
  experts.count = fields.integer("num_local_experts", 1, kMaximumExperts);
  experts.intermediate = width("intermediate_size");
  experts.routing.topK =
      fields.integer("num_experts_per_tok", 1, kMaximumExperts);
  fields.mustBe("experts_per_token", experts.routing.topK,
                "it repeats num_experts_per_tok");
  experts.routing.normalize = true;
  experts.routerBias = true;
  experts.expertBias = true;
  experts.activation.limit = fields.positiveOr("swiglu_limit", 7.0);
  experts.activation.alpha = fields.positiveOr("swiglu_alpha", 1.702);
  experts.activation.upOffset = 1;
  if (fields.error())
    return;
  build(
      0,
      [&](int64_t i) {
        Gqa attention = gqa;
        if (types[static_cast<size_t>(i)] == "sliding_attention")
          attention.window = window;
        return attention;
      },
      [&](int64_t) { return experts; });
}

void HfImporter::importGlm4Moe() {
  readCommon("Glm4MoeForCausalLM");
  names.experts = "n_routed_experts";
  Gqa gqa = readGqa(fields.integer("head_dim", 1, kMaximumHeadDim));
  gqa.qkvBias = fields.booleanOr("attention_bias", false);
  if (fields.booleanOr("use_qk_norm", false))
    gqa.qkNorm = QkNorm::head;

  Experts experts;
  experts.count = fields.integer("n_routed_experts", 1, kMaximumExperts);
  experts.intermediate = width("moe_intermediate_size");
  experts.sharedIntermediate =
      readSharedIntermediate(experts.intermediate, /*nullable=*/false);
  experts.correctionBias = true;
  Routing &routing = experts.routing;
  routing.topK = fields.integer("num_experts_per_tok", 1, kMaximumExperts);
  routing.scoring = Scoring::sigmoid;
  routing.groupScore = GroupScore::top2Sum;
  routing.normalize = fields.boolean("norm_topk_prob");
  routing.scale = fields.positive("routed_scaling_factor");
  fields.mustBe("scoring_func", "sigmoid", "glm4_moe has no other");
  fields.mustBe("topk_method", "noaux_tc", "glm4_moe has no other");
  readGroups(routing);

  ExpertLayers hasExperts = readExpertLayers(/*hasFrequency=*/false);
  int64_t mtpLayers = readMtpLayers();
  Dense dense;
  if (hasExperts.firstDense > 0)
    dense.intermediate = width("intermediate_size");
  else
    fields.ignore({"intermediate_size"});
  build(
      mtpLayers, [&](int64_t) { return gqa; },
      [&](int64_t i) { return hasExperts(i) ? Ffn(experts) : Ffn(dense); });
}

void HfImporter::importOlmoe() {
  readCommon("OlmoeForCausalLM");
  int64_t heads = fields.integer("num_attention_heads", 1, kMaximumHeads);
  int64_t headDim = headDimOrQuotient();
  if (!fields.error() && headDim * heads != config.hidden)
    fields.reject("head_dim",
                  "expected hidden_size / num_attention_heads, which is " +
                      quote(Json(static_cast<double>(config.hidden) /
                                 static_cast<double>(heads))));
  Gqa gqa = readGqa(headDim);
  gqa.qkvBias = gqa.outBias = fields.booleanOr("attention_bias", false);
  gqa.qkNorm = QkNorm::full;
  fields.mustBeNull("clip_qkv", "clipping of q, k and v is not supported");

  Experts experts;
  experts.count = fields.integer("num_experts", 1, kMaximumExperts);
  experts.intermediate = width("intermediate_size");
  experts.routing.topK =
      fields.integer("num_experts_per_tok", 1, kMaximumExperts);
  experts.routing.normalize = fields.boolean("norm_topk_prob");
  build(0, [&](int64_t) { return gqa; }, [&](int64_t) { return experts; });
}

Result<ModelConfig> HfImporter::run() {
  struct Family {
    std::string_view type;
    void (*import)(HfImporter &);
  };
  static constexpr Family kFamilies[] = {
      {"deepseek_v2", [](HfImporter &i) { i.importDeepseek(/*v3=*/false); }},
      {"deepseek_v3", [](HfImporter &i) { i.importDeepseek(/*v3=*/true); }},
      {"qwen3_moe", [](HfImporter &i) { i.importQwen3Moe(); }},
      {"mixtral", [](HfImporter &i) { i.importMixtral(); }},
      {"gpt_oss", [](HfImporter &i) { i.importGptOss(); }},
      {"glm4_moe", [](HfImporter &i) { i.importGlm4Moe(); }},
      {"olmoe", [](HfImporter &i) { i.importOlmoe(); }},
  };
  std::vector<std::string_view> types;
  for (const Family &family : kFamilies)
    types.push_back(family.type);
  config.architecture = fields.choice("model_type", types);
  if (fields.error())
    return *fields.error();
  for (const Family &family : kFamilies)
    if (family.type == config.architecture)
      family.import(*this);
  if (fields.error())
    return *fields.error();
  MOE_RETURN_IF_ERROR(checkDimensions(config, names));
  for (const std::string &field : fields.unread())
    config.notes.push_back("ignored field " + field);
  return std::move(config);
}

} // namespace moe::model
