//===- LeversTest.cpp - what would fit where a plan does not --------------===//

#include "driver/Levers.h"

#include "driver/Arguments.h"
#include "test/unit/Optimize/Dice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

using namespace moe;

namespace {

constexpr int64_t kReserve = 5000;

/// A plan of ranks whose arenas hold their parameters, with `others` bytes of
/// other things behind them.
struct Arenas {
  explicit Arenas(plan::Layout layout) {
    plan.layout = layout;
    plan.machine.reserveBytes = kReserve;
  }

  plan::Stage &addStage(int64_t rank) {
    plan.ranks.resize(
        std::max(plan.ranks.size(), static_cast<size_t>(rank) + 1));
    plan.ranks[static_cast<size_t>(rank)].stages.push_back(
        std::ssize(plan.stages));
    return plan.stages.emplace_back();
  }

  /// Lays out one buffer behind the other, where each optimizer state is shared
  /// by so many ranks, and returns the largest arena.
  int64_t layOut(int64_t shardsOfDense, int64_t shardsOfExperts) {
    int64_t most = 0;
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      plan::Rank &rank = plan.ranks[r];
      rank.arenaBytes = 0;
      auto take = [&](int64_t elements, DType type) {
        const int64_t offset = rank.arenaBytes;
        rank.arenaBytes += plan::alignUp(elements * byteSize(type));
        return offset;
      };
      for (int64_t stage : rank.stages)
        for (plan::Parameter &each :
             plan.stages[static_cast<size_t>(stage)].parameters) {
          int64_t elements = 1;
          for (int64_t size : each.shape)
            elements *= size;
          const DType wide = each.dtype == DType::f64 ? DType::f64 : DType::f32;
          if (each.trainable) {
            // Dealt out one by one; the first has most.
            const int64_t shards = each.replication == plan::Replication::dense
                                       ? shardsOfDense
                                       : shardsOfExperts;
            int64_t share = 0;
            for (int64_t element = 0; element < elements; element += shards)
              ++share;
            if (each.dtype == DType::bf16)
              each.masterOffset = take(share, DType::f32);
            each.firstMomentOffset = take(share, wide);
            each.secondMomentOffset = take(share, wide);
            each.gradientOffset = take(elements, wide);
          }
          each.weightOffset = take(elements, each.dtype);
        }
      rank.arenaBytes += others[r];
      most = std::max(most, rank.arenaBytes);
    }
    return most;
  }

  plan::Plan plan;
  std::vector<int64_t> others; ///< of each rank
};

plan::Parameter parameterOf(std::vector<int64_t> shape, DType dtype,
                            plan::Replication replication) {
  plan::Parameter parameter;
  parameter.shape = std::move(shape);
  parameter.dtype = dtype;
  parameter.replication = replication;
  return parameter;
}

// 1000 dense elements over 8 ranks, 600 of experts over 2.
TEST(Levers, ShardOptimizerStateOverItsOwners) {
  plan::Layout layout;
  layout.expert = 4;
  layout.data = 2;
  Arenas arenas(layout);
  plan::Stage &first = arenas.addStage(0);
  first.parameters = {
      parameterOf({10, 100}, DType::bf16, plan::Replication::dense),
      parameterOf({2, 300}, DType::f32, plan::Replication::expert)};
  arenas.addStage(1).parameters = {
      parameterOf({1000}, DType::bf16, plan::Replication::dense)};
  arenas.plan.stages[1].parameters[0].trainable = false;
  arenas.others = {0, 0};
  arenas.layOut(1, 1);
  // 2048 and 4096, three times 4096; 2560 four times.
  EXPECT_EQ(arenas.plan.ranks[0].arenaBytes, 28672);
  EXPECT_EQ(driver::leastBudget(arenas.plan), kReserve + 28672);
  // 125 elements are 500 bytes, in 512; 300 are 1200, in 1280.
  EXPECT_EQ(driver::leastBudgetWithShardedOptimizer(arenas.plan),
            kReserve + 28672 - 3 * (4096 - 512) - 2 * (2560 - 1280));
  // Another rank needs more now, which has no such state.
  arenas.plan.ranks[1].arenaBytes = 20000;
  EXPECT_EQ(driver::leastBudget(arenas.plan), kReserve + 28672);
  EXPECT_EQ(driver::leastBudgetWithShardedOptimizer(arenas.plan),
            kReserve + 20000);
}

