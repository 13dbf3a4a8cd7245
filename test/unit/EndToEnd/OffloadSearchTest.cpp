//===- OffloadSearchTest.cpp - the search knows what waits on the host ----===//

#include "test/unit/EndToEnd/Outcome.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include "runtime/Plan/Proof.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace moe;

// The search knows what leaves for the host: under one budget it has more
// microbatches under way, and the plan says that the step is shorter for it.
TEST(OffloadAndSearch, MoreUnderWayWithinOneBudget) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/qwen3-30b-a3b.json";
  request.layout.pipeline = 4;
  request.layout.expert = 8;
  request.layout.microbatches = 16;
  request.layout.sequenceLength = 4096;
  request.schedule = "auto";
  request.budgetBytes = int64_t{48} << 30;
  Result<driver::PlanAnswer> without = driver::makePlan(request);
  ASSERT_TRUE(without) << without.error().message;
  request.offload = "moe.experts.gate_up";
  Result<driver::PlanAnswer> with = driver::makePlan(request);
  ASSERT_TRUE(with) << with.error().message;
  EXPECT_TRUE(without->plan.prediction.fits);
  EXPECT_TRUE(with->plan.prediction.fits);
  EXPECT_TRUE(plan::prove(with->plan).holds());
  EXPECT_LT(with->plan.prediction.stepNs, without->plan.prediction.stepNs);
}

// Budgets between what the best order takes with values on the host and what it
// takes without: it fits, runs with the bytes of the plan, and changes no bit.
TEST(OffloadAndSearch, TrainsTheSame) {
  std::mt19937 random(11);
  for (const char *family : {"qwen3-30b-a3b", "deepseek-v3", "mixtral-8x7b"}) {
    driver::PlanRequest request =
        test::request(family, test::randomReduction(family, 8, random));
    request.layout.pipeline = 4;
    request.layout.microbatches = 6;
    request.layout.sequenceLength = 16;
    Result<driver::PlanAnswer> plain = driver::makePlan(request);
    ASSERT_TRUE(plain) << plain.error().message;
    Result<test::Outcome> expected = test::runTwice(plain->plan, 1);
    ASSERT_TRUE(expected) << expected.error().message;
    request.offload = "expert_fc1,moe_act";
    Result<driver::PlanAnswer> least = driver::makePlan(request);
    ASSERT_TRUE(least) << least.error().message;
    request.schedule = "auto";
    int64_t low = test::largestArena(least->plan),
            high = test::largestArena(plain->plan);
    for (int64_t part : {0, 1, 2}) {
      SCOPED_TRACE(std::string(family) + " " + std::to_string(part));
      request.budgetBytes =
          plain->plan.machine.reserveBytes + low + (high - low) * part / 2;
      Result<driver::PlanAnswer> made = driver::makePlan(request);
      ASSERT_TRUE(made) << made.error().message;
      EXPECT_TRUE(made->plan.prediction.fits);
      EXPECT_FALSE(made->plan.decisions.empty());
      Result<test::Outcome> got = test::runTwice(made->plan, 2);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_TRUE(*got == *expected);
    }
  }
}
