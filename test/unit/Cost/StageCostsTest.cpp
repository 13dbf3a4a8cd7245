#include "compiler/Cost/StageCosts.h"

#include "test/unit/Cost/SimpleMachine.h"

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

plan::Parameter parameter(std::vector<int64_t> shape,
                          plan::Replication replication, bool trainable) {
  plan::Parameter made;
  made.shape = std::move(shape);
  made.replication = replication;
  made.trainable = trainable;
  return made;
}

TEST(TrainableElements, LeaveFrozenParametersOut) {
  using plan::Replication;
  plan::Stage stage;
  stage.parameters = {parameter({3, 5}, Replication::dense, true),
                      parameter({7}, Replication::dense, true),
                      parameter({1000}, Replication::dense, false),
                      parameter({2, 4, 6}, Replication::expert, true),
                      parameter({1000, 2}, Replication::expert, false),
                      parameter({}, Replication::expert, true)};
  cost::TrainableElements elements = cost::trainableElements(stage);
  EXPECT_EQ(elements.dense, 22);
  EXPECT_EQ(elements.expert, 49);
  elements += elements;
  EXPECT_EQ(elements.dense, 44);
  EXPECT_EQ(elements.expert, 98);
  elements = cost::trainableElements({});
  EXPECT_EQ(elements.dense + elements.expert, 0);
}

// By hand, of a machine with 200 GB/s in a domain of 8 devices, 40 GB/s and
// 20 us between such, and 2 TB/s of memory.
TEST(EndOfStep, SumsGradientsAndUpdates) {
  const cost::Machine machine = cost::simpleMachine();
  const cost::TrainableElements elements{1'000'000, 4'000'000};
  // All that have the same dense elements are in one domain: of 4 MB, 3/2.
  // Nobody else has the experts.
  const cost::EndOfStep one{&machine, 4, 1, DType::bf16};
  EXPECT_EQ(one.reduceNs(elements), 5'000 + 30'000);
  // Read and written: 30 bytes each.
  EXPECT_EQ(one.updateNs(elements), 1'000 + 75'000);
  EXPECT_EQ(one.ns(elements), 35'000 + 76'000);
  // Two in the domain have the same experts, four apart: 16 MB, once.
  const cost::EndOfStep two{&machine, 4, 2, DType::bf16};
  EXPECT_EQ(two.reduceNs(elements), 5'000 + 35'000 + 5'000 + 80'000);
  // Two more have them in other domains, by the ports of two each.
  const cost::EndOfStep four{&machine, 4, 4, DType::bf16};
  EXPECT_EQ(four.reduceNs({0, 4'000'000}) - four.reduceNs({0, 0}),
            16'000'000 * 3 / 2 / 80);
  // Of f64 sums have 8 bytes, f32 and bf16 have 4.
  const cost::EndOfStep wide{&machine, 4, 1, DType::f64};
  EXPECT_EQ(wide.reduceNs(elements), 5'000 + 60'000);
  EXPECT_EQ(wide.updateNs(elements), 1'000 + 5'000'000 * 56 / 2'000);
  EXPECT_EQ(cost::sumBytes(DType::bf16), 4);
  EXPECT_EQ(cost::sumBytes(DType::f32), 4);
  // What two ranks have is sent at once both ways; nothing takes no time.
  const cost::Link link{700, 4e9};
  EXPECT_EQ(one.reduceSharedNs(link, 1'000'000), 700 + 1'000'000);
  EXPECT_EQ(one.reduceSharedNs(link, 0), 0);
  // A device that has all by itself only updates.
  const cost::EndOfStep alone{&machine, 1, 1, DType::bf16};
  EXPECT_EQ(alone.reduceNs(elements), 0);
}

} // namespace
