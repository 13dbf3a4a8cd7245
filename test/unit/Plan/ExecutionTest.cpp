//===- ExecutionTest.cpp --------------------------------------------------===//

#include "TinyPlan.h"

#include "runtime/Plan/Execution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moe::plan {
namespace {

using testing::HasSubstr;

/// One pair of slots stands for others only where those touch nothing else.
TEST(Execution, EverySlotIsLookedAt) {
  Plan plan = overlapPlan();
  // The third lies across the first two, the fourth across what is fixed.
  plan.stages[0].slots = {{2304}, {3328}, {2816}, {4096}};
  Result<Execution> execution = Execution::ofOverlap(plan, 0, 0);
  ASSERT_TRUE(execution.ok()) << execution.error().message;
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(execution->place({1, 0}).ok());
    EXPECT_TRUE(execution->place({0, 1}).ok());
    Status status = execution->place({0, 2});
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message,
                HasSubstr("$.ranks[0].overlaps[0].order[2]: value \"x\" of "
                          "stage \"s0\" at bytes 2816 to 3072 overlaps value "
                          "\"tokens\" of stage \"s0\""));
    status = execution->place({3, 0});
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("(slot 3)"));
  }
}

TEST(Execution, ProgramsByThemselves) {
  Plan plan = overlapPlan();
  plan.stages[0].slots = {{2304}, {3328}, {4096}};
  Result<Execution> execution = Execution::ofProgram(plan, 0, 0);
  ASSERT_TRUE(execution.ok()) << execution.error().message;
  ASSERT_EQ(execution->live().size(), 4u);
  EXPECT_EQ(execution->peakPosition(), 2);
  EXPECT_EQ(execution->op(2).name, "experts.activation");
  EXPECT_TRUE(execution->place({0, -1}).ok());
  EXPECT_TRUE(execution->place({1, -1}).ok());
  EXPECT_FALSE(execution->place({2, -1}).ok());
}

} // namespace
} // namespace moe::plan
