//===- PlannerTest.cpp - what the planner chooses by itself ---------------===//

#include "test/unit/EndToEnd/Outcome.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

using namespace moe;

namespace {

int64_t largestArena(const plan::Plan &plan) {
  int64_t most = 0;
  for (const plan::Rank &rank : plan.ranks)
    most = std::max(most, rank.arenaBytes);
  return most;
}

const plan::Assumption *find(const plan::Plan &plan, const std::string &name) {
  for (const plan::Assumption &assumption : plan.assumptions)
    if (assumption.name == name)
      return &assumption;
  return nullptr;
}

driver::PlanRequest published(const std::string &model, int64_t pipeline,
                              int64_t expert, int64_t microbatches) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/" + model + ".json";
  request.layout.pipeline = pipeline;
  request.layout.expert = expert;
  request.layout.microbatches = microbatches;
  request.layout.sequenceLength = 4096;
  return request;
}

} // namespace

class Planner : public testing::TestWithParam<std::string> {};

// Budgets from what just fits to everything kept: what is chosen fits, executes
// with the bytes that it predicts, and changes no bit.
TEST_P(Planner, FitsAndChangesNoBit) {
  std::mt19937 random(static_cast<uint32_t>(GetParam().size() * 17 + 3));
  for (const char *schedule : {"1f1b", "zb-h1", "dualpipe-v"}) {
    driver::PlanRequest request =
        test::request(GetParam(), test::randomReduction(GetParam(), 8, random));
    request.layout.pipeline = 2;
    request.layout.expert = 2;
    request.layout.microbatches = 4;
    request.layout.sequenceLength = 24;
    request.schedule = schedule;
    Result<driver::PlanAnswer> kept = driver::makePlan(request);
    ASSERT_TRUE(kept) << kept.error().message;
    Result<test::Outcome> expected = test::runTwice(kept->plan, 1);
    ASSERT_TRUE(expected) << expected.error().message;

    request.recompute = "full";
    Result<driver::PlanAnswer> full = driver::makePlan(request);
    ASSERT_TRUE(full) << full.error().message;
    request.recompute = request.offload = "auto";
    int64_t most = largestArena(kept->plan), least = largestArena(full->plan);
    int64_t reserve = kept->plan.machine.reserveBytes;
    for (int64_t eighths : {8, 4, 1}) {
      request.budgetBytes = reserve + least + (most - least) * eighths / 8;
      Result<driver::PlanAnswer> made = driver::makePlan(request);
      ASSERT_TRUE(made) << made.error().message;
      SCOPED_TRACE(GetParam() + " " + schedule + " " + std::to_string(eighths));
      EXPECT_TRUE(made->plan.prediction.fits);
      EXPECT_NE(find(made->plan, "policies.gap_to_bound"), nullptr);
      if (eighths == 8)
        EXPECT_TRUE(made->plan.decisions.empty());
      Result<test::Outcome> got = test::runTwice(made->plan, 2);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_EQ(got->losses, expected->losses);
      EXPECT_TRUE(got->gradients == expected->gradients);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Planner, testing::ValuesIn(test::kFamilies),
                         test::familyName);

// Real configurations at cluster size: never slower than a switch for all
// layers that fits, and more memory is never slower.
TEST(PlannerAtClusterSize, IsNeverSlowerThanGlobalSwitches) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  int64_t compared = 0;
  for (int64_t gib : {36, 42, 48, 54}) {
    request.budgetBytes = gib << 30;
    request.recompute = "auto";
    Result<driver::PlanAnswer> chosen = driver::makePlan(request);
    ASSERT_TRUE(chosen) << chosen.error().message;
    for (const char *global :
         {"", "norm", "moe_act", "norm,moe_act", "core_attn", "attn_proj",
          "routed_experts", "moe", "norm,moe", "full"}) {
      request.recompute = global;
      Result<driver::PlanAnswer> other = driver::makePlan(request);
      ASSERT_TRUE(other) << other.error().message;
      if (!other->plan.prediction.fits)
        continue;
      ++compared;
      EXPECT_TRUE(chosen->plan.prediction.fits) << gib << " " << global;
      EXPECT_LE(chosen->plan.prediction.stepNs, other->plan.prediction.stepNs)
          << gib << " GiB against " << global;
    }
  }
  EXPECT_GT(compared, 12);
}

// By the planner's own account more memory is never slower (PolicyFront); the
// simulation of the plan also sees what that leaves out, such as waits where
// bytes are reused: hence the last half of a percent.
TEST(PlannerAtClusterSize, MoreMemoryIsNotSlower) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  request.recompute = request.partition = "auto";
  int64_t before = 0;
  for (int64_t gib = 76; gib >= 34; gib -= 3) {
    request.budgetBytes = gib << 30;
    Result<driver::PlanAnswer> made = driver::makePlan(request);
    ASSERT_TRUE(made) << made.error().message;
    if (!made->plan.prediction.fits)
      break;
    EXPECT_GE(static_cast<double>(made->plan.prediction.stepNs),
              0.995 * static_cast<double>(before))
        << gib << " GiB";
    before = made->plan.prediction.stepNs;
  }
  EXPECT_GT(before, 0);
}

// Only the ranks that need it pay.
TEST(PlannerAtClusterSize, RelievesTheRankThatNeedsIt) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  Result<driver::PlanAnswer> kept = driver::makePlan(request);
  ASSERT_TRUE(kept) << kept.error().message;
  const std::vector<plan::Rank> &ranks = kept->plan.ranks;
  // Rank 0 holds the most; between it and the next.
  ASSERT_GT(ranks[0].arenaBytes, ranks[1].arenaBytes);
  request.budgetBytes = kept->plan.machine.reserveBytes +
                        (ranks[0].arenaBytes + ranks[1].arenaBytes) / 2;
  request.recompute = "auto";
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(made->plan.prediction.fits);
  EXPECT_FALSE(made->plan.decisions.empty());
  for (const plan::Decision &decision : made->plan.decisions)
    EXPECT_EQ(made->plan.stages[decision.stage].rank, 0);
}

TEST(PlannerAtClusterSize, SaysWhatWouldFit) {
  driver::PlanRequest request = published("deepseek-v3", 16, 64, 32);
  request.budgetBytes = int64_t{20} << 30;
  request.recompute = "auto";
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_FALSE(made->plan.prediction.fits);
  const plan::Assumption *least = find(made->plan, "policies.least_budget");
  ASSERT_NE(least, nullptr);
  EXPECT_THAT(least->value, testing::HasSubstr("GiB"));
}
