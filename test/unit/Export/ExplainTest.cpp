#include "compiler/Export/Explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moe::report {
namespace {

using testing::HasSubstr;
using testing::Not;

plan::Plan readPlan(const std::string &name) {
  Result<plan::Plan> plan = plan::read("test/data/plans/" + name);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return *plan;
}

TEST(Explain, WithoutDecisionsEverythingIsKept) {
  plan::Plan plan = readPlan("qwen3-1f1b.json");
  std::string text = explain(plan);
  EXPECT_THAT(text, HasSubstr("everything is kept"));
  EXPECT_THAT(text, Not(HasSubstr("offload ")));
}

TEST(Explain, ListsWhatWasDecidedByStage) {
  plan::Plan plan = readPlan("qwen3-offload.json");
  std::string text = explain(plan);
  EXPECT_THAT(text, HasSubstr("offload"));
  EXPECT_THAT(text, HasSubstr("moe.dispatch:rows"));
}

TEST(Explain, AKeptValueHasAlternatives) {
  plan::Plan plan = readPlan("qwen3-1f1b.json");
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
  plan::Plan plan = readPlan("qwen3-offload.json");
  const plan::Decision &decision = plan.decisions.front();
  const std::string &name =
      plan.stages[decision.stage].values[decision.value].name;
  Result<std::string> text = explain(plan, name);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(*text, HasSubstr("because: " + decision.reason));
}

TEST(Explain, APartIsThatOfEveryLayer) {
  Result<std::string> text =
      explain(readPlan("qwen3-1f1b.json"), "moe.experts.act");
  ASSERT_TRUE(text.ok()) << text.error().message;
  for (int layer = 0; layer < 4; ++layer)
    EXPECT_THAT(*text, HasSubstr("layers." + std::to_string(layer) +
                                 ".moe.experts.act\n"));
}

TEST(Explain, AnUnknownNameIsAnErrorWithSimilarOnes) {
  Result<std::string> text = explain(readPlan("qwen3-1f1b.json"), "experts");
  ASSERT_FALSE(text.ok());
  EXPECT_THAT(text.error().message, HasSubstr("no value of the plan"));
  EXPECT_THAT(text.error().message, HasSubstr("moe.experts.act"));
}

} // namespace
} // namespace moe::report
