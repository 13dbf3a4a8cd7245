//===- ScheduleChoiceTest.cpp - the schedule that suits choices -----------===//

#include "support/Files.h"
#include "test/unit/Driver/Bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>

using namespace moe;
using namespace moe::driver;

namespace {

PlanAnswer planOf(const PlanRequest &request) {
  Result<PlanAnswer> made = makePlan(request);
  EXPECT_TRUE(made) << made.error().message;
  return made ? std::move(*made) : PlanAnswer();
}

/// The plan with schedule "auto" takes no more than this part of what the plan
/// of each of the schedules does.
void expectNoSlower(PlanRequest request, double part,
                    std::initializer_list<const char *> schedules) {
  const PlanAnswer best = planOf(request);
  EXPECT_TRUE(best.plan.prediction.fits);
  EXPECT_TRUE(std::any_of(
      best.plan.assumptions.begin(), best.plan.assumptions.end(),
      [](const auto &each) { return each.name == "schedule.gap_to_bound"; }));
  for (const char *schedule : schedules) {
    request.schedule = schedule;
    const PlanAnswer published = planOf(request);
    EXPECT_TRUE(published.plan.prediction.fits) << schedule;
    EXPECT_LE(static_cast<double>(best.plan.prediction.stepNs),
              part * static_cast<double>(published.plan.prediction.stepNs))
        << schedule;
  }
}

// Whatever promised less than it takes: a draft that is slower than the best
// plan does not end the trial of its schedule.
TEST(ScheduleChoice, IsNoSlowerThanAnyPublishedSchedule) {
  PlanRequest request = requestOf("olmoe-1b-7b", 4, 4, "auto");
  request.layout.microbatches = 16;
  request.budgetBytes = int64_t{26} << 30;
  expectNoSlower(
      request, 1,
      {"gpipe", "1f1b", "interleaved", "zb-1p", "zb-v", "dualpipe-v"});
}

// Whole backwards in the order of DualPipeV hide exchanges and hold nothing for
// weight gradients, which no published schedule does.
TEST(ScheduleChoice, FindsOrdersBeyondThePublishedOnes) {
  PlanRequest request = requestOf("qwen3-30b-a3b", 4, 8, "auto");
  request.layout.microbatches = 16;
  request.budgetBytes = int64_t{36} << 30;
  expectNoSlower(request, .97, {"1f1b", "interleaved", "dualpipe-v"});
}

// No published schedule has these stages.
TEST(ScheduleChoice, OrdersWhateverStagesAreAskedFor) {
  PlanRequest request = requestOf("olmoe-1b-7b", 4, 4, "auto");
  request.layout.microbatches = 8;
  request.stagesPerRank = 3;
  request.placement = "v";
  request.budgetBytes = int64_t{30} << 30;
  const PlanAnswer made = planOf(request);
  EXPECT_TRUE(made.plan.prediction.fits);
  EXPECT_EQ(made.plan.stages.size(), 12u);
}

// On one rank nothing but the plan that needs least fits that much. The files
// come with it all the same.
TEST(ScheduleChoice, NamesABudgetThatIsEnough) {
  for (int64_t pipeline : {4, 1}) {
    SCOPED_TRACE(pipeline);
    PlanRequest request = requestOf("olmoe-1b-7b", pipeline, 4, "auto");
    request.layout.microbatches = 4;
    request.reportsLevers = false;
    request.budgetBytes = int64_t{9} << 30;
    const PlanAnswer least = planOf(request);
    ASSERT_FALSE(least.plan.prediction.fits);
    int64_t bytes = 0;
    for (const plan::Rank &rank : least.plan.ranks)
      bytes =
          std::max(bytes, rank.arenaBytes + least.plan.machine.reserveBytes);
    request.budgetBytes = bytes - bytes / 16;
    EXPECT_EQ(planOf(request).plan.ranks, least.plan.ranks);
    request.budgetBytes = bytes;
    request.schedulePath = testing::TempDir() + "enough.csv";
    EXPECT_TRUE(planOf(request).plan.prediction.fits);
    EXPECT_TRUE(readFile(request.schedulePath));
    std::remove(request.schedulePath.c_str());
  }
}

} // namespace
