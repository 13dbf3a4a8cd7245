#include "compiler/Cost/StageCosts.h"

#include <gtest/gtest.h>

using namespace moe;

namespace {

plan::Op op(int64_t ns, plan::Stream stream = plan::Stream::compute,
            std::vector<int64_t> waits = {}) {
  plan::Op made;
  made.timeNs = ns;
  made.stream = stream;
  made.waits = std::move(waits);
  return made;
}

/// Values: 0 input, kept; 1 made in forward and kept; 2 output; 3 output_grad;
/// 4 made in backward_input for weight_grad; 5 input_grad.
plan::Stage splitStage() {
  plan::Stage stage;
  for (int64_t bytes : {256, 512, 1024, 1024, 2048, 256}) {
    plan::Value value;
    value.bytes = bytes;
    value.placement = plan::Placement::slot;
    stage.values.push_back(value);
  }
  plan::Program forward, backwardInput, weightGrad;
  forward.inputs = {0};
  forward.outputs = {2, 0, 1};
  forward.ops = {op(5), op(7, plan::Stream::expert_communication, {0}), op(3)};
  backwardInput.phase = plan::Phase::backward_input;
  backwardInput.inputs = {3, 0, 1};
  backwardInput.outputs = {5, 0};
  backwardInput.ops = {op(20), op(1)};
  weightGrad.phase = plan::Phase::weight_grad;
  weightGrad.inputs = {0};
  weightGrad.ops = {op(9)};
  stage.programs = {forward, backwardInput, weightGrad};
  return stage;
}

TEST(StageCosts, OfASplitBackward) {
  // The exchange runs beside the last op of the forward.
  EXPECT_EQ(cost::stageCosts(splitStage()),
            (schedule::StageCosts{12, 21, 9, 768, 256}));
}

TEST(StageCosts, WhatWeightGradientsNeedCountsFromTheForwardOn) {
  plan::Stage stage = splitStage();
  stage.programs[1].outputs = {5, 0, 4};
  stage.programs[2].inputs = {0, 4};
  EXPECT_EQ(cost::stageCosts(stage),
            (schedule::StageCosts{12, 21, 9, 2304, 2304}));
}

TEST(StageCosts, OfAFusedBackward) {
  plan::Stage stage = splitStage();
  stage.programs[1].phase = plan::Phase::backward;
  stage.programs.pop_back();
  EXPECT_EQ(cost::stageCosts(stage), (schedule::StageCosts{12, 21, 0, 768, 0}));
  // Both ways at once: the split one counts, or the other by itself.
  plan::Stage both = splitStage();
  both.programs.push_back(stage.programs[1]);
  EXPECT_EQ(cost::stageCosts(both), cost::stageCosts(splitStage()));
  EXPECT_EQ(cost::wholeStageCosts(both), cost::stageCosts(stage));
}

TEST(StageCosts, OfWhatLivesInsideAProgram) {
  plan::Stage stage = splitStage();
  // Made by the first op of the forward, released by its second, beside 100
  // bytes of scratch; on the host it would not count.
  plan::Value inside = stage.values[0];
  inside.placement = plan::Placement::fixed;
  inside.bytes = 1000;
  stage.values.push_back(inside);
  auto index = static_cast<plan::ValueIndex>(stage.values.size() - 1);
  stage.programs[0].ops[0].outputs.push_back(index);
  stage.programs[0].ops[1].scratchBytes = 100;
  stage.programs[0].ops[1].releases.push_back(index);
  stage.programs[0].ops[2].scratchBytes = 700;
  stage.programs[2].ops[0].scratchBytes = 50;
  schedule::StageCosts costs = cost::stageCosts(stage);
  EXPECT_EQ(costs.forwardTransientBytes, 1100);
  EXPECT_EQ(costs.backwardTransientBytes, 50);
  EXPECT_EQ(costs.savedBytes, 768);
  stage.values[index].memoryClass = plan::MemoryClass::host;
  EXPECT_EQ(cost::stageCosts(stage).forwardTransientBytes, 700);
}

TEST(StageCosts, OfAForwardAlone) {
  plan::Stage stage = splitStage();
  stage.programs.resize(1);
  EXPECT_EQ(cost::stageCosts(stage), (schedule::StageCosts{12, 0, 0, 0, 0}));
  EXPECT_EQ(cost::stageCosts({}), schedule::StageCosts{});
}

} // namespace
