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

} // namespace
} // namespace moe::report
