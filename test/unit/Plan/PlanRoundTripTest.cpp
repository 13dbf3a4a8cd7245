//===- PlanRoundTripTest.cpp ----------------------------------------------===//

#include "RandomPlan.h"
#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace moe::plan {
namespace {

TEST(PlanRoundTrip, TinyPlansAreInPrintedForm) {
  EXPECT_EQ(print(tinyPlan()), tinyText());
  EXPECT_EQ(print(overlapPlan()), overlapText());
}

TEST(PlanRoundTrip, ReadsEveryField) {
  Plan plan = tinyPlan();
  EXPECT_EQ(plan.generator, "written by hand");
  EXPECT_EQ(plan.model.reductions, std::vector<std::string>{"layers=1"});
  EXPECT_EQ(plan.model.totalParameters, 264);
  EXPECT_EQ(plan.machine.budgetBytes, 8192);
  EXPECT_EQ(plan.machine.flopsPerSecond, 1e12);
  EXPECT_EQ(plan.machine.linkLatencyNs, 100);
  EXPECT_EQ(plan.machine.linkBytesPerSecond, 5e10);
  EXPECT_EQ(plan.machine.localBytesPerSecond, 1e12);
  EXPECT_EQ(plan.prediction.modelFlops, 1e5);
  EXPECT_EQ(plan.prediction.modelFlopsUtilization, 0.05);
  EXPECT_EQ(plan.layout.microbatches, 2);
  EXPECT_EQ(plan.capacityFactor, 1.25);
  EXPECT_TRUE(plan.prediction.fits);
  ASSERT_EQ(plan.stages.size(), 2u);
  const Stage &stage = plan.stages[0];
  EXPECT_EQ(stage.slots, (std::vector<std::vector<int64_t>>{{2560}, {3328}}));
  EXPECT_EQ(stage.parameters[0].initializer.standardDeviation, 0.02);
  EXPECT_FALSE(stage.parameters[1].trainable);
  EXPECT_EQ(stage.values[5].dtype, DType::f32);
  EXPECT_EQ(stage.values[5].placement, Placement::slot);
  EXPECT_EQ(stage.values[5].group, 0);
  EXPECT_EQ(stage.values[2].group, -1);
  const Op &op = stage.programs[1].ops[0];
  EXPECT_EQ(std::get<bool>(op.attributes.at("exact")), true);
  EXPECT_EQ(std::get<int64_t>(op.attributes.at("groups")), 1);
  EXPECT_EQ(std::get<std::string>(op.attributes.at("mode")), "row");
  EXPECT_EQ(std::get<std::vector<int64_t>>(op.attributes.at("axes")),
            (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(std::get<double>(stage.programs[0].ops[1].attributes.at("epsilon")),
            1e-6);
  EXPECT_EQ(op.scratchOffset, 4864);
  EXPECT_EQ(op.live[MemoryClass::workspace], 256);
  const Rank &rank = plan.ranks[0];
  EXPECT_EQ(rank.peak[MemoryClass::saved], 1536);
  EXPECT_EQ(rank.peakOp, "layers.0.norm.input_grad");
  EXPECT_EQ(rank.reduceGradientsNs, 5);
  EXPECT_EQ(rank.updateNs, 15);
  EXPECT_EQ(plan.stages[1].programs[1].phase, Phase::backward_input);
  EXPECT_EQ(rank.steps[0].role, "tokens");
  EXPECT_EQ(rank.steps[2].peer, 1);
  EXPECT_EQ(rank.steps[12].kind, StepKind::reduce_gradients);
  EXPECT_EQ(rank.steps[12].stage, -1);
}

TEST(PlanRoundTrip, ReadsEveryFieldOfAnOverlap) {
  Plan plan = overlapPlan();
  const std::vector<Op> &ops = plan.stages[0].programs[0].ops;
  EXPECT_EQ(ops[1].stream, Stream::expert_communication);
  EXPECT_EQ(ops[1].waits, std::vector<int64_t>{0});
  EXPECT_EQ(ops[3].waits, std::vector<int64_t>());
  const Rank &rank = plan.ranks[0];
  EXPECT_EQ(rank.exposedCommunicationNs, 50);
  ASSERT_EQ(rank.overlaps.size(), 1u);
  const Overlap &overlap = rank.overlaps[0];
  EXPECT_EQ(overlap.members[0], (Overlap::Member{0, Phase::forward}));
  EXPECT_EQ(overlap.members[1], (Overlap::Member{0, Phase::backward}));
  EXPECT_EQ(overlap.order, (std::vector<int64_t>{1, 1, 0, 1, 0, 1, 0, 0}));
  EXPECT_EQ(overlap.waits, (std::vector<Overlap::Wait>{{4, 3}}));
  ASSERT_EQ(overlap.live.size(), 8u);
  EXPECT_EQ(overlap.live[6][MemoryClass::saved], -512);
  const Step &step = rank.steps[6];
  EXPECT_EQ(step.kind, StepKind::overlap);
  EXPECT_EQ(step.overlap, 0);
  EXPECT_EQ(step.microbatch, 1);
  EXPECT_EQ(step.slot, 1);
  EXPECT_EQ(step.phase, Phase::forward);
  EXPECT_EQ(step.secondMicrobatch, 0);
  EXPECT_EQ(step.secondSlot, 0);
}

/// What the plans of the property tests are made of.
TEST(PlanRoundTrip, RandomPlansHaveEverything) {
  int overlaps = 0, halves = 0, local = 0, tied = 0, waits = 0, early = 0;
  for (unsigned seed = 0; seed < 300; ++seed) {
    Plan plan = makeRandomPlan(seed);
    for (const Rank &rank : plan.ranks)
      for (size_t i = 0; i < rank.steps.size(); ++i) {
        const Step &step = rank.steps[i];
        overlaps += step.kind == StepKind::overlap;
        halves += step.phase == Phase::weight_grad;
        local += step.kind == StepKind::send && step.peer == rank.rank;
        early += step.kind == StepKind::receive &&
                 rank.steps[i + 1].kind == StepKind::send;
      }
    for (const Stage &stage : plan.stages) {
      for (const Parameter &parameter : stage.parameters)
        tied += !parameter.tiedTo.empty();
      for (const Program &program : stage.programs)
        for (const Op &op : program.ops)
          waits += static_cast<int>(op.waits.size());
    }
  }
  for (int count : {overlaps, halves, local, tied, waits, early})
    EXPECT_GT(count, 50);
}

TEST(PlanRoundTrip, RandomPlansAreExact) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Plan plan = makeRandomPlan(seed);
    ASSERT_EQ(checkError(plan), "no error") << "seed " << seed;
    std::string text = print(plan);
    Result<Plan> again = parse(text);
    ASSERT_TRUE(again.ok()) << "seed " << seed << ": " << again.error().message;
    ASSERT_TRUE(*again == plan) << "seed " << seed;
    ASSERT_EQ(print(*again), text) << "seed " << seed;
  }
}

TEST(PlanRoundTrip, DoublesAreExact) {
  std::mt19937_64 random(7);
  Plan plan = tinyPlan();
  auto &attributes = plan.stages[0].programs[0].ops[1].attributes;
  std::vector<double> numbers = {0.0,  -0.0,   1.0,
                                 1e15, 1e22,   123456789012345680.0,
                                 0.1,  5e-324, 1.7976931348623157e308};
  while (numbers.size() < 2000) {
    double number = std::bit_cast<double>(random());
    if (std::isfinite(number))
      numbers.push_back(number);
  }
  for (size_t begin = 0; begin < numbers.size(); begin += 200) {
    attributes.clear();
    for (size_t i = begin; i < begin + 200; ++i)
      attributes[std::to_string(i)] = numbers[i];
    Result<Plan> again = parse(print(plan));
    ASSERT_TRUE(again.ok()) << again.error().message;
    for (const auto &[key, attribute] :
         again->stages[0].programs[0].ops[1].attributes)
      ASSERT_EQ(std::bit_cast<uint64_t>(std::get<double>(attribute)),
                std::bit_cast<uint64_t>(numbers[std::stoul(key)]));
  }
}

TEST(PlanRoundTrip, LayoutOfTheTextDoesNotMatter) {
  std::string dense;
  for (char c : tinyText()) // no text in the plan has spaces that count
    if (c != '\n' && c != ' ')
      dense += c;
  size_t at = dense.find("writtenbyhand");
  dense.replace(at, 13, "written by hand");
  Result<Plan> plan = parse(dense);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(*plan, tinyPlan());
}

TEST(PlanRoundTrip, NamesOfEnums) {
  for (size_t i = 0; i < kMemoryClassCount; ++i) {
    auto c = static_cast<MemoryClass>(i);
    EXPECT_EQ(parseMemoryClass(name(c)), c);
  }
  for (auto kind = StepKind::load; kind <= StepKind::update;
       kind = static_cast<StepKind>(static_cast<int>(kind) + 1))
    EXPECT_EQ(parseStepKind(name(kind)), kind);
  for (auto phase : {Phase::forward, Phase::backward, Phase::backward_input,
                     Phase::weight_grad})
    EXPECT_EQ(parsePhase(name(phase)), phase);
  EXPECT_EQ(parseStream("expert_communication"), Stream::expert_communication);
  EXPECT_EQ(parsePlacement("slot"), Placement::slot);
  EXPECT_EQ(parseReplication("expert"), Replication::expert);
  EXPECT_EQ(parsePhase("Forward"), std::nullopt);
  EXPECT_EQ(parseMemoryClass(""), std::nullopt);
}

} // namespace
} // namespace moe::plan
