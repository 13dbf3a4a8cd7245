//===- OwnOrdersTest.cpp - orders of steps beyond the published ones ------===//

#include "driver/OwnOrders.h"

#include "test/unit/Driver/Bench.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

using namespace moe;
using namespace moe::driver;

namespace {

struct OwnOrders : Bench {
  OwnOrders(const std::string &model, int64_t pipeline, int64_t expert,
            const std::string &schedule)
      : Bench(requestOf(model, pipeline, expert, schedule)) {}

  Candidate candidate(const PlanBudget &budget) {
    Result<Candidate> made = candidateOf(first, budget, request.schedule);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
};

const schedule::Schedule &stepsOf(const Candidate &candidate) {
  return candidate.ordered.chooser->steps();
}

// What an order holds beside the rest, the search may use: choices that fit are
// within its limits, others are not.
TEST(OwnOrders, MayHoldWhatChoicesLeave) {
  for (const char *schedule : {"interleaved", "1f1b", "zb-v", "dualpipe-v"}) {
    OwnOrders bench("qwen3-30b-a3b", 4, 8, schedule);
    bool fits = false, exceeds = false;
    for (double gibibytes : {20.0, 33.0, 45.0, 60.0}) {
      const PlanBudget budget = bench.budget(gibibytes);
      const Candidate candidate = bench.candidate(budget);
      Result<schedule::Structure> structure =
          structureOf(*bench.inputs, *bench.compiler, budget, candidate);
      ASSERT_TRUE(structure) << structure.error().message;
      Status checked = structure->check();
      EXPECT_TRUE(checked) << checked.error().message;
      Result<schedule::Evaluation> evaluation =
          schedule::evaluate(stepsOf(candidate), structure->costs);
      ASSERT_TRUE(evaluation) << evaluation.error().message;
      const bool isWithin =
          schedule::withinLimits(*evaluation, structure->costs).ok();
      EXPECT_EQ(isWithin, candidate.promised.fits())
          << schedule << ", " << gibibytes;
      (isWithin ? fits : exceeds) = true;
    }
    EXPECT_TRUE(fits && exceeds) << schedule;
  }
}

// The search goes by what choices cost, and its orders are kept only where
// choices for them are better.
TEST(OwnOrders, AreNeverWorseThanWhatTheyAreSearchedFrom) {
  int better = 0;
  for (const char *schedule : {"interleaved", "grouped-interleaved", "v-min"}) {
    OwnOrders bench("olmoe-1b-7b", 4, 4, schedule);
    for (double gibibytes : {18.5, 22.0, 28.0}) {
      const PlanBudget budget = bench.budget(gibibytes);
      const Candidate seed = bench.candidate(budget);
      const std::vector<Candidate> all =
          searchFrom(*bench.inputs, *bench.compiler, budget, {seed});
      ASSERT_EQ(all.size(), 1u);
      const Candidate &found = all.front();
      EXPECT_LE(found.value(), seed.value()) << schedule << ", " << gibibytes;
      Status legal = schedule::verify(stepsOf(found));
      EXPECT_TRUE(legal) << legal.error().message;
      EXPECT_EQ(stepsOf(found).problem, stepsOf(seed).problem);
      const bool isOther = stepsOf(found).ranks != stepsOf(seed).ranks;
      EXPECT_EQ(found.value() < seed.value(), isOther);
      better += isOther;
    }
  }
  EXPECT_GT(better, 0);
}

TEST(OwnOrders, WithWholeBackwardsHaveNoWeightGradients) {
  OwnOrders bench("qwen3-30b-a3b", 4, 8, "dualpipe-v");
  const PlanBudget budget = bench.budget(45);
  const Candidate split = bench.candidate(budget);
  ASSERT_TRUE(schedule::splitsBackwards(stepsOf(split)));
  Result<Candidate> whole =
      withWholeBackwards(*bench.inputs, *bench.compiler, budget, split);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_FALSE(schedule::splitsBackwards(stepsOf(*whole)));
  EXPECT_FALSE(schedule::overlappingPairs(stepsOf(*whole)).empty());
  Status legal = schedule::verify(stepsOf(*whole));
  EXPECT_TRUE(legal) << legal.error().message;
  // Nothing is held for weight gradients, and exchanges hide behind them.
  EXPECT_LT(whole->value(), split.value());
}

} // namespace
