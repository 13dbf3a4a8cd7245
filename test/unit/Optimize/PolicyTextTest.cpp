//===- PolicyTextTest.cpp - lists of targets and values -------------------===//

#include "compiler/Optimize/PolicyText.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

using namespace moe;
using namespace moe::policy;
using testing::HasSubstr;

namespace {

std::string errorOf(std::string_view text, Leads leads = Leads::refused) {
  Result<std::vector<Choice>> choices = parseChoices(text, leads);
  EXPECT_FALSE(choices) << text;
  return choices ? std::string() : choices.error().message;
}

std::string printAll(const std::vector<Choice> &choices) {
  std::string text;
  for (const Choice &choice : choices)
    text += (text.empty() ? "" : ",") + print(choice);
  return text;
}

bool isCovered(std::string_view target, std::string_view part) {
  const Target *found = findTarget(target);
  EXPECT_NE(found, nullptr) << target;
  return found && covers(*found, part);
}

} // namespace

TEST(PolicyText, ReadsNamesAndScopes) {
  Result<std::vector<Choice>> choices = parseChoices(
      "norm,moe_act@layers.3-5,expert_fc1@rank0-3,layers.3.mlp.act@stage2,"
      "full@mtp.0,moe.dispatch:rows");
  ASSERT_TRUE(choices) << choices.error().message;
  using Kind = Scope::Kind;
  std::vector<Choice> expected = {{"norm", {}},
                                  {"moe_act", {Kind::layers, 3, 5}},
                                  {"expert_fc1", {Kind::ranks, 0, 3}},
                                  {"layers.3.mlp.act", {Kind::stages, 2, 2}},
                                  {"full", {Kind::mtp, 0, 0}},
                                  {"moe.dispatch:rows", {}}};
  EXPECT_EQ(*choices, expected);
}

TEST(PolicyText, PrintsWhatItReads) {
  for (const char *text : {"norm", "norm,norm", "moe@layers.0-999999999",
                           "a.b:c@mtp.1", "x@stage0-1,y@rank7"}) {
    Result<std::vector<Choice>> choices = parseChoices(text);
    ASSERT_TRUE(choices) << choices.error().message;
    EXPECT_EQ(printAll(*choices), text);
  }
  // One number is a range of one.
  EXPECT_EQ(printAll(*parseChoices("norm@rank2-2")), "norm@rank2");
}

TEST(PolicyText, ErrorsQuoteTheItem) {
  EXPECT_EQ(errorOf(""), "the list of targets is empty");
  EXPECT_EQ(errorOf("norm,"), "'': an item of the list is empty");
  EXPECT_EQ(errorOf(",norm"), "'': an item of the list is empty");
  EXPECT_EQ(errorOf("@rank0"), "'@rank0': there is no name before '@'");
  EXPECT_EQ(errorOf("norm moe"),
            "'norm moe': ' ' cannot be part of a name; names have letters, "
            "digits, '_', '.' and ':'");
  EXPECT_THAT(errorOf("moe,norm@"),
              HasSubstr("'norm@': the scope behind '@' is empty; a scope is "
                        "layers.A-B, mtp.A-B, stageA-B or rankA-B"));
  EXPECT_THAT(errorOf("norm@layer3"),
              HasSubstr("unknown scope 'layer3'; a scope is"));
  EXPECT_EQ(errorOf("norm@layers.5-3"),
            "'norm@layers.5-3': the range 5-3 ends before it begins");
  for (const char *text :
       {"norm@rank", "norm@rank-", "norm@rank1-", "norm@rank-1", "norm@rank 1",
        "norm@rank1-2-3", "norm@rank+1", "norm@rank0x1", "norm@rank1000000000",
        "norm@rank99999999999999999999"})
    EXPECT_THAT(errorOf(text), HasSubstr("is no number or range of numbers"))
        << text;
}

TEST(PolicyText, ReadsLeads) {
  const char *text = "norm@lead0,moe_act@layers.3-5@lead12,full";
  Result<std::vector<Choice>> choices = parseChoices(text, Leads::taken);
  ASSERT_TRUE(choices) << choices.error().message;
  using Kind = Scope::Kind;
  std::vector<Choice> expected = {{"norm", {}, 0},
                                  {"moe_act", {Kind::layers, 3, 5}, 12},
                                  {"full", {}, std::nullopt}};
  EXPECT_EQ(*choices, expected);
  EXPECT_EQ(printAll(*choices), text);
  // In any order behind the name.
  EXPECT_EQ(printAll(*parseChoices("norm@lead1@rank2", Leads::taken)),
            "norm@rank2@lead1");
  EXPECT_EQ(errorOf("norm@lead1"),
            "'norm@lead1': a lead is for what is offloaded");
  EXPECT_EQ(errorOf("norm@lead1@lead2", Leads::taken),
            "'norm@lead1@lead2': it has two leads");
  EXPECT_EQ(errorOf("norm@rank1@rank2", Leads::taken),
            "'norm@rank1@rank2': it has two scopes");
  for (const char *wrong : {"norm@lead", "norm@lead-1", "norm@lead1x",
                            "norm@lead1-2", "norm@lead1000000000"})
    EXPECT_THAT(errorOf(wrong, Leads::taken), HasSubstr("is no lead")) << wrong;
}

