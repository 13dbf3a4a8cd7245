#include "compiler/Export/Compare.h"
#include "test/unit/Proof/PlanEdits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moe::report {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Compare, OfOnePlanNothingDiffers) {
  plan::Plan plan = test::goodPlan("qwen3-1f1b");
  std::string text = compare(plan, plan);
  EXPECT_THAT(text, HasSubstr("Inputs\n  the same\n"));
  EXPECT_THAT(text, HasSubstr("Decisions\n  the same\n"));
  EXPECT_THAT(text, Not(HasSubstr("->")));
  EXPECT_THAT(text, Not(HasSubstr("%\n")));
}

TEST(Compare, NamesInputsTimesAndRanks) {
  plan::Plan first = test::goodPlan("qwen3-1f1b");
  plan::Plan second = test::goodPlan("qwen3-dualpipe-v");
  std::string text = compare(first, second);
  EXPECT_THAT(text, HasSubstr("schedule"));
  EXPECT_THAT(text, HasSubstr("1f1b"));
  EXPECT_THAT(text, HasSubstr("dualpipe-v"));
  EXPECT_THAT(text, HasSubstr("step time"));
  EXPECT_THAT(text, HasSubstr("->")); // other layers on the ranks
  plan::Plan longer = first;
  longer.prediction.stepNs = first.prediction.stepNs * 2;
  longer.ranks.front().arenaBytes *= 2;
  EXPECT_THAT(compare(first, longer), HasSubstr("+100.0 %"));
}

TEST(Compare, RanksThatOnlyOneHasAreListed) {
  plan::Plan first = test::goodPlan("qwen3-1f1b"), second = first;
  second.ranks.pop_back();
  EXPECT_THAT(compare(first, second), HasSubstr("  -  "));
}

TEST(Compare, SharesChangeByPoints) {
  plan::Plan first = test::goodPlan("qwen3-1f1b"), second = first;
  first.prediction.bubble = 0.10;
  second.prediction.bubble = 0.15;
  std::string text = compare(first, second);
  EXPECT_THAT(text, HasSubstr("+5.0 points"));
  EXPECT_THAT(text, Not(HasSubstr("+50.0 %")));
}

TEST(Compare, ListsTheDecisionsThatDiffer) {
  plan::Plan first = test::goodPlan("qwen3-offload"), second = first;
  ASSERT_GT(first.decisions.size(), 1U);
  EXPECT_THAT(compare(first, second), HasSubstr("Decisions\n  the same\n"));
  second.decisions.front().action = plan::Action::recompute;
  const plan::Decision &changed = first.decisions.front();
  const std::string &name =
      first.stages[changed.stage].values[changed.value].name;
  std::string text = compare(first, second);
  EXPECT_THAT(text, HasSubstr("Decisions that differ\n"));
  EXPECT_THAT(text, HasSubstr("offload -> recompute"));
  EXPECT_THAT(text, HasSubstr(name.substr(name.find('.', 7) + 1)));
  EXPECT_THAT(text, Not(HasSubstr("recompute -> offload")));
}

TEST(Compare, OfManyDifferencesTheRestIsCounted) {
  plan::Plan first = test::goodPlan("qwen3-1f1b"), second = first;
  for (plan::Stage &stage : second.stages)
    for (plan::Value &value : stage.values)
      value.name += "2"; // nothing is called the same
  EXPECT_THAT(compare(first, second),
              testing::ContainsRegex("\n  and [0-9]+ more\n"));
}

} // namespace
} // namespace moe::report
