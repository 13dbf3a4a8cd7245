#include "compiler/Export/Compare.h"

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

TEST(Compare, OfOnePlanNothingDiffers) {
  plan::Plan plan = readPlan("qwen3-1f1b.json");
  std::string text = compare(plan, plan);
  EXPECT_THAT(text, HasSubstr("Inputs\n  the same\n"));
  EXPECT_THAT(text, Not(HasSubstr("->")));
  EXPECT_THAT(text, Not(HasSubstr("%\n")));
}

TEST(Compare, NamesInputsTimesAndRanks) {
  plan::Plan first = readPlan("qwen3-1f1b.json");
  plan::Plan second = readPlan("qwen3-dualpipe-v.json");
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
  plan::Plan first = readPlan("qwen3-1f1b.json"), second = first;
  second.ranks.pop_back();
  EXPECT_THAT(compare(first, second), HasSubstr("  -  "));
}

} // namespace
} // namespace moe::report
