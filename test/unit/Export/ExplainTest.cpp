#include "compiler/Export/Explain.h"
#include "test/unit/Proof/PlanEdits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace moe::report {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Explain, WithoutDecisionsEverythingIsKept) {
  plan::Plan plan = test::goodPlan("qwen3-1f1b");
  std::string text = explain(plan);
  EXPECT_THAT(text, HasSubstr("everything is kept"));
  EXPECT_THAT(text, Not(HasSubstr("offload ")));
}

TEST(Explain, ListsWhatWasDecidedByStage) {
  plan::Plan plan = test::goodPlan("qwen3-offload");
  std::string text = explain(plan);
  EXPECT_THAT(text, HasSubstr("offload"));
  EXPECT_THAT(text, HasSubstr("moe.dispatch:rows"));
}

TEST(Explain, AKeptValueHasAlternatives) {
  plan::Plan plan = test::goodPlan("qwen3-1f1b");
  Result<std::string> text = explain(plan, "layers.0.moe.experts.act");
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(*text, HasSubstr("made by"));
  EXPECT_THAT(*text, HasSubstr("kept"));
  // PP 2: the first rank holds two microbatches.
  EXPECT_THAT(*text, HasSubstr("at most 2 microbatches in flight"));
  EXPECT_THAT(*text, HasSubstr("--recompute moe.experts.act"));
  EXPECT_THAT(*text, HasSubstr("host link"));
  text = explain(plan, "layers.0.moe.route");
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(*text, HasSubstr("may decide differently"));
}

TEST(Explain, AnOffloadedValueHasItsReason) {
  plan::Plan plan = test::goodPlan("qwen3-offload");
  const plan::Decision &decision = plan.decisions.front();
  const std::string &name =
      plan.stages[decision.stage].values[decision.value].name;
  Result<std::string> text = explain(plan, name);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(*text, HasSubstr("because: " + decision.reason));
}

TEST(Explain, APartIsThatOfEveryLayer) {
  Result<std::string> text =
      explain(test::goodPlan("qwen3-1f1b"), "moe.experts.act");
  ASSERT_TRUE(text.ok()) << text.error().message;
  for (int layer = 0; layer < 4; ++layer)
    EXPECT_THAT(*text, HasSubstr("layers." + std::to_string(layer) +
                                 ".moe.experts.act\n"));
}

TEST(Explain, AnUnknownNameIsAnErrorWithSimilarOnes) {
  Result<std::string> text = explain(test::goodPlan("qwen3-1f1b"), "experts");
  ASSERT_FALSE(text.ok());
  EXPECT_THAT(text.error().message, HasSubstr("no value of the plan"));
  EXPECT_THAT(text.error().message, HasSubstr("moe.experts.act"));
}

TEST(Explain, ValuesOfATreatmentAreALineOfTheirOwn) {
  plan::Plan plan = test::goodPlan("qwen3-offload");
  std::string text = explain(plan);
  EXPECT_THAT(text, HasSubstr("\n      keep       "));
  EXPECT_THAT(text, HasSubstr("\n      offload    "));
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line); // what it is about
  while (std::getline(lines, line))
    EXPECT_LE(line.size(), 100U) << line;
}

TEST(Explain, LayersAreNamedWhereOthersAreTreatedOtherwise) {
  plan::Plan plan = test::goodPlan("qwen3-1f1b");
  auto decide = [&](const std::string &name) {
    for (size_t s = 0; s < plan.stages.size(); ++s)
      for (size_t v = 0; v < plan.stages[s].values.size(); ++v)
        if (plan.stages[s].values[v].name == name)
          plan.decisions.push_back({static_cast<int64_t>(s),
                                    static_cast<plan::ValueIndex>(v),
                                    plan::Action::recompute, 1, 1, "test"});
  };
  decide("layers.0.post_norm");
  decide("layers.0.moe.experts.act");
  decide("layers.1.moe.experts.act");
  std::string text = explain(plan);
  EXPECT_THAT(text, HasSubstr("post_norm (layer 1)"));
  EXPECT_THAT(text,
              HasSubstr("recompute  post_norm (layer 0), moe.experts.act\n"));
}

TEST(Explain, AnUnknownNameOfALayerIsAnErrorWithThoseOfTheLayer) {
  plan::Plan plan = test::goodPlan("qwen3-1f1b");
  auto errorOf = [&](const char *name) {
    Result<std::string> text = explain(plan, name);
    return text ? "" : text.error().message;
  };
  EXPECT_THAT(errorOf("layers.1"), HasSubstr("similar: layers.1."));
  EXPECT_THAT(errorOf("layers.1.moe.experts.atc"),
              HasSubstr("similar: layers.1.moe.experts.act"));
  EXPECT_THAT(errorOf("layers.9.moe.experts.act"),
              HasSubstr("moe.experts.act is there for layers 0-3"));
  EXPECT_THAT(errorOf("moe.experts.atc"), HasSubstr("moe.experts.act"));
}

} // namespace
} // namespace moe::report
