//===- HfImporter.cpp - what the families share ---------------------------===//

#include "compiler/Import/HfImporter.h"

#include <cmath>

namespace moe::model {

void HfImporter::readCommon(std::string_view className) {
  if (fields.has("architectures")) {
    std::vector<std::string> classes = fields.strings("architectures");
    if (!fields.error() && (classes.size() != 1 || classes[0] != className))
      fields.fail("architectures: is " +
                  (classes.size() == 1 ? quote(Json(classes[0]))
                                       : quote(Json(classes))) +
                  "; expected \"" + std::string(className) +
                  "\", the class of model_type \"" + config.architecture +
                  "\"");
  }
  config.hidden = width("hidden_size");
  config.vocabulary = fields.integer("vocab_size", 1, kMaximumVocabulary);
  layerCount = fields.integer("num_hidden_layers", 1, kMaximumLayers);
  config.normEpsilon = fields.positive("rms_norm_eps");
  config.initializerRange = fields.positiveOr("initializer_range", 0.02);
  fields.mustBe("hidden_act", "silu", "no other activation is supported");
  fields.mustBe("tie_word_embeddings", false,
                "a head that shares its weights with the embedding is not "
                "supported");
  fields.mustBe("attention_dropout", 0, "dropout is not supported");
  // Fields that do not change the model: token ids, storage and inference
  // settings, and weights of auxiliary losses, which are not part of the loss
  // that is planned.
  fields.ignore({"_name_or_path",
                 "architectures",
                 "auto_map",
                 "aux_loss_alpha",
                 "bos_token_id",
                 "dtype",
                 "eos_token_id",
                 "ep_size",
                 "initial_context_length",
                 "max_position_embeddings",
                 "max_window_layers",
                 "model_type",
                 "output_router_logits",
                 "pad_token_id",
                 "pretraining_tp",
                 "quantization_config",
                 "router_aux_loss_coef",
                 "seq_aux",
                 "torch_dtype",
                 "transformers_version",
                 "use_cache"});
}

/// YaRN's factor on magnitudes, yarn_get_mscale in the published code.
static double yarnMagnitude(double factor, double scale) {
  return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
}

void HfImporter::readYarn(const Json &object, std::string_view key,
                          Rope &rope) {
  FieldReader yarn(object, std::string(key) + ".");
  if (key == "rope_parameters")
    yarn.ignore({"rope_theta"});
  std::string type = "default";
  if (yarn.has("type") && yarn.has("rope_type") &&
      object["type"] != object["rope_type"])
    yarn.reject("type", "expected the value of rope_type, " +
                            quote(object["rope_type"]));
  for (std::string_view name : {"rope_type", "type"})
    if (yarn.has(name))
      type = yarn.choice(name, {"yarn", "default"});
  if (!yarn.has("type") && !yarn.has("rope_type") && key == "rope_scaling")
    yarn.reject("rope_type", "expected \"yarn\" or \"default\"");

  if (type == "yarn") {
    Rotary &rotary = rope.rotary;
    double factor = yarn.positive("factor");
    if (factor < 1)
      yarn.reject("factor", "expected a number of at least 1");
    int64_t original =
        yarn.integer("original_max_position_embeddings", 1, kMaximumWindow);
    auto maximum = static_cast<double>(
        fields.integer("max_position_embeddings", 1, kMaximumWindow));
    // Implementations differ in which of the two they scale by, so that only
    // configurations where both agree have one meaning.
    if (!yarn.error() && !fields.error() &&
        static_cast<double>(original) * factor != maximum)
      yarn.reject("factor",
                  "expected max_position_embeddings / "
                  "original_max_position_embeddings, which is " +
                      quote(Json(maximum / static_cast<double>(original))));
    rotary.yarnFactor = factor;
    rotary.yarnOriginalLength = original;
    rotary.yarnBetaFast = yarn.positiveOr("beta_fast", 32);
    rotary.yarnBetaSlow = yarn.positiveOr("beta_slow", 1);
    if (rotary.yarnBetaSlow >= rotary.yarnBetaFast)
      yarn.reject("beta_slow", "expected less than beta_fast");
    rotary.yarnTruncate = yarn.booleanOr("truncate", true);
    double magnitude = yarn.nonNegativeOr("mscale", 0);
    double softmaxMagnitude = yarn.nonNegativeOr("mscale_all_dim", 0);
    if ((magnitude == 0) != (softmaxMagnitude == 0))
      yarn.reject(magnitude == 0 ? "mscale" : "mscale_all_dim",
                  "expected mscale and mscale_all_dim both, or neither");
    rotary.attentionScale = magnitude == 0
                                ? yarnMagnitude(factor, 1)
                                : yarnMagnitude(factor, magnitude) /
                                      yarnMagnitude(factor, softmaxMagnitude);
    rotary.attentionScale =
        yarn.positiveOr("attention_factor", rotary.attentionScale);
    double softmaxScale = yarnMagnitude(factor, softmaxMagnitude);
    rope.softmaxFactor = softmaxScale * softmaxScale;
    if (!std::isfinite(rotary.attentionScale) || rotary.attentionScale <= 0 ||
        !std::isfinite(rope.softmaxFactor))
      yarn.reject("mscale", "expected mscale and mscale_all_dim of the order "
                            "of 1");
  }
  fields.adopt(yarn);
  for (const std::string &name : yarn.unread())
    config.notes.push_back("ignored field " + name);
}

Rope HfImporter::readRope(int64_t dim) {
  Rope rope;
  rope.rotary.dim = dim;
  if (fields.has("rope_parameters")) {
    for (std::string_view old : {"rope_theta", "rope_scaling"})
      if (fields.has(old))
        fields.reject(old, "expected no such field beside rope_parameters");
    if (const Json *object = fields.nested("rope_parameters")) {
      FieldReader parameters(*object, "rope_parameters.");
      rope.rotary.theta = parameters.positive("rope_theta");
      fields.adopt(parameters);
      readYarn(*object, "rope_parameters", rope);
    }
  } else {
    rope.rotary.theta = fields.positive("rope_theta");
    if (const Json *object = fields.nested("rope_scaling"))
      readYarn(*object, "rope_scaling", rope);
  }
  if (rope.rotary.theta <= 1)
    fields.fail("rope_theta: is " + quote(Json(rope.rotary.theta)) +
                "; expected a number above 1");
  return rope;
}

/// For families that leave head_dim out when it is hidden_size / heads.
int64_t HfImporter::headDimOrQuotient() {
  if (fields.has("head_dim"))
    return fields.integer("head_dim", 1, kMaximumHeadDim);
  int64_t heads = fields.integer("num_attention_heads", 1, kMaximumHeads);
  if (config.hidden % heads) {
    fields.reject("num_attention_heads",
                  "expected a divisor of hidden_size, which is " +
                      std::to_string(config.hidden) +
                      ", because there is no head_dim");
    return 1;
  }
  int64_t headDim = config.hidden / heads;
  if (headDim > kMaximumHeadDim)
    fields.reject("num_attention_heads", "expected at least hidden_size / " +
                                             std::to_string(kMaximumHeadDim));
  return headDim;
}

Gqa HfImporter::readGqa(int64_t headDim) {
  Gqa gqa;
  gqa.heads = fields.integer("num_attention_heads", 1, kMaximumHeads);
  gqa.kvHeads = fields.integer("num_key_value_heads", 1, kMaximumHeads);
  gqa.headDim = headDim;
  gqa.softmaxScale = 1.0 / std::sqrt(static_cast<double>(headDim));
  double rotated = static_cast<double>(headDim);
  if (config.architecture == "glm4_moe") {
    double part = fields.positive("partial_rotary_factor");
    rotated *= part;
    if (part > 1 || rotated != std::floor(rotated))
      fields.reject("partial_rotary_factor",
                    "expected a part of 1 that gives a whole number of the " +
                        std::to_string(headDim) + " columns of head_dim");
    rotated = std::min(rotated, static_cast<double>(headDim));
    names.rotary = "partial_rotary_factor";
  } else {
    fields.mustBe("partial_rotary_factor", 1,
                  "this family rotates whole heads");
  }
  gqa.rotary = readRope(static_cast<int64_t>(rotated)).rotary;
  return gqa;
}

Mla HfImporter::readMla() {
  Mla mla;
  names.rotary = "qk_rope_head_dim";
  mla.heads = fields.integer("num_attention_heads", 1, kMaximumHeads);
  fields.mustBe("num_key_value_heads", mla.heads,
                "every head of latent attention has its own keys and values");
  if (!fields.contains("q_lora_rank"))
    fields.reject("q_lora_rank",
                  "expected a rank, or null where queries have none");
  mla.qLoraRank = fields.integerOr("q_lora_rank", 0, 1, kMaximumWidth);
  mla.kvLoraRank = width("kv_lora_rank");
  mla.nopeDim = fields.integer("qk_nope_head_dim", 1, kMaximumHeadDim);
  mla.ropeDim = fields.integer("qk_rope_head_dim", 2, kMaximumHeadDim);
  mla.vDim = fields.integer("v_head_dim", 1, kMaximumHeadDim);
  fields.mustBe("attention_bias", false,
                "biases in latent attention are not supported");
  fields.mustBe("head_dim", mla.ropeDim,
                "in this family it repeats qk_rope_head_dim");
  fields.mustBe("qk_head_dim", mla.nopeDim + mla.ropeDim,
                "it is qk_nope_head_dim + qk_rope_head_dim");
  Rope rope = readRope(mla.ropeDim);
  mla.rotary = rope.rotary;
  mla.rotary.interleaved = fields.booleanOr("rope_interleave", true);
  mla.softmaxScale = rope.softmaxFactor /
                     std::sqrt(static_cast<double>(mla.nopeDim + mla.ropeDim));
  // The norms inside the attention of the published code are made without an
  // epsilon of the configuration, that is with 1e-6.
  if (config.normEpsilon != 1e-6)
    fields.reject("rms_norm_eps", "expected 1e-06, the epsilon that this "
                                  "family's latent norms always have");
  return mla;
}

int64_t HfImporter::readSharedIntermediate(int64_t expertIntermediate,
                                           bool nullable) {
  int64_t count =
      nullable && fields.contains("n_shared_experts")
          ? fields.integerOr("n_shared_experts", 0, 0, kMaximumExperts)
          : fields.integer("n_shared_experts", 0, kMaximumExperts);
  if (count * expertIntermediate > kMaximumWidth) {
    fields.reject("n_shared_experts",
                  "expected at most " +
                      std::to_string(kMaximumWidth / expertIntermediate) +
                      " of moe_intermediate_size " +
                      std::to_string(expertIntermediate));
    return 0;
  }
  return count * expertIntermediate;
}

void HfImporter::readGroups(Routing &routing) {
  routing.groups = fields.integer("n_group", 1, kMaximumExperts);
  routing.topGroups = fields.integer("topk_group", 1, kMaximumExperts);
}

ExpertLayers HfImporter::readExpertLayers(bool hasFrequency) {
  ExpertLayers layers;
  layers.firstDense =
      fields.integer("first_k_dense_replace", 0, kMaximumLayers);
  if (layers.firstDense >= layerCount)
    fields.reject("first_k_dense_replace",
                  "expected less than num_hidden_layers, which is " +
                      std::to_string(layerCount) +
                      ", so that there are layers with experts");
  if (hasFrequency)
    layers.frequency = fields.integerOr("moe_layer_freq", 1, 1, kMaximumLayers);
  return layers;
}

int64_t HfImporter::readMtpLayers() {
  return fields.integerOr("num_nextn_predict_layers", 0, 0, kMaximumMtpLayers);
}

} // namespace moe::model
