//===- LeastPlanTest.cpp - the plan that needs least memory ---------------===//

#include "driver/Driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

using namespace moe;

namespace {

class LeastPlan : public testing::TestWithParam<std::string> {
protected:
  LeastPlan() {
    request.modelPath = "examples/models/olmoe-1b-7b.json";
    request.layout.pipeline = request.layout.expert = 4;
    request.layout.microbatches = 8;
    request.layout.sequenceLength = 4096;
    request.schedule = GetParam();
    request.partition = request.recompute = request.offload = "auto";
    request.reportsLevers = false;
    request.onProgress = [this](size_t, size_t, const std::string &) {
      ++drafts;
    };
  }

  plan::Plan within(int64_t bytes) {
    drafts = 0;
    request.budgetBytes = bytes;
    Result<driver::PlanAnswer> made = driver::makePlan(request);
    EXPECT_TRUE(made) << made.error().message;
    return made ? std::move(made->plan) : plan::Plan();
  }

  driver::PlanRequest request;
  int drafts = 0;
};

// Which plan needs least does not depend on the budget, and where there is that
// much memory, it fits.
TEST_P(LeastPlan, FitsWhereThereIsThatMuchMemory) {
  const plan::Plan least = within(int64_t{7} << 30);
  ASSERT_FALSE(least.prediction.fits);
  int64_t bytes = 0;
  for (const plan::Rank &rank : least.ranks)
    bytes = std::max(bytes, rank.arenaBytes + least.machine.reserveBytes);
  EXPECT_TRUE(within(bytes).prediction.fits);
  for (int64_t part : {2, 16}) {
    const plan::Plan other = within(bytes - bytes / part);
    EXPECT_FALSE(other.prediction.fits);
    EXPECT_EQ(other.ranks, least.ranks) << "1/" << part;
  }
}

// What cannot fit is not drafted again and again.
TEST_P(LeastPlan, IsSoonKnownWhereMemoryIsFarTooSmall) {
  EXPECT_FALSE(within(int64_t{9} << 30).prediction.fits);
  EXPECT_GT(drafts, 0);
  EXPECT_LE(drafts, 4);
}

INSTANTIATE_TEST_SUITE_P(Schedules, LeastPlan,
                         testing::Values("1f1b", "interleaved", "zb-h1", "zb-v",
                                         "v-half", "dualpipe", "dualpipe-v"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