// As if every rank were laid out again with its share.
TEST(Levers, ShardedOptimizersNeedWhatTheirLayoutDoes) {
  optimize::Random draw(8);
  int64_t saving = 0, otherRank = 0;
  for (int round = 0; round < 300; ++round) {
    plan::Layout layout;
    layout.expert = draw(1, 5);
    layout.data = draw(1, 3);
    Arenas arenas(layout);
    const int64_t ranks = draw(1, 3), stages = ranks * draw(1, 2);
    for (int64_t stage = 0; stage < stages; ++stage) {
      plan::Stage &added = arenas.addStage(stage % ranks);
      for (int64_t count = draw(1, 4); count > 0; --count) {
        plan::Parameter parameter = parameterOf(
            {draw(1, 40), draw(1, 40)},
            std::vector{DType::bf16, DType::f32,
                        DType::f64}[static_cast<size_t>(draw(0, 2))],
            draw(0, 1) == 0 ? plan::Replication::dense
                            : plan::Replication::expert);
        parameter.trainable = draw(0, 3) > 0;
        added.parameters.push_back(parameter);
      }
    }
    for (int64_t rank = 0; rank < ranks; ++rank)
      arenas.others.push_back(plan::kAlignment * draw(0, 40));
    auto largest = [&] {
      return std::max_element(arenas.plan.ranks.begin(),
                              arenas.plan.ranks.end(),
                              [](const auto &a, const auto &b) {
                                return a.arenaBytes < b.arenaBytes;
                              }) -
             arenas.plan.ranks.begin();
    };
    const int64_t sharded =
        arenas.layOut(layout.expert * layout.data, layout.data);
    const auto largestThen = largest();
    const int64_t whole = arenas.layOut(1, 1);
    otherRank += largest() != largestThen;
    saving += sharded < whole;
    EXPECT_EQ(driver::leastBudget(arenas.plan), kReserve + whole);
    EXPECT_EQ(driver::leastBudgetWithShardedOptimizer(arenas.plan),
              kReserve + sharded)
        << "round " << round;
  }
  EXPECT_GT(saving, 100);
  EXPECT_GT(otherRank, 10);
}

// The first of the ranks that need most, and where in its steps.
TEST(Levers, LeastBudgetsNameTheirPlace) {
  Arenas arenas({});
  for (int64_t rank = 0; rank < 3; ++rank)
    arenas.addStage(rank).name = "s" + std::to_string(rank);
  arenas.others = {plan::kAlignment, int64_t{3} << 30, int64_t{1} << 30};
  arenas.layOut(1, 1);
  plan::Rank &rank = arenas.plan.ranks[1];
  rank.rank = 1;
  plan::Step step;
  step.kind = plan::StepKind::receive;
  step.stage = 1;
  rank.steps = {plan::Step(), step};
  driver::PlanRequest request;
  request.reportsLevers = false;
  auto told = [&] {
    arenas.plan.assumptions.clear();
    driver::describeLeastBudget(request, arenas.plan);
    EXPECT_EQ(arenas.plan.assumptions.size(), 1u);
    EXPECT_EQ(arenas.plan.assumptions[0].name, "policies.least_budget");
    // Read again, what is printed is enough.
    Result<int64_t> bytes =
        driver::parseBytes(arenas.plan.assumptions[0].value);
    EXPECT_TRUE(bytes && *bytes >= driver::leastBudget(arenas.plan));
    return arenas.plan.assumptions[0].source;
  };
  const std::string start =
      "the least that was found to fit, reserve included: rank 1";
  EXPECT_EQ(told(), start + ", needs it");
  rank.peakStep = 1;
  EXPECT_EQ(told(), start + ", at step 1 (receive of stage s1), needs it");
  rank.peakOp = "layers.3.norm";
  EXPECT_EQ(told(), start + ", at layers.3.norm of step 1 (receive of stage "
                            "s1), needs it");
}

} // namespace
