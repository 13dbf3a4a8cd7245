//===- MutationTest.cpp - damaged configurations --------------------------===//

#include "test/unit/Import/TestConfigs.h"

#include <random>

namespace moe::model {
namespace {

using Json = nlohmann::json;

class Mutator {
public:
  explicit Mutator(uint32_t seed) : random(seed) {}

  /// Damages one to three fields; returns their names.
  std::vector<std::string> damage(Json &json) {
    std::vector<std::string> names;
    for (size_t n = 1 + pick(3); n > 0; --n) {
      if (json.empty())
        break;
      auto it = json.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(pick(json.size())));
      names.push_back(it.key());
      if (it->is_object() && pick(2))
        damage(*it);
      else if (pick(3) == 0)
        json.erase(it);
      else
        *it = value(*it);
    }
    return names;
  }

  size_t pick(size_t n) { return random() % n; }

private:
  Json value(const Json &old) {
    switch (pick(12)) {
    case 0:
      return nullptr;
    case 1:
      return true;
    case 2:
      return false;
    case 3:
      return 0;
    case 4:
      return -1;
    case 5:
      return INT64_MAX;
    case 6:
      return UINT64_MAX;
    case 7:
      return 1e308;
    case 8:
      return "text";
    case 9:
      return Json::array({old, 1, "two"});
    case 10:
      return Json::object({{"key", old}});
    default:
      if (old.is_number_integer() && old > -1000 && old < 1000000000)
        return old.get<int64_t>() + static_cast<int64_t>(pick(5)) - 2;
      return static_cast<int64_t>(pick(300));
    }
  }

  std::mt19937 random;
};

void expectSound(const ModelConfig &config) {
  ParameterCounts counts = countParameters(config);
  EXPECT_GT(counts.active, 0);
  EXPECT_GE(counts.total, counts.active);
  EXPECT_GE(counts.mtpTotal, counts.mtpActive);
  for (const Layer &layer : config.layers) {
    if (const auto *gqa = std::get_if<Gqa>(&layer.attention)) {
      EXPECT_EQ(gqa->heads % gqa->kvHeads, 0);
      EXPECT_LE(gqa->rotary.begin + gqa->rotary.dim, gqa->headDim);
      EXPECT_EQ(gqa->rotary.dim % 2, 0);
      EXPECT_GT(gqa->softmaxScale, 0);
    }
    if (const auto *experts = std::get_if<Experts>(&layer.ffn)) {
      EXPECT_LE(experts->routing.topK, experts->count);
      EXPECT_EQ(experts->count % experts->routing.groups, 0);
    } else {
      EXPECT_GT(std::get<Dense>(layer.ffn).intermediate, 0);
    }
  }
}

TEST(Mutation, DamagedFieldsGiveAModelOrAnErrorThatNamesAField) {
  int rejected = 0;
  for (uint32_t seed = 0; seed < 4000; ++seed) {
    Mutator mutator(seed);
    const auto &names = exampleNames();
    const std::string &name = names[mutator.pick(names.size())];
    Json json = exampleJson(name);
    const Json original = json;
    std::vector<std::string> damaged = mutator.damage(json);
    Result<ModelConfig> config = importHfConfig(json.dump(), "damaged");
    if (config) {
      expectSound(*config);
      continue;
    }
    ++rejected;
    // "<field>[.<field>]: ..." of a field of this or another version.
    std::string field = config.error().message;
    field = field.substr(0, field.find_first_of(":."));
    bool known = original.contains(field) || field == "head_dim" ||
                 field == "sliding_window" || field == "intermediate_size";
    EXPECT_TRUE(known) << seed << ": " << config.error().message;
  }
  // Most fields matter: a reader that accepts everything is broken.
  EXPECT_GT(rejected, 1500);
}

TEST(Mutation, TruncatedTextIsRejected) {
  for (const std::string &name : exampleNames()) {
    std::string text = exampleJson(name).dump();
    for (size_t length = 0; length < text.size(); length += 7)
      EXPECT_FALSE(importHfConfig(text.substr(0, length), "cut").ok());
  }
}

TEST(Mutation, RandomReductionsGiveAModelOrAnError) {
  const char *keys[] = {"first_dense",
                        "layers",
                        "mtp",
                        "hidden",
                        "vocabulary",
                        "heads",
                        "kv_heads",
                        "head_dim",
                        "window",
                        "q_lora_rank",
                        "kv_lora_rank",
                        "nope_dim",
                        "rope_dim",
                        "v_dim",
                        "intermediate",
                        "experts",
                        "top_k",
                        "groups",
                        "top_groups",
                        "moe_intermediate",
                        "shared_intermediate",
                        "nonsense"};
  int accepted = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    Mutator mutator(seed);
    const auto &names = exampleNames();
    ModelConfig config = example(names[mutator.pick(names.size())]);
    std::string text;
    for (size_t n = 1 + mutator.pick(3); n > 0; --n)
      text += (text.empty() ? "" : ",") +
              std::string(keys[mutator.pick(std::size(keys))]) + "=" +
              std::to_string(static_cast<int64_t>(1) << mutator.pick(9));
    Result<ModelConfig> reduced = reduce(config, text);
    if (reduced) {
      ++accepted;
      expectSound(*reduced);
      // A dense layer may be smaller than the experts that take its place.
      if (text.find("first_dense") == text.npos) {
        EXPECT_LE(countParameters(*reduced).total,
                  countParameters(config).total)
            << text;
      }
    } else {
      EXPECT_NE(reduced.error().message.find("reduction"), std::string::npos)
          << text << ": " << reduced.error().message;
    }
  }
  EXPECT_GT(accepted, 300);
}

} // namespace
} // namespace moe::model
