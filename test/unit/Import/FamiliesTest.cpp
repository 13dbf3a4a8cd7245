//===- FamiliesTest.cpp - what each family's configuration means ----------===//

#include "test/unit/Import/TestConfigs.h"

#include <cmath>

namespace moe::model {
namespace {

struct Published {
  const char *name;
  int64_t total, active, mtpTotal;
};

// Totals: the published models' numbers of parameters, MTP modules apart; the
// correction biases of DeepSeek-V3 and GLM count. Active: derived by hand, see
// docs/import.md.
constexpr Published kPublished[] = {
    {"deepseek-v2-lite", 15706484224, 2661150208, 0},
    {"deepseek-v3", 671026419200, 37552297472, 11610068224},
    {"glm-4.5-air", 106852251264, 13424129664, 2375059584},
    {"gpt-oss-20b", 20914757184, 4187440704, 0},
    {"mixtral-8x7b", 46702792704, 12879925248, 0},
    {"olmoe-1b-7b", 6919161856, 1282017280, 0},
    {"qwen3-235b-a22b", 235093634560, 22190763520, 0},
    {"qwen3-30b-a3b", 30532122624, 3353032704, 0},
};

TEST(Families, ParameterCountsAreThePublishedOnes) {
  for (const Published &published : kPublished) {
    ParameterCounts counts = countParameters(example(published.name));
    EXPECT_EQ(counts.total, published.total) << published.name;
    EXPECT_EQ(counts.active, published.active) << published.name;
    EXPECT_EQ(counts.mtpTotal, published.mtpTotal) << published.name;
  }
}

TEST(Families, ExamplesHaveNoUnknownFields) {
  for (const std::string &name : exampleNames()) {
    ModelConfig config = example(name);
    EXPECT_TRUE(config.notes.empty()) << name << ": " << config.notes.front();
    EXPECT_TRUE(config.reductions.empty());
    EXPECT_EQ(config.name, name);
  }
}

TEST(Families, DeepseekV3) {
  ModelConfig config = example("deepseek-v3");
  EXPECT_EQ(config.architecture, "deepseek_v3");
  EXPECT_EQ(config.hidden, 7168);
  EXPECT_EQ(config.vocabulary, 129280);
  EXPECT_EQ(config.normEpsilon, 1e-6);
  ASSERT_EQ(config.layers.size(), 61u);
  ASSERT_EQ(config.mtpLayers.size(), 1u);
  EXPECT_EQ(config.layers[2].ffn, Ffn(Dense{18432}));

  Mla mla = std::get<Mla>(config.layers[0].attention);
  EXPECT_EQ(mla.heads, 128);
  EXPECT_EQ(mla.qLoraRank, 1536);
  EXPECT_EQ(mla.kvLoraRank, 512);
  EXPECT_EQ(mla.nopeDim, 128);
  EXPECT_EQ(mla.ropeDim, 64);
  EXPECT_EQ(mla.vDim, 128);
  EXPECT_EQ(mla.rotary.begin, 0);
  EXPECT_EQ(mla.rotary.dim, 64);
  EXPECT_TRUE(mla.rotary.interleaved);
  EXPECT_EQ(mla.rotary.yarnFactor, 40);
  EXPECT_EQ(mla.rotary.yarnOriginalLength, 4096);
  EXPECT_TRUE(mla.rotary.yarnTruncate);
  // mscale and mscale_all_dim are equal: nothing on cos and sin, all on the
  // logits.
  EXPECT_DOUBLE_EQ(mla.rotary.attentionScale, 1);
  double mscale = 0.1 * std::log(40.0) + 1;
  EXPECT_DOUBLE_EQ(mla.softmaxScale, mscale * mscale / std::sqrt(192.0));

  Experts experts = std::get<Experts>(config.layers[3].ffn);
  EXPECT_EQ(experts.count, 256);
  EXPECT_EQ(experts.intermediate, 2048);
  EXPECT_EQ(experts.sharedIntermediate, 2048);
  EXPECT_TRUE(experts.correctionBias);
  EXPECT_FALSE(experts.routerBias);
  EXPECT_FALSE(experts.expertBias);
  EXPECT_EQ(experts.routing, (Routing{8, Scoring::sigmoid, true, 8, 4,
                                      GroupScore::top2Sum, 2.5}));
  EXPECT_EQ(experts.activation, Swiglu());
  EXPECT_EQ(config.mtpLayers[0], config.layers[60]);
}

TEST(Families, DeepseekV2Lite) {
  ModelConfig config = example("deepseek-v2-lite");
  ASSERT_EQ(config.layers.size(), 27u);
  EXPECT_TRUE(config.mtpLayers.empty());
  EXPECT_EQ(config.layers[0].ffn, Ffn(Dense{10944}));
  Mla mla = std::get<Mla>(config.layers[0].attention);
  EXPECT_EQ(mla.qLoraRank, 0);
  double mscale = 0.1 * 0.707 * std::log(40.0) + 1;
  EXPECT_DOUBLE_EQ(mla.softmaxScale, mscale * mscale / std::sqrt(192.0));
  Experts experts = std::get<Experts>(config.layers[1].ffn);
  EXPECT_EQ(experts.sharedIntermediate, 2 * 1408);
  EXPECT_FALSE(experts.correctionBias);
  EXPECT_EQ(experts.routing, (Routing{6, Scoring::softmax, false, 1, 1,
                                      GroupScore::maximum, 1.0}));
}

TEST(Families, DeepseekV2GroupLimited) {
  nlohmann::json json = exampleJson("deepseek-v2-lite");
  json["topk_method"] = "group_limited_greedy";
  json["n_group"] = 8;
  json["topk_group"] = 3;
  json["routed_scaling_factor"] = 16.0;
  json["n_shared_experts"] = nullptr;
  Result<ModelConfig> config = importHfConfig(json.dump(), "v2");
  ASSERT_TRUE(config.ok()) << config.error().message;
  Experts experts = std::get<Experts>(config->layers[1].ffn);
  EXPECT_EQ(experts.routing, (Routing{6, Scoring::softmax, false, 8, 3,
                                      GroupScore::maximum, 16.0}));
  EXPECT_EQ(experts.sharedIntermediate, 0);
}

TEST(Families, DeepseekLayerFrequency) {
  nlohmann::json json = exampleJson("deepseek-v2-lite");
  json["moe_layer_freq"] = 2;
  Result<ModelConfig> config = importHfConfig(json.dump(), "v2");
  ASSERT_TRUE(config.ok()) << config.error().message;
  for (size_t i = 0; i < config->layers.size(); ++i)
    EXPECT_EQ(std::holds_alternative<Experts>(config->layers[i].ffn),
              i >= 1 && i % 2 == 0);
}

TEST(Families, Qwen3Moe) {
  ModelConfig config = example("qwen3-30b-a3b");
  ASSERT_EQ(config.layers.size(), 48u);
  Gqa gqa = std::get<Gqa>(config.layers[0].attention);
  EXPECT_EQ(gqa.heads, 32);
  EXPECT_EQ(gqa.kvHeads, 4);
  EXPECT_EQ(gqa.headDim, 128);
  EXPECT_EQ(gqa.qkNorm, QkNorm::head);
  EXPECT_FALSE(gqa.qkvBias);
  EXPECT_FALSE(gqa.outBias);
  EXPECT_FALSE(gqa.sinks);
  EXPECT_EQ(gqa.window, 0);
  EXPECT_DOUBLE_EQ(gqa.softmaxScale, 1 / std::sqrt(128.0));
  EXPECT_EQ(gqa.rotary.begin, 0);
  EXPECT_EQ(gqa.rotary.dim, 128);
  EXPECT_FALSE(gqa.rotary.interleaved);
  EXPECT_EQ(gqa.rotary.theta, 1e6);
  EXPECT_EQ(gqa.rotary.yarnFactor, 1);
  Experts experts = std::get<Experts>(config.layers[47].ffn);
  EXPECT_EQ(experts.count, 128);
  EXPECT_EQ(experts.intermediate, 768);
  EXPECT_EQ(experts.routing, (Routing{8, Scoring::softmax, true, 1, 1,
                                      GroupScore::maximum, 1.0}));
}

TEST(Families, Qwen3MoeDenseLayers) {
  nlohmann::json json = exampleJson("qwen3-30b-a3b");
  json["decoder_sparse_step"] = 2;
  json["mlp_only_layers"] = {1, 47};
  Result<ModelConfig> config = importHfConfig(json.dump(), "q");
  ASSERT_TRUE(config.ok()) << config.error().message;
  for (size_t i = 0; i < 48; ++i)
    EXPECT_EQ(std::holds_alternative<Experts>(config->layers[i].ffn),
              i % 2 == 1 && i != 1 && i != 47)
        << i;
  EXPECT_EQ(config->layers[0].ffn, Ffn(Dense{6144}));
}

TEST(Families, Qwen3MoeYarn) {
  nlohmann::json json = exampleJson("qwen3-30b-a3b");
  json["max_position_embeddings"] = 131072;
  json["rope_scaling"] = {{"rope_type", "yarn"},
                          {"factor", 4.0},
                          {"original_max_position_embeddings", 32768}};
  Result<ModelConfig> config = importHfConfig(json.dump(), "q");
  ASSERT_TRUE(config.ok()) << config.error().message;
  Rotary rotary = std::get<Gqa>(config->layers[0].attention).rotary;
  EXPECT_EQ(rotary.yarnFactor, 4);
  EXPECT_EQ(rotary.yarnBetaFast, 32);
  EXPECT_EQ(rotary.yarnBetaSlow, 1);
  EXPECT_DOUBLE_EQ(rotary.attentionScale, 0.1 * std::log(4.0) + 1);
}

TEST(Families, RopeParametersSayTheSame) {
  // Newer versions of the library write one object instead of two fields.
  for (const char *name : {"qwen3-30b-a3b", "gpt-oss-20b", "deepseek-v3"}) {
    nlohmann::json json = exampleJson(name);
    nlohmann::json parameters = json["rope_scaling"].is_null()
                                    ? nlohmann::json::object()
                                    : json["rope_scaling"];
    parameters["rope_theta"] = json["rope_theta"];
    json.erase("rope_scaling");
    json.erase("rope_theta");
    json["rope_parameters"] = parameters;
    Result<ModelConfig> config = importHfConfig(json.dump(), name);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(*config, example(name));
  }
}

TEST(Families, Mixtral) {
  ModelConfig config = example("mixtral-8x7b");
  ASSERT_EQ(config.layers.size(), 32u);
  Gqa gqa = std::get<Gqa>(config.layers[0].attention);
  EXPECT_EQ(gqa.headDim, 128); // hidden_size / heads
  EXPECT_EQ(gqa.qkNorm, QkNorm::none);
  EXPECT_EQ(gqa.window, 0);
  Experts experts = std::get<Experts>(config.layers[0].ffn);
  EXPECT_EQ(experts.count, 8);
  EXPECT_EQ(experts.intermediate, 14336);
  EXPECT_EQ(experts.routing, (Routing{2, Scoring::softmax, true, 1, 1,
                                      GroupScore::maximum, 1.0}));
  nlohmann::json json = exampleJson("mixtral-8x7b");
  json["sliding_window"] = 4096;
  Result<ModelConfig> sliding = importHfConfig(json.dump(), "m");
  ASSERT_TRUE(sliding.ok());
  for (const Layer &layer : sliding->layers)
    EXPECT_EQ(std::get<Gqa>(layer.attention).window, 4096);
}

TEST(Families, GptOss) {
  ModelConfig config = example("gpt-oss-20b");
  ASSERT_EQ(config.layers.size(), 24u);
  for (size_t i = 0; i < 24; ++i)
    EXPECT_EQ(std::get<Gqa>(config.layers[i].attention).window,
              i % 2 == 0 ? 128 : 0);
  Gqa gqa = std::get<Gqa>(config.layers[0].attention);
  EXPECT_TRUE(gqa.qkvBias);
  EXPECT_TRUE(gqa.outBias);
  EXPECT_TRUE(gqa.sinks);
  EXPECT_EQ(gqa.headDim, 64);
  EXPECT_FALSE(gqa.rotary.interleaved);
  EXPECT_FALSE(gqa.rotary.yarnTruncate);
  EXPECT_DOUBLE_EQ(gqa.rotary.attentionScale, 0.1 * std::log(32.0) + 1);
  EXPECT_DOUBLE_EQ(gqa.softmaxScale, 0.125);
  Experts experts = std::get<Experts>(config.layers[0].ffn);
  EXPECT_TRUE(experts.routerBias);
  EXPECT_TRUE(experts.expertBias);
  EXPECT_FALSE(experts.correctionBias);
  EXPECT_EQ(experts.activation, (Swiglu{7.0, 1.702, 1.0}));
  EXPECT_TRUE(experts.routing.normalize);
}

TEST(Families, Glm4Moe) {
  ModelConfig config = example("glm-4.5-air");
  ASSERT_EQ(config.layers.size(), 46u);
  ASSERT_EQ(config.mtpLayers.size(), 1u);
  EXPECT_EQ(config.layers[0].ffn, Ffn(Dense{10944}));
  Gqa gqa = std::get<Gqa>(config.layers[0].attention);
  EXPECT_TRUE(gqa.qkvBias);
  EXPECT_FALSE(gqa.outBias);
  EXPECT_EQ(gqa.qkNorm, QkNorm::none);
  EXPECT_EQ(gqa.headDim, 128);
  EXPECT_EQ(gqa.rotary.dim, 64);
  EXPECT_EQ(gqa.rotary.begin, 0);
  EXPECT_FALSE(gqa.rotary.interleaved);
  Experts experts = std::get<Experts>(config.layers[1].ffn);
  EXPECT_TRUE(experts.correctionBias);
  EXPECT_EQ(experts.routing, (Routing{8, Scoring::sigmoid, true, 1, 1,
                                      GroupScore::top2Sum, 1.0}));
  EXPECT_EQ(experts.sharedIntermediate, 1408);
}

TEST(Families, Olmoe) {
  ModelConfig config = example("olmoe-1b-7b");
  ASSERT_EQ(config.layers.size(), 16u);
  Gqa gqa = std::get<Gqa>(config.layers[0].attention);
  EXPECT_EQ(gqa.qkNorm, QkNorm::full);
  EXPECT_EQ(gqa.headDim, 128);
  Experts experts = std::get<Experts>(config.layers[0].ffn);
  EXPECT_EQ(experts.routing, (Routing{8, Scoring::softmax, false, 1, 1,
                                      GroupScore::maximum, 1.0}));
}

TEST(Families, DefaultsAreTheLibrarys) {
  for (const std::string &name : exampleNames()) {
    nlohmann::json json = exampleJson(name);
    for (const char *field :
         {"initializer_range", "attention_dropout", "tie_word_embeddings",
          "hidden_act", "architectures", "decoder_sparse_step",
          "mlp_only_layers", "moe_layer_freq", "use_qk_norm", "swiglu_limit",
          "clip_qkv", "use_sliding_window", "torch_dtype", "use_cache"})
      json.erase(field);
    Result<ModelConfig> config = importHfConfig(json.dump(), name);
    ASSERT_TRUE(config.ok()) << name << ": " << config.error().message;
    EXPECT_EQ(*config, example(name)) << name;
  }
}

TEST(Families, UnknownFieldsAreNoted) {
  nlohmann::json json = exampleJson("deepseek-v3");
  json["zzz_unknown"] = 1;
  json["rope_scaling"]["another"] = 2;
  Result<ModelConfig> config = importHfConfig(json.dump(), "x");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->notes,
            (std::vector<std::string>{"ignored field rope_scaling.another",
                                      "ignored field zzz_unknown"}));
}

TEST(Families, PrintedConfigIsCanonical) {
  for (const std::string &name : exampleNames()) {
    std::string text = printConfig(example(name));
    EXPECT_EQ(text, printConfig(example(name)));
    nlohmann::json json = nlohmann::json::parse(text);
    EXPECT_EQ(json["layers"].size(), example(name).layers.size());
    EXPECT_EQ(json["parameters"]["total"],
              countParameters(example(name)).total);
  }
}

TEST(Families, ReadsFromFolders) {
  Result<ModelConfig> missing = readHfConfig("no/such/config.json");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("no/such/config.json"),
            std::string::npos);
  Result<ModelConfig> folder = readHfConfig("examples/models");
  EXPECT_FALSE(folder.ok());
}

} // namespace
} // namespace moe::model
