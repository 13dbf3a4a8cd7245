//===- HfImporter.h - reading a Hugging Face configuration ------*- C++ -*-===//
//
// One class reads what the families share (HfImporter.cpp); one function per
// family says how it differs (HfFamilies.cpp).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Import/Checks.h"
#include "compiler/Import/FieldReader.h"
#include "compiler/Import/ModelConfig.h"

namespace moe::model {

using Json = nlohmann::json;

/// Rotary facts, and the factor that the same field puts on attention logits.
struct Rope {
  Rotary rotary;
  double softmaxFactor = 1;
};

/// Which layers have experts, as the DeepSeek family names it.
struct ExpertLayers {
  int64_t firstDense = 0;
  int64_t frequency = 1;
  bool operator()(int64_t index) const {
    return index >= firstDense && index % frequency == 0;
  }
};

/// Imports one configuration; made for a single run().
class HfImporter {
public:
  HfImporter(const Json &document, std::string name) : fields(document) {
    config.name = std::move(name);
  }

  /// The configuration, or the first error in it.
  Result<ModelConfig> run();

private:
  // The families.
  void importDeepseek(bool v3);
  void importQwen3Moe();
  void importMixtral();
  void importGptOss();
  void importGlm4Moe();
  void importOlmoe();

  // What they share.
  void readCommon(std::string_view className);
  Rope readRope(int64_t dim);
  void readYarn(const Json &object, std::string_view key, Rope &rope);
  Gqa readGqa(int64_t headDim);
  Mla readMla();
  int64_t headDimOrQuotient();
  int64_t width(std::string_view key) {
    return fields.integer(key, 1, kMaximumWidth);
  }
  int64_t readSharedIntermediate(int64_t expertIntermediate, bool nullable);
  void readGroups(Routing &routing);
  ExpertLayers readExpertLayers(bool hasFrequency);
  int64_t readMtpLayers();
  /// Appends `layerCount` layers and the MTP layers.
  template <typename AttentionOf, typename FfnOf>
  void build(int64_t mtpLayers, AttentionOf attentionOf, FfnOf ffnOf);

  FieldReader fields;
  ModelConfig config;
  int64_t layerCount = 1;
  DimensionNames names{"num_attention_heads", "num_key_value_heads", "head_dim",
                       "num_experts",         "num_experts_per_tok", "n_group",
                       "topk_group"};
};

template <typename AttentionOf, typename FfnOf>
void HfImporter::build(int64_t mtpLayers, AttentionOf attentionOf,
                       FfnOf ffnOf) {
  for (int64_t i = 0; i < layerCount; ++i)
    config.layers.push_back({attentionOf(i), ffnOf(i)});
  for (int64_t i = layerCount; i < layerCount + mtpLayers; ++i)
    config.mtpLayers.push_back({attentionOf(i), ffnOf(i)});
}

} // namespace moe::model
