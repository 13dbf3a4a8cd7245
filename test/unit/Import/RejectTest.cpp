//===- RejectTest.cpp - configurations that must not be imported ----------===//
//
// Each case changes one published configuration by a JSON merge patch (null
// removes a field) and states a part of the message.
//
//===----------------------------------------------------------------------===//

#include "test/unit/Import/TestConfigs.h"

namespace moe::model {
namespace {

struct Case {
  const char *base;
  const char *patch;
  const char *message;
};

constexpr Case kCases[] = {
    // Unknown or contradictory architecture.
    {"qwen3-30b-a3b", R"({"model_type": "llama"})",
     R"(model_type: is "llama"; expected "deepseek_v2" or "deepseek_v3" or)"},
    {"qwen3-30b-a3b", R"({"model_type": null})", "model_type: is missing"},
    {"qwen3-30b-a3b", R"({"model_type": 3})", "model_type: is 3; expected"},
    {"qwen3-30b-a3b", R"({"architectures": ["MixtralForCausalLM"]})",
     R"(architectures: is "MixtralForCausalLM"; expected "Qwen3Moe)"},
    {"qwen3-30b-a3b", R"({"architectures": []})", "architectures: is []"},
    {"qwen3-30b-a3b", R"({"architectures": [1]})", "architectures: holds 1"},
    {"qwen3-30b-a3b", R"({"architectures": "x"})",
     "architectures: is \"x\"; expected a list of strings"},
    // Missing fields.
    {"qwen3-30b-a3b", R"({"hidden_size": null})", "hidden_size: is missing"},
    {"qwen3-30b-a3b", R"({"vocab_size": null})", "vocab_size: is missing"},
    {"qwen3-30b-a3b", R"({"rms_norm_eps": null})", "rms_norm_eps: is missing"},
    {"qwen3-30b-a3b", R"({"rope_theta": null})", "rope_theta: is missing"},
    {"qwen3-30b-a3b", R"({"num_key_value_heads": null})",
     "num_key_value_heads: is missing"},
    {"qwen3-30b-a3b", R"({"norm_topk_prob": null})",
     "norm_topk_prob: is missing; expected true or false"},
    {"glm-4.5-air", R"({"head_dim": null})", "head_dim: is missing"},
    {"glm-4.5-air", R"({"partial_rotary_factor": null})",
     "partial_rotary_factor: is missing"},
    {"deepseek-v2-lite", R"({"topk_method": null})", "topk_method: is missing"},
    {"deepseek-v2-lite", R"({"q_lora_rank": null})",
     "q_lora_rank: is missing; expected a rank, or null"},
    {"deepseek-v3", R"({"n_shared_experts": null})",
     "n_shared_experts: is missing"},
    {"deepseek-v3", R"({"intermediate_size": null})",
     "intermediate_size: is missing"},
    {"gpt-oss-20b", R"({"layer_types": null})", "layer_types: is missing"},
    {"gpt-oss-20b", R"({"rope_scaling": null})", "rope_scaling: is missing"},
    {"gpt-oss-20b", R"({"sliding_window": null})",
     "sliding_window: is missing"},
    // Wrong types.
    {"qwen3-30b-a3b", R"({"hidden_size": "2048"})",
     R"(hidden_size: is "2048"; expected an integer from 1 to 131072)"},
    {"qwen3-30b-a3b", R"({"hidden_size": 2048.0})",
     "hidden_size: is 2048.0; expected an integer"},
    {"qwen3-30b-a3b", R"({"hidden_size": [2048]})",
     "hidden_size: is a list of 1; expected"},
    {"qwen3-30b-a3b", R"({"norm_topk_prob": 1})",
     "norm_topk_prob: is 1; expected true or false"},
    {"qwen3-30b-a3b", R"({"rms_norm_eps": "1e-6"})",
     "rms_norm_eps: is \"1e-6\"; expected a number above 0"},
    {"deepseek-v3", R"({"rope_scaling": 4})",
     "rope_scaling: is 4; expected an object or null"},
    {"qwen3-30b-a3b", R"({"mlp_only_layers": 4})",
     "mlp_only_layers: is 4; expected a list of integers from 0 to 47"},
    {"gpt-oss-20b", R"({"layer_types": [1, 2]})", "layer_types: holds 1"},
    // Wrong ranges.
    {"qwen3-30b-a3b", R"({"hidden_size": 0})", "hidden_size: is 0; expected"},
    {"qwen3-30b-a3b", R"({"num_hidden_layers": -1})",
     "num_hidden_layers: is -1; expected"},
    {"qwen3-30b-a3b", R"({"num_hidden_layers": 1000000})",
     "num_hidden_layers: is 1000000; expected an integer from 1 to 4096"},
    {"qwen3-30b-a3b", R"({"vocab_size": 18446744073709551615})",
     "vocab_size: is 18446744073709551615; expected"},
    {"qwen3-30b-a3b", R"({"vocab_size": 1e300})", "vocab_size: is 1e+300"},
    {"qwen3-30b-a3b", R"({"rms_norm_eps": 0})", "rms_norm_eps: is 0"},
    {"qwen3-30b-a3b", R"({"rms_norm_eps": -1e-6})", "rms_norm_eps: is -1e-06"},
    {"qwen3-30b-a3b", R"({"rope_theta": 1})",
     "rope_theta: is 1.0; expected a number above 1"},
    {"qwen3-30b-a3b", R"({"mlp_only_layers": [48]})",
     "mlp_only_layers: holds 48"},
    {"glm-4.5-air", R"({"partial_rotary_factor": 1.5})",
     "partial_rotary_factor: is 1.5"},
    // Numbers that do not divide or fit.
    {"mixtral-8x7b", R"({"num_attention_heads": 30, "num_key_value_heads": 2})",
     "num_attention_heads: is 30; expected a divisor of hidden_size"},
    {"qwen3-30b-a3b", R"({"num_key_value_heads": 5})",
     "num_key_value_heads: is 5; expected a divisor of num_attention_heads, "
     "which is 32"},
    {"qwen3-30b-a3b", R"({"head_dim": 127})",
     "head_dim: makes 127 rotated columns a head; expected an even number"},
    {"glm-4.5-air", R"({"partial_rotary_factor": 0.3})",
     "partial_rotary_factor: is 0.3; expected a part of 1"},
    {"glm-4.5-air", R"({"head_dim": 126})",
     "partial_rotary_factor: makes 63 rotated columns"},
    {"deepseek-v3", R"({"qk_rope_head_dim": 63})",
     "qk_rope_head_dim: makes 63 rotated columns"},
    {"qwen3-30b-a3b", R"({"num_experts_per_tok": 129})",
     "num_experts_per_tok: is 129; expected at most num_experts, which is "
     "128"},
    {"deepseek-v3", R"({"n_group": 7})",
     "n_group: is 7; expected a divisor of n_routed_experts"},
    {"deepseek-v3", R"({"topk_group": 9})",
     "topk_group: is 9; expected at most n_group, which is 8"},
    {"deepseek-v3", R"({"n_group": 256, "topk_group": 8})",
     "n_group: is 256; expected at most half of n_routed_experts"},
    {"deepseek-v3", R"({"topk_group": 1, "num_experts_per_tok": 33})",
     "num_experts_per_tok: is 33; expected at most 32"},
    {"deepseek-v3", R"({"n_shared_experts": 1000})",
     "n_shared_experts: is 1000; expected at most 64"},
    // Contradictions.
    {"deepseek-v3", R"({"num_key_value_heads": 8})",
     "num_key_value_heads: is 8; expected 128"},
    {"deepseek-v3", R"({"first_k_dense_replace": 61})",
     "first_k_dense_replace: is 61; expected less than num_hidden_layers"},
    {"deepseek-v3", R"({"rope_scaling": {"factor": 20}})",
     "rope_scaling.factor: is 20; expected max_position_embeddings"},
    {"deepseek-v3", R"({"rope_scaling": {"factor": 0.5}})",
     "rope_scaling.factor: is 0.5; expected a number of at least 1"},
    {"deepseek-v3", R"({"rope_scaling": {"rope_type": "default"}})",
     "rope_scaling.type: is \"yarn\"; expected the value of rope_type"},
    {"deepseek-v3", R"({"rope_scaling": {"mscale_all_dim": null}})",
     "rope_scaling.mscale_all_dim: is missing; expected mscale and"},
    {"deepseek-v3", R"({"rope_scaling": {"beta_slow": 40}})",
     "rope_scaling.beta_slow: is 40; expected less than beta_fast"},
    {"deepseek-v3", R"({"rope_parameters": {"rope_theta": 10000}})",
     "rope_theta: is 10000; expected no such field beside rope_parameters"},
    {"gpt-oss-20b", R"({"num_hidden_layers": 23})",
     "layer_types: is a list of 24; expected 23, one for each"},
    {"gpt-oss-20b", R"({"experts_per_token": 8})",
     "experts_per_token: is 8; expected 4"},
    {"olmoe-1b-7b", R"({"head_dim": 64})",
     "head_dim: is 64; expected hidden_size / num_attention_heads"},
    {"qwen3-30b-a3b", R"({"decoder_sparse_step": 49})",
     "decoder_sparse_step: is 49; expected to leave layers with experts"},
    // Supported nowhere.
    {"qwen3-30b-a3b", R"({"hidden_act": "gelu"})",
     R"(hidden_act: is "gelu"; expected "silu")"},
    {"qwen3-30b-a3b", R"({"tie_word_embeddings": true})",
     "tie_word_embeddings: is true; expected false"},
    {"qwen3-30b-a3b", R"({"attention_dropout": 0.1})",
     "attention_dropout: is 0.1; expected 0"},
    {"qwen3-30b-a3b", R"({"use_sliding_window": true})",
     "use_sliding_window: is true; expected false"},
    {"qwen3-30b-a3b", R"({"partial_rotary_factor": 0.5})",
     "partial_rotary_factor: is 0.5; expected 1"},
    {"qwen3-30b-a3b", R"({"rope_scaling": {"rope_type": "linear"}})",
     R"(rope_scaling.rope_type: is "linear"; expected "yarn" or "default")"},
    {"qwen3-30b-a3b", R"({"rope_scaling": {"factor": 2}})",
     "rope_scaling.rope_type: is missing"},
    {"deepseek-v3", R"({"attention_bias": true})",
     "attention_bias: is true; expected false"},
    {"deepseek-v3", R"({"scoring_func": "softmax"})",
     R"(scoring_func: is "softmax"; expected "sigmoid")"},
    {"deepseek-v3", R"({"topk_method": "greedy"})",
     R"(topk_method: is "greedy"; expected "noaux_tc")"},
    {"deepseek-v2-lite", R"({"topk_method": "noaux_tc"})",
     R"(topk_method: is "noaux_tc"; expected "greedy" or)"},
    {"deepseek-v2-lite", R"({"norm_topk_prob": true})",
     "norm_topk_prob: is true; expected false"},
    {"deepseek-v2-lite", R"({"rms_norm_eps": 1e-5})",
     "rms_norm_eps: is 1e-05; expected 1e-06"},
    {"deepseek-v2-lite", R"({"num_nextn_predict_layers": 1})",
     "num_nextn_predict_layers: is 1; expected 0"},
    {"gpt-oss-20b", R"({"layer_types": ["chunked_attention"]})",
     R"(layer_types: holds "chunked_attention"; expected)"},
    {"olmoe-1b-7b", R"({"clip_qkv": 8.0})", "clip_qkv: is 8.0; expected null"},
    {"mixtral-8x7b", R"({"router_jitter_noise": 0.1})",
     "router_jitter_noise: is 0.1; expected 0"},
    {"mixtral-8x7b", R"({"attention_bias": true})",
     "attention_bias: is true; expected false"},
};

TEST(Reject, MessagesNameFieldValueAndExpectation) {
  for (const Case &test : kCases) {
    nlohmann::json json = exampleJson(test.base);
    json.merge_patch(nlohmann::json::parse(test.patch));
    Result<ModelConfig> config = importHfConfig(json.dump(), "bad");
    ASSERT_FALSE(config.ok()) << test.base << " " << test.patch;
    EXPECT_NE(config.error().message.find(test.message), std::string::npos)
        << test.base << " " << test.patch << "\n  " << config.error().message;
  }
}

TEST(Reject, Text) {
  struct {
    const char *text, *message;
  } const cases[] = {
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"{\"model_type\": \"mixtral\"} x", "not valid JSON"},
      {"\xff\xfe", "not valid JSON"},
      {"[]", "is []; expected a JSON object"},
      {"null", "is null; expected a JSON object"},
      {"{}", "model_type: is missing"},
      {R"({"model_type": "olmoe", "model_type": "mixtral"})",
       "\"model_type\": is given more than once"},
      {R"({"a": {"b": 1, "b": 2}})", "\"b\": is given more than once"},
  };
  for (const auto &test : cases) {
    Result<ModelConfig> config = importHfConfig(test.text, "bad");
    ASSERT_FALSE(config.ok()) << test.text;
    EXPECT_NE(config.error().message.find(test.message), std::string::npos)
        << test.text << "\n  " << config.error().message;
  }
}

TEST(Reject, LongValuesAreCut) {
  nlohmann::json json = exampleJson("mixtral-8x7b");
  json["hidden_act"] = std::string(100000, 'x');
  Result<ModelConfig> config = importHfConfig(json.dump(), "bad");
  ASSERT_FALSE(config.ok());
  EXPECT_LT(config.error().message.size(), 300u);
}

} // namespace
} // namespace moe::model
