#include "compiler/Export/Explain.h"
#include "test/unit/Proof/PlanEdits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

} // namespace
} // namespace moe::report