TEST(PolicyText, UnknownNamesListTheTargets) {
  std::string text = unknownName("moe-act");
  EXPECT_THAT(text, HasSubstr("'moe-act' is neither a target nor a value"));
  for (const Target &target : targets())
    EXPECT_THAT(text, HasSubstr(std::string(target.name)));
}

// Which targets lie in which: what is inside is covered by what holds it.
TEST(PolicyText, TargetsNest) {
  const std::vector<std::string_view> parts = {"input_norm",
                                               "attention.q_proj",
                                               "attention.q_down",
                                               "attention.q_down_norm",
                                               "attention.key",
                                               "attention.core",
                                               "attention.o_proj",
                                               "attention_residual",
                                               "post_norm",
                                               "mlp.gate_up",
                                               "mlp.act",
                                               "moe.router",
                                               "moe.route",
                                               "moe.dispatch",
                                               "moe.experts.gate_up",
                                               "moe.experts.act",
                                               "moe.combine",
                                               "moe.shared.act",
                                               "ffn_residual",
                                               "final_norm",
                                               "lm_head",
                                               "loss"};
  auto coveredBy = [&](std::string_view target) {
    std::set<std::string_view> covered;
    for (std::string_view part : parts)
      if (isCovered(target, part))
        covered.insert(part);
    return covered;
  };
  auto isInside = [&](std::string_view inner, std::string_view outer) {
    auto a = coveredBy(inner), b = coveredBy(outer);
    EXPECT_FALSE(a.empty()) << inner;
    return std::includes(b.begin(), b.end(), a.begin(), a.end());
  };
  for (std::string_view inner : {"moe_act", "expert_fc1"})
    EXPECT_TRUE(isInside(inner, "routed_experts"));
  for (std::string_view inner : {"routed_experts", "shared_experts"})
    EXPECT_TRUE(isInside(inner, "moe"));
  for (std::string_view inner :
       {"moe", "mlp", "core_attn", "mla_up_proj", "attn_proj"})
    EXPECT_TRUE(isInside(inner, "full"));
  // The final norm belongs to no layer.
  EXPECT_FALSE(isInside("norm", "full"));
  for (std::string_view left : {"mlp", "moe", "core_attn", "norm"})
    for (std::string_view right : {"mlp", "moe", "core_attn", "norm"})
      EXPECT_EQ(isInside(left, right), left == right);
  // A layer's result is the input of the next: what full recomputation keeps.
  EXPECT_FALSE(isCovered("full", "ffn_residual"));
  EXPECT_FALSE(isCovered("full", "lm_head"));
}

// Damaged text is refused with a message or means something that prints and
// reads back as itself.
TEST(PolicyText, DamagedTextNeverCrashes) {
  std::mt19937 random(17);
  const std::string good = "norm,moe_act@layers.3-5,expert_fc1@rank0-3@lead0,"
                           "layers.3.mlp.act@stage2,"
                           "full@mtp.0,moe.dispatch:rows@lead2";
  using namespace std::string_literals;
  const std::string alphabet = "@,.-:_ 019azZ\n\t\0/%"s;
  int64_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good.substr(random() % good.size());
    text.resize(random() % (text.size() + 1));
    for (size_t edits = random() % 4; edits > 0 && !text.empty(); --edits) {
      size_t at = random() % text.size();
      switch (random() % 3) {
      case 0:
        text[at] = alphabet[random() % alphabet.size()];
        break;
      case 1:
        text.erase(at, 1 + random() % 3);
        break;
      default:
        text.insert(at, 1, alphabet[random() % alphabet.size()]);
      }
    }
    Result<std::vector<Choice>> choices = parseChoices(text, Leads::taken);
    if (!choices) {
      EXPECT_FALSE(choices.error().message.empty());
      continue;
    }
    ++accepted;
    Result<std::vector<Choice>> again =
        parseChoices(printAll(*choices), Leads::taken);
    ASSERT_TRUE(again) << text;
    EXPECT_EQ(*again, *choices) << text;
  }
  EXPECT_GT(accepted, 500);
}
