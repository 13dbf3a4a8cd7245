//===- TrialsTest.cpp - plans of one schedule -----------------------------===//

#include "driver/Trials.h"

#include "driver/Driver.h"

#include <gtest/gtest.h>

using namespace moe;

// Made for stages that keep everything, the order of steps leaves no choices
// that fit; made for such choices, it does.
TEST(Trials, FindAnOrderOfStepsThatFits) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/deepseek-v3.json";
  request.layout.pipeline = 16;
  request.layout.expert = 64;
  request.layout.microbatches = 32;
  request.layout.sequenceLength = 4096;
  request.schedule = "zb-v";
  request.partition = request.recompute = request.offload = "auto";
  request.budgetBytes = int64_t{58} << 30;
  Result<driver::Inputs> inputs = driver::gatherInputs(request);
  ASSERT_TRUE(inputs) << inputs.error().message;
  inputs->config.mtpLayers.clear();
  Result<driver::Compiler> compiler = driver::Compiler::make(*inputs);
  ASSERT_TRUE(compiler) << compiler.error().message;
  driver::Trial trial{request.schedule};
  Result<driver::Chooser> chooser =
      driver::makeChooser(*inputs, *compiler, trial);
  ASSERT_TRUE(chooser) << chooser.error().message;
  const driver::PlanBudget budget{request.budgetBytes,
                                  inputs->machine.reserveBytes, 0};
  Result<driver::Chosen> chosen =
      chooser->choose(budget.room(chooser->rankCount()));
  ASSERT_TRUE(chosen) << chosen.error().message;
  EXPECT_FALSE(chosen->fits());
  Result<driver::PlanAnswer> made =
      driver::planTrial(*inputs, *compiler, {request.schedule}, false);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(made->plan.prediction.fits);
}

// The orders of steps that come first give plans that are longer by a third
// there.
TEST(Trials, LookLongerForAnOrderNearTheLeastMemory) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/qwen3-30b-a3b.json";
  request.layout.pipeline = 4;
  request.layout.expert = 8;
  request.layout.microbatches = 32;
  request.layout.sequenceLength = 4096;
  request.schedule = "zb-v";
  request.partition = request.recompute = request.offload = "auto";
  auto stepNs = [&](int64_t gibibytes) {
    request.budgetBytes = gibibytes << 30;
    Result<driver::PlanAnswer> made = driver::makePlan(request);
    EXPECT_TRUE(made) << made.error().message;
    EXPECT_TRUE(made && made->plan.prediction.fits);
    return made ? static_cast<double>(made->plan.prediction.stepNs) : 0;
  };
  EXPECT_LT(stepNs(37), 1.15 * stepNs(42));
}
