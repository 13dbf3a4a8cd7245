//===- CompileTest.cpp - drafts of what has been decided ------------------===//

#include "driver/Compile.h"

#include <gtest/gtest.h>

#include <string>

using namespace moe;

namespace {

driver::PlanRequest requestFor(const std::string &schedule, int64_t jobs) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/olmoe-1b-7b.json";
  request.layout.pipeline = request.layout.expert = 4;
  request.layout.microbatches = 8;
  request.layout.sequenceLength = 4096;
  request.schedule = schedule;
  request.jobs = jobs;
  return request;
}

} // namespace

// Streams wait for each other's bytes where the budget is too small without,
// and only where that makes a rank smaller.
TEST(Drafts, StreamsWaitForBytesWhereThatSavesSome) {
  int waiting = 0, ranks = 0;
  for (const char *schedule : {"1f1b", "interleaved", "zb-h1", "dualpipe-v"}) {
    const driver::PlanRequest request = requestFor(schedule, 1);
    Result<driver::Inputs> inputs = driver::gatherInputs(request);
    ASSERT_TRUE(inputs) << inputs.error().message;
    Result<driver::Compiler> compiler = driver::Compiler::make(*inputs);
    ASSERT_TRUE(compiler) << compiler.error().message;
    for (const char *offload : {"", "expert_fc1", "moe"})
      for (int64_t budget : {int64_t{1}, int64_t{1} << 40}) {
        Result<driver::Draft> draft = compiler->draft(
            {schedule}, {{}, "norm,moe_act", offload}, budget, false);
        ASSERT_TRUE(draft) << draft.error().message;
        for (size_t rank = 0; rank < draft->arenaBytes.size(); ++rank) {
          const int64_t without = draft->bytesWithoutWaits[rank];
          if (budget > 1)
            EXPECT_EQ(draft->arenaBytes[rank], without);
          else
            EXPECT_LE(draft->arenaBytes[rank], without);
          waiting += draft->arenaBytes[rank] < without;
          ++ranks;
        }
      }
  }
  EXPECT_GT(waiting, ranks / 8);
}

TEST(Drafts, AreTheSameHoweverManyRanksArePlacedAtATime) {
  for (const char *schedule : {"1f1b", "dualpipe"}) {
    plan::Plan plans[2];
    for (int64_t jobs : {1, 3}) {
      const driver::PlanRequest request = requestFor(schedule, jobs);
      Result<driver::Inputs> inputs = driver::gatherInputs(request);
      ASSERT_TRUE(inputs) << inputs.error().message;
      Result<driver::Compiler> compiler = driver::Compiler::make(*inputs);
      ASSERT_TRUE(compiler) << compiler.error().message;
      Result<driver::Draft> draft =
          compiler->draft({schedule}, {}, int64_t{1} << 40, false);
      ASSERT_TRUE(draft) << draft.error().message;
      Result<driver::PlanAnswer> made = draft->finish();
      ASSERT_TRUE(made) << made.error().message;
      plans[jobs / 2] = std::move(made->plan);
    }
    EXPECT_EQ(plans[0], plans[1]) << schedule;
  }
}
