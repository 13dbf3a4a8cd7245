//===- CompiledPlansTest.cpp - plans that moe-plan made
//--------------------===//
//
// The same reduced model under two schedules, and with values on the host
// (test/data/plans/regenerate), also
// where there is no planner to make them, as under the thread sanitizer.
//
//===----------------------------------------------------------------------===//

#include "TinyPlan.h"

#include <gtest/gtest.h>

using namespace moe;
using namespace moe::test;

namespace {

plan::Plan readPlan(const char *schedule) {
  Result<plan::Plan> plan =
      plan::read("test/data/plans/qwen3-" + std::string(schedule) + ".json");
  EXPECT_TRUE(plan.ok()) << plan.error().message;
  return *plan;
}

std::vector<double> losses(const plan::Plan &plan, bool poison) {
  TinyModel batch;
  batch.sequenceLength = plan.layout.sequenceLength;
  exec::RunOptions options;
  options.steps = 3;
  options.executor.poison = poison;
  Result<exec::RunReport> report =
      runPlan(plan, makeData(batch, 4000), std::move(options));
  EXPECT_TRUE(report.ok()) << report.error().message;
  std::vector<double> result;
  if (report)
    for (const exec::StepReport &step : report->steps)
      result.push_back(step.loss);
  return result;
}

TEST(CompiledPlansTest, DualPipeVHasWhatMakesItHard) {
  plan::Plan plan = readPlan("dualpipe-v");
  size_t overlaps = 0, selfSends = 0, splits = 0;
  for (const plan::Rank &rank : plan.ranks)
    for (const plan::Step &step : rank.steps) {
      overlaps += step.kind == plan::StepKind::overlap;
      selfSends += step.kind == plan::StepKind::send && step.peer == rank.rank;
      splits += step.kind == plan::StepKind::run &&
                step.phase == plan::Phase::weight_grad;
    }
  EXPECT_GT(overlaps, 0u);
  EXPECT_GT(selfSends, 0u);
  EXPECT_GT(splits, 0u);
}

TEST(CompiledPlansTest, OffloadHasCopiesOnBothStreams) {
  plan::Plan plan = readPlan("offload");
  size_t out = 0, in = 0, overlaps = 0;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops) {
        out += op.stream == plan::Stream::copy_out;
        in += op.stream == plan::Stream::copy_in;
      }
  for (const plan::Rank &rank : plan.ranks) {
    overlaps += rank.overlaps.size();
    EXPECT_GT(rank.hostPeakBytes, 0);
  }
  EXPECT_GT(out, 8u);
  EXPECT_GT(in, out); // values that both halves of a backward read
  EXPECT_GT(overlaps, 0u);
}

TEST(CompiledPlansTest, CopiesAndNothingElseRunOnTheirStreams) {
  auto errorOf = [](plan::Plan plan, const std::string &kind,
                    plan::Stream stream) -> std::string {
    for (plan::Op &op : plan.stages[0].programs[0].ops)
      if (op.kind == kind)
        op.stream = stream;
    auto binding = exec::Binding::create(plan);
    return binding ? "no error" : binding.error().message;
  };
  plan::Plan plan = readPlan("offload");
  EXPECT_EQ(errorOf(plan, "offload", plan::Stream::copy_out), "no error");
  EXPECT_NE(errorOf(plan, "offload", plan::Stream::copy_in)
                .find("must be on stream copy_out, is on copy_in"),
            std::string::npos);
  EXPECT_NE(errorOf(plan, "linear", plan::Stream::copy_in)
                .find("is no copy, hence cannot be on stream copy_in"),
            std::string::npos);
}

TEST(CompiledPlansTest, AllGiveTheLossesOf1F1BBitForBit) {
  std::vector<double> reference = losses(readPlan("1f1b"), false);
  ASSERT_EQ(reference.size(), 3u);
  for (const char *plan : {"dualpipe-v", "offload"})
    for (bool poison : {false, true})
      EXPECT_EQ(losses(readPlan(plan), poison), reference) << plan;
}

} // namespace
