//===- StreamOrderTest.cpp ------------------------------------------------===//

#include "NaiveStreams.h"
#include "RandomPlan.h"
#include "TinyPlan.h"

#include "runtime/Plan/Replay.h"
#include "runtime/Plan/StreamOrder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace moe::plan {
namespace {

using testing::HasSubstr;

constexpr Stream kCompute = Stream::compute;
constexpr Stream kExperts = Stream::expert_communication;

TEST(StreamOrder, ReadsComeAfterWrites) {
  StreamOrder order;
  order.issue(kExperts, {});
  EXPECT_EQ(order.write(0, 256), -1);
  order.issue(kExperts, {});
  EXPECT_EQ(order.read(0, 256), -1);
  order.issue(kCompute, {});
  EXPECT_EQ(order.read(0, 256), 0);
  EXPECT_EQ(order.read(256, 512), -1);
  order.issue(kCompute, {0});
  EXPECT_EQ(order.read(0, 256), -1);
}

TEST(StreamOrder, WaitsCarryOnAlongStreams) {
  StreamOrder order;
  order.issue(kExperts, {});
  EXPECT_EQ(order.write(0, 256), -1);
  order.issue(kCompute, {0});
  order.issue(kCompute, {}); // after 1, hence after 0
  EXPECT_EQ(order.read(0, 256), -1);
  order.issue(kExperts, {2}); // 3
  EXPECT_EQ(order.write(0, 256), -1);
  order.issue(kCompute, {}); // 4
  EXPECT_EQ(order.write(0, 256), 3);
}

TEST(StreamOrder, WritesComeAfterAllUsesOfTheBytes) {
  StreamOrder order;
  order.addInput(0, 1024);
  order.issue(kExperts, {});
  EXPECT_EQ(order.read(0, 1024), -1);
  order.issue(kCompute, {});
  EXPECT_EQ(order.write(256, 512), 0);
  // The bytes around it are still being read.
  order.issue(kCompute, {});
  EXPECT_EQ(order.write(512, 768), 0);
  EXPECT_EQ(order.write(0, 256), 0);
  EXPECT_EQ(order.write(0, 512), -1);
  order.issue(kCompute, {0});
  EXPECT_EQ(order.write(0, 2048), -1);
}

TEST(StreamOrder, ReleasesComeAfterUsesOnOtherStreams) {
  StreamOrder order;
  order.addInput(0, 256);
  order.issue(kExperts, {});
  EXPECT_EQ(order.read(0, 256), -1);
  EXPECT_EQ(order.release(0, 256), -1); // its own use
  order.issue(kCompute, {});
  EXPECT_EQ(order.read(0, 256), -1);
  EXPECT_EQ(order.release(0, 256), 0);
  order.issue(kCompute, {0});
  EXPECT_EQ(order.release(0, 256), -1);
}

TEST(StreamOrder, AdditionsToAGradientRunOneAfterTheOther) {
  Plan plan = overlapPlan();
  std::vector<Op> &ops = plan.stages[0].programs[1].ops;
  ops[2].kind = ops[3].kind = "linear_weight_grad";
  ops[2].parameters = ops[3].parameters = {0};
  EXPECT_EQ(checkError(plan), "no error");
  ops[1].kind = "linear_weight_grad";
  ops[1].parameters = {0};
  EXPECT_EQ(checkError(plan), "no error"); // the third waits for the second
  ops[0].kind = "linear_weight_grad";
  ops[0].parameters = {0};
  ops[1].inputs = {4}; // and the second no longer needs the first
  ops[1].waits.clear();
  EXPECT_EQ(checkError(plan),
            "$.ranks[0].overlaps[0].order[1]: op "
            "\"experts.dispatch.input_grad\" adds to the gradient of "
            "\"embedding.table\" while op \"loss.input_grad\" on stream "
            "\"compute\" may still be adding to it; a wait for it is missing");
}

/// All waits of a plan: of ops, and of overlaps.
std::vector<int64_t *> waitsOf(Plan &plan) {
  std::vector<int64_t *> waits;
  for (Stage &stage : plan.stages)
    for (Program &program : stage.programs)
      for (Op &op : program.ops)
        for (int64_t &on : op.waits)
          waits.push_back(&on);
  for (Rank &rank : plan.ranks)
    for (Overlap &overlap : rank.overlaps)
      for (Overlap::Wait &wait : overlap.waits)
        waits.push_back(&wait.on);
  return waits;
}

void eraseWait(Plan &plan, size_t index) {
  int64_t *wait = waitsOf(plan)[index];
  *wait = -1;
  for (Stage &stage : plan.stages)
    for (Program &program : stage.programs)
      for (Op &op : program.ops)
        std::erase(op.waits, -1);
  for (Rank &rank : plan.ranks)
    for (Overlap &overlap : rank.overlaps)
      std::erase_if(overlap.waits,
                    [](const Overlap::Wait &w) { return w.on == -1; });
}

/// A wait may be left out exactly when no op can begin too early without it.
TEST(StreamOrder, EveryWaitThatMattersIsNeeded) {
  int needed = 0, needless = 0;
  for (unsigned seed = 2000; seed < 2200; ++seed) {
    Plan plan = makeRandomPlan(seed);
    ASSERT_FALSE(racesSomewhere(plan)) << seed;
    size_t count = waitsOf(plan).size();
    for (size_t i = 0; i < count; ++i) {
      Plan mutant = plan;
      eraseWait(mutant, i);
      std::string error = checkError(mutant);
      bool races = racesSomewhere(mutant);
      ASSERT_EQ(error != "no error", races) << seed << " " << i << error;
      if (races)
        ASSERT_THAT(error, HasSubstr("a wait for it is missing"));
      (races ? needed : needless) += 1;
    }
  }
  EXPECT_GT(needed, 300);
  EXPECT_GT(needless, 100);
}

/// Waiting for an earlier op is refused exactly when that is too early.
TEST(StreamOrder, WaitsForTheWrongOpAreFound) {
  std::mt19937 random(6);
  int wrong = 0, right = 0;
  for (unsigned seed = 2200; seed < 3200; ++seed) {
    Plan plan = makeRandomPlan(seed);
    std::vector<int64_t *> waits = waitsOf(plan);
    if (waits.empty())
      continue;
    int64_t &on = *waits[random() % waits.size()];
    if (on == 0)
      continue;
    on = random() % on;
    std::string error = checkError(plan);
    // Other ops are of the same stream or member, or there is none.
    if (error.find("same stream") != std::string::npos ||
        error.find("same member") != std::string::npos ||
        error.find("must be an ") != std::string::npos ||
        error.find("second op of stream") != std::string::npos ||
        error.find("waits must rise") != std::string::npos)
      continue;
    bool races = racesSomewhere(plan);
    (races ? wrong : right) += 1;
    ASSERT_EQ(error != "no error", races) << seed << ": " << error;
  }
  EXPECT_GT(wrong, 50);
  EXPECT_GT(right, 10);
}

/// An op on another stream needs other waits.
TEST(StreamOrder, OpsOnTheWrongStreamAreFound) {
  std::mt19937 random(7);
  int wrong = 0, right = 0;
  for (unsigned seed = 3200; seed < 3800; ++seed) {
    Plan plan = makeRandomPlan(seed);
    Stage &stage = plan.stages[random() % plan.stages.size()];
    Program &program = stage.programs[random() % stage.programs.size()];
    if (program.ops.empty())
      continue;
    Op &op = program.ops[random() % program.ops.size()];
    op.stream = op.stream == kCompute ? kExperts : kCompute;
    std::string error = checkError(plan);
    if (error.find("same stream") != std::string::npos ||
        error.find("second op of stream") != std::string::npos ||
        error.find("must be a value on the") != std::string::npos)
      continue;
    bool races = racesSomewhere(plan);
    (races ? wrong : right) += 1;
    ASSERT_EQ(error != "no error", races) << seed << ": " << error;
  }
  EXPECT_GT(wrong, 50);
  EXPECT_GT(right, 20);
}

TEST(StreamOrder, BothOpsAreNamed) {
  Plan plan = overlapPlan();
  plan.stages[0].programs[0].ops[2].waits.clear();
  EXPECT_EQ(checkError(plan),
            "$.stages[0].programs[0].ops[2].inputs[0]: op "
            "\"experts.activation\" reads value \"sent\" while op "
            "\"experts.dispatch\" on stream \"expert_communication\" may still "
            "be writing it; a wait for it is missing");

  plan = overlapPlan();
  plan.ranks[0].overlaps[0].waits.clear();
  EXPECT_EQ(checkError(plan),
            "$.ranks[0].overlaps[0].order[4]: op \"experts.dispatch\" writes "
            "value \"sent\" of stage \"s0\" at bytes 4608 to 4864 while op "
            "\"experts.activation.input_grad\" on stream \"compute\" may still "
            "be using them; a wait for it is missing");

  // The activation frees what the dispatch reads, and no longer waits for it.
  plan = overlapPlan();
  std::vector<Op> &ops = plan.stages[0].programs[1].ops;
  ops[2].inputs = {6, 4};
  ops[2].waits.clear();
  ops[2].releases = {6, 4};
  ops[1].releases = {7};
  Result<Replay> result = replay(plan, 0); // does not look at claims
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message,
            "$.ranks[0].overlaps[0].order[3]: op "
            "\"experts.activation.input_grad\" releases value \"d_y\" of stage "
            "\"s0\" while op \"experts.dispatch.input_grad\" on stream "
            "\"expert_communication\" may still be using it; a wait for it is "
            "missing");
}

} // namespace
} // namespace moe::plan
