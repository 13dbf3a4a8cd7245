//===- ReduceTest.cpp - explicit reductions -------------------------------===//

#include "test/unit/Import/TestConfigs.h"

#include <cmath>

namespace moe::model {
namespace {

ModelConfig reduced(const std::string &name, const std::string &reductions) {
  Result<ModelConfig> config = reduce(example(name), reductions);
  EXPECT_TRUE(config.ok()) << config.error().message;
  return config ? *config : ModelConfig();
}

TEST(Reduce, NothingToDo) {
  EXPECT_EQ(reduced("mixtral-8x7b", ""), example("mixtral-8x7b"));
}

TEST(Reduce, Qwen3Moe) {
  ModelConfig config = reduced(
      "qwen3-30b-a3b", "vocabulary=256,layers=4,hidden=64,heads=4,kv_heads=2,"
                       "head_dim=16,experts=8,top_k=2,moe_intermediate=32");
  EXPECT_EQ(config.layers.size(), 4u);
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.vocabulary, 256);
  Gqa gqa = std::get<Gqa>(config.layers[3].attention);
  EXPECT_EQ(gqa.heads, 4);
  EXPECT_EQ(gqa.kvHeads, 2);
  EXPECT_EQ(gqa.headDim, 16);
  EXPECT_EQ(gqa.rotary.dim, 16);
  EXPECT_DOUBLE_EQ(gqa.softmaxScale, 0.25);
  EXPECT_EQ(gqa.qkNorm, QkNorm::head);
  Experts experts = std::get<Experts>(config.layers[3].ffn);
  EXPECT_EQ(experts.count, 8);
  EXPECT_EQ(experts.intermediate, 32);
  EXPECT_EQ(experts.routing.topK, 2);
  EXPECT_TRUE(experts.routing.normalize);
  // Canonical order, whatever the order of the text.
  EXPECT_EQ(config.reductions,
            (std::vector<std::string>{"layers=4", "hidden=64", "vocabulary=256",
                                      "heads=4", "kv_heads=2", "head_dim=16",
                                      "experts=8", "moe_intermediate=32",
                                      "top_k=2"}));
}

TEST(Reduce, DeepseekV3KeepsItsKindsOfLayers) {
  ModelConfig config = reduced(
      "deepseek-v3",
      "layers=3,first_dense=1,mtp=0,hidden=64,heads=4,q_lora_rank=24,"
      "kv_lora_rank=16,nope_dim=16,rope_dim=8,v_dim=12,intermediate=96,"
      "experts=16,moe_intermediate=32,shared_intermediate=48,top_k=4,groups=4,"
      "top_groups=2,vocabulary=256");
  ASSERT_EQ(config.layers.size(), 3u);
  EXPECT_TRUE(config.mtpLayers.empty());
  EXPECT_EQ(config.layers[0].ffn, Ffn(Dense{96}));
  Experts experts = std::get<Experts>(config.layers[1].ffn);
  EXPECT_EQ(config.layers[2].ffn, Ffn(experts));
  EXPECT_EQ(experts.sharedIntermediate, 48);
  EXPECT_EQ(experts.routing.groups, 4);
  EXPECT_EQ(experts.routing.scale, 2.5);
  Mla mla = std::get<Mla>(config.layers[0].attention);
  EXPECT_EQ(mla.rotary.begin, 0);
  EXPECT_EQ(mla.rotary.dim, 8);
  EXPECT_EQ(mla.vDim, 12);
  double mscale = 0.1 * std::log(40.0) + 1;
  EXPECT_DOUBLE_EQ(mla.softmaxScale, mscale * mscale / std::sqrt(24.0));
}

TEST(Reduce, GlmKeepsItsPartOfRotatedColumns) {
  ModelConfig config = reduced("glm-4.5-air", "head_dim=32");
  EXPECT_EQ(std::get<Gqa>(config.layers[0].attention).rotary.dim, 16);
  EXPECT_EQ(std::get<Gqa>(config.mtpLayers[0].attention).rotary.dim, 16);
}

TEST(Reduce, WindowsOnlyWhereTheyWere) {
  ModelConfig config = reduced("gpt-oss-20b", "window=8,layers=3");
  ASSERT_EQ(config.layers.size(), 3u);
  EXPECT_EQ(std::get<Gqa>(config.layers[0].attention).window, 8);
  EXPECT_EQ(std::get<Gqa>(config.layers[1].attention).window, 0);
  EXPECT_EQ(std::get<Gqa>(config.layers[2].attention).window, 8);
}

TEST(Reduce, Twice) {
  ModelConfig once = reduced("mixtral-8x7b", "layers=4");
  Result<ModelConfig> twice = reduce(once, "layers=2");
  ASSERT_TRUE(twice.ok());
  EXPECT_EQ(twice->reductions,
            (std::vector<std::string>{"layers=4", "layers=2"}));
  EXPECT_FALSE(reduce(once, "layers=5").ok());
}

TEST(Reduce, Errors) {
  struct {
    const char *name, *reductions, *message;
  } const cases[] = {
      {"mixtral-8x7b", "depth=4",
       "\"depth=4\": unknown key; expected key="
       "value with one of first_dense, layers"},
      {"mixtral-8x7b", ",", "unknown key"},
      {"mixtral-8x7b", "layers",
       "reduction layers: value is \"\"; expected an "
       "integer, as in layers=4"},
      {"mixtral-8x7b", "layers=4x", "value is \"4x\""},
      {"mixtral-8x7b", "layers=99999999999999999999", "value is \"9999"},
      {"mixtral-8x7b", "layers=4,layers=4", "more than once"},
      {"mixtral-8x7b", "layers=0", "is 0; expected an integer from 1 to 32"},
      {"mixtral-8x7b", "layers=33", "is 33; expected an integer from 1 to 32"},
      {"mixtral-8x7b", "intermediate=64",
       "reduction intermediate: the model has no dense layers "
       "(moe_intermediate"},
      {"mixtral-8x7b", "window=4", "no sliding windows"},
      {"mixtral-8x7b", "mtp=0", "no multi-token prediction layers"},
      {"mixtral-8x7b", "q_lora_rank=4", "no low-rank queries"},
      {"mixtral-8x7b", "shared_intermediate=4", "no shared experts"},
      {"mixtral-8x7b", "first_dense=0", "no leading dense layers"},
      {"deepseek-v2-lite", "kv_heads=4", "no grouped-query attention"},
      {"mixtral-8x7b", "heads=6",
       "reduction kv_heads: is 8; expected a divisor "
       "of reduction heads, which is 6"},
      {"mixtral-8x7b", "experts=1", "reduction top_k: is 2; expected at most"},
      {"mixtral-8x7b", "head_dim=7", "reduction head_dim: makes 7 rotated"},
      {"glm-4.5-air", "head_dim=7",
       "reduction head_dim: is 7; expected a "
       "value that keeps the part"},
      {"deepseek-v3", "rope_dim=7", "reduction rope_dim: makes 7 rotated"},
      {"deepseek-v3", "experts=8",
       "reduction groups: is 8; expected at most "
       "half of reduction experts"},
      {"deepseek-v3", "experts=16,top_groups=2",
       "reduction top_k: is 8; expected at most 4"},
      {"deepseek-v3", "layers=3", "no layer with experts is left"},
  };
  for (const auto &test : cases) {
    Result<ModelConfig> config = reduce(example(test.name), test.reductions);
    ASSERT_FALSE(config.ok()) << test.name << " " << test.reductions;
    EXPECT_NE(config.error().message.find(test.message), std::string::npos)
        << test.name << " " << test.reductions << "\n  "
        << config.error().message;
  }
}

} // namespace
} // namespace moe::model
