//===- OrderCostsTest.cpp - how long an order of steps takes --------------===//

#include "driver/OrderCosts.h"

#include "test/unit/Driver/DrawnModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace moe;
using namespace moe::driver;

namespace {

/// Two layers of one kind between an embedding and a head, whose times add up
/// digit by digit.
ModelOptions digits() {
  ModelOptions model;
  int64_t unit = 1;
  for (bool isLayer : {false, true, false}) {
    BlockOptions &block = model.kinds.emplace_back();
    block.inside = {unit, 2 * unit, 3 * unit, 4 * unit};
    block.last = {5 * unit, 6 * unit, 7 * unit, 8 * unit};
    block.figures.isLayer = isLayer;
    unit *= 100;
  }
  model.blocks = {0, 1, 1, 2};
  return model;
}

TEST(OrderCosts, StagesTakeWhatTheirBlocksTake) {
  using Stages = std::vector<schedule::StageCosts>;
  const OrderCosts whole(digits(), orderOf("1f1b", 2, 4), 0);
  EXPECT_EQ(whole.stageCosts({2, 2}),
            (Stages{{501, 602, 0}, {50100, 60200, 0}}));
  EXPECT_EQ(whole.stageCosts({2, 2}, false),
            (Stages{{1, 2, 0}, {50000, 60000, 0}}));
  EXPECT_EQ(whole.stageCosts({3, 1}),
            (Stages{{601, 802, 0}, {50000, 60000, 0}}));
  const OrderCosts split(digits(), orderOf("zb-h1", 2, 4), 0);
  EXPECT_EQ(split.stageCosts({1, 3}),
            (Stages{{5, 7, 8}, {50200, 70600, 80800}}));
}

// Equal stages fill, run and drain.
TEST(OrderCosts, EvenPipelinesIdleForOneMicrobatchARank) {
  optimize::Random draw(3);
  for (const char *schedule : {"gpipe", "1f1b"})
    for (int64_t ranks = 1; ranks <= 5; ++ranks) {
      ModelOptions model = drawModel(draw, 0);
      model.blocks.assign(static_cast<size_t>(2 * ranks), 1);
      const int64_t microbatches = ranks + draw(0, 5);
      const OrderCosts costs(model, orderOf(schedule, ranks, microbatches), 0);
      const std::vector<int64_t> counts(static_cast<size_t>(ranks), 2);
      const BlockOptions &kind = model.kinds[1];
      Result<int64_t> ns = costs.stepNs(counts, costs.stageCosts(counts));
      ASSERT_TRUE(ns) << ns.error().message;
      EXPECT_EQ(*ns, (microbatches + ranks - 1) *
                         (kind.inside.forwardNs + kind.last.forwardNs +
                          kind.inside.backwardNs + kind.last.backwardNs))
          << schedule << ", " << ranks;
    }
}

cost::Machine someMachine() {
  cost::Machine machine;
  machine.hbmBytesPerSecond = 30e9;
  machine.hbmEfficiency = 1;
  machine.nvlinkDomain = 4;
  machine.nvlinkBytesPerSecond = 4e9;
  machine.nvlinkEfficiency = 1;
  machine.networkBytesPerSecond = 1e9;
  machine.networkEfficiency = 1;
  return machine;
}

// Ranks sum and update what their stages have; of two copies of the model what
// is on both, which another rank has too.
TEST(OrderCosts, StepsEndWithSumsAndUpdates) {
  const cost::Machine machine = someMachine();
  ModelOptions model = digits();
  model.kinds[0].trainable = {1000, 0};
  model.kinds[1].trainable = {10, 100};
  model.kinds[2].trainable = {0, 0};
  using Ends = std::vector<int64_t>;
  const OrderCosts none(model, orderOf("1f1b", 2, 4), 0);
  EXPECT_EQ(none.endOfStepNs({2, 2}), (Ends{0, 0}));
  const cost::EndOfStep end{&machine, 2, 2, DType::bf16};
  model.endOfStep = end;
  const OrderCosts costs(model, orderOf("1f1b", 2, 4), 0);
  EXPECT_EQ(costs.endOfStepNs({2, 2}),
            (Ends{end.ns({1010, 100}), end.ns({10, 100})}));
  EXPECT_EQ(costs.endOfStepNs({3, 1}),
            (Ends{end.ns({1020, 200}), end.ns({0, 0})}));
  // Of a V, the first rank has the first stage and the last.
  const OrderCosts turning(model, orderOf("zb-v", 2, 4), 0);
  EXPECT_EQ(turning.endOfStepNs({1, 1, 1, 1}),
            (Ends{end.ns({1000, 0}), end.ns({20, 200})}));
  // Each rank of two copies has a stage of each. The eight devices are more
  // than a domain has: 1220 elements of 4 bytes, over the network.
  const OrderCosts twice(model, orderOf("dualpipe", 2, 4), 0);
  const int64_t ns = end.ns({1020, 200}) + machine.networkLatencyNs + 1220 * 4;
  EXPECT_EQ(twice.endOfStepNs({2, 2}), (Ends{ns, ns}));
}

// Where no message waits for another one, a step takes what its order does and
// then its end; else it takes longer.
TEST(OrderCosts, StepsTakeTheirOrderAndTheirEnd) {
  optimize::Random draw(6);
  const cost::Machine machine = someMachine();
  int longer = 0;
  for (const char *schedule : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v",
                               "dualpipe", "dualpipe-v"})
    for (int round = 0; round < 20; ++round) {
      ModelOptions model = drawModel(draw, 14);
      for (BlockOptions &kind : model.kinds)
        kind.trainable = {300, 70};
      model.endOfStep = {&machine, 2, 2, DType::bf16};
      const int64_t transferNs = round % 2 == 0 ? 0 : 8 * draw(1, 100);
      const OrderCosts costs(model, orderOf(schedule, 4, 8), transferNs);
      ASSERT_TRUE(costs.transfers);
      const int64_t places = costs.order.problem.stagesPerReplica();
      const std::vector<int64_t> counts(static_cast<size_t>(places),
                                        16 / places);
      const std::vector<schedule::StageCosts> stages = costs.stageCosts(counts);
      Result<schedule::Evaluation> order = schedule::evaluate(
          costs.order, costs.stepCosts(counts, stages), costs.knownTransfers());
      Result<int64_t> step = costs.stepNs(counts, stages);
      ASSERT_TRUE(order && step);
      const int64_t behind = costs.endOfStepNs(counts).front();
      EXPECT_EQ(costs.endOfStepNs(counts), std::vector<int64_t>(4, behind));
      EXPECT_GT(behind, 0);
      if (transferNs == 0)
        EXPECT_EQ(*step, order->makespanNs + behind)
            << schedule << ", round " << round;
      else
        EXPECT_GE(*step, order->makespanNs + behind)
            << schedule << ", round " << round;
      longer += *step > order->makespanNs + behind + transferNs;
    }
  EXPECT_GT(longer, 20);
}

// The stages of one copy of the model are those of the other.
TEST(OrderCosts, PairsSaveAShareOfTheirLayers) {
  optimize::Random draw(4);
  int saving = 0;
  for (int round = 0; round < 100; ++round) {
    const char *schedule = round % 2 == 0 ? "dualpipe" : "dualpipe-v";
    const ModelOptions model = drawModel(draw, 12);
    const OrderCosts costs(model, orderOf(schedule, 4, 8), draw(0, 50));
    const int64_t places = costs.order.problem.stagesPerReplica();
    const std::vector<int64_t> counts = drawCut(draw, 14, places);
    std::vector<schedule::StageCosts> stages = costs.stageCosts(counts);
    // Of layers alone: forward, and both halves backward.
    std::vector<std::pair<int64_t, int64_t>> ofLayers;
    int64_t begin = 0;
    for (int64_t count : counts) {
      auto &[forward, backward] = ofLayers.emplace_back();
      for (int64_t b = begin; b < begin + count; ++b) {
        const BlockOptions &kind = model.kinds[static_cast<size_t>(
            model.blocks[static_cast<size_t>(b)])];
        const BlockTimes &times =
            b + 1 == begin + count ? kind.last : kind.inside;
        if (!kind.figures.isLayer)
          continue;
        forward += times.forwardNs;
        backward += costs.isSplit ? times.inputGradNs + times.weightGradNs
                                  : times.backwardNs;
      }
      begin += count;
    }
    std::vector<schedule::OverlapCost> overlaps;
    for (auto [first, second] : costs.pairs) {
      const auto f = static_cast<size_t>(first % places);
      const auto b = static_cast<size_t>(second % places);
      const int64_t sum =
          stages[f].forwardNs + stages[b].inputGradNs + stages[b].weightGradNs;
      const auto saved = static_cast<int64_t>(
          model.overlapShare *
          static_cast<double>(std::min(ofLayers[f].first, ofLayers[b].second)));
      overlaps.push_back({first, second, sum - saved});
      saving += saved > 0;
    }
    ASSERT_FALSE(overlaps.empty());
    EXPECT_EQ(costs.stepCosts(counts, stages).overlaps, overlaps);
    Result<int64_t> ns = costs.stepNs(counts, stages);
    Result<int64_t> told = costs.stepNs(counts, stages, overlaps);
    ASSERT_TRUE(ns && told);
    EXPECT_EQ(*ns, *told);
    // What is known of pairs counts, not what they are taken to save.
    for (schedule::OverlapCost &each : overlaps)
      each.ns *= 2;
    told = costs.stepNs(counts, stages, overlaps);
    ASSERT_TRUE(told);
    EXPECT_GT(*told, *ns);
    const std::vector<schedule::StageCosts> one = stages;
    for (int64_t copy = 1; copy < costs.order.problem.replicas(); ++copy)
      stages.insert(stages.end(), one.begin(), one.end());
    EXPECT_EQ(costs.stepCosts(counts, one), costs.stepCosts(counts, stages));
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(saving, 200);
}

/// Forwards run together with the backward behind them where that is legal:
/// pairs of one stage, which no generator makes.
schedule::Schedule pairedUp(schedule::Schedule order) {
  for (std::vector<schedule::Action> &actions : order.ranks)
    for (size_t i = 0; i + 1 < actions.size(); ++i) {
      if (actions[i].phase != schedule::Phase::forward ||
          actions[i + 1].phase != schedule::Phase::backward)
        continue;
      actions[i].overlapsNext = true;
      actions[i].overlapsNext = schedule::verify(order).ok();
    }
  EXPECT_FALSE(schedule::overlappingPairs(order).empty());
  return order;
}

class StepChains : public testing::TestWithParam<std::string> {};

// No chain that was the longest of some step is longer than any other step, and
// each is the sum of what ranks add to it.
TEST_P(StepChains, SayWhatOtherStepsTakeAtLeast) {
  optimize::Random draw(5);
  size_t chains = 0;
  int close = 0;
  for (int model = 0; model < 10; ++model) {
    const OrderCosts costs(drawModel(draw, 14),
                           GetParam() == "paired"
                               ? pairedUp(orderOf("1f1b", 4, 8))
                               : orderOf(GetParam(), 4, 8),
                           8 * draw(0, 20));
    const schedule::ScheduleProblem &steps = costs.order.problem;
    const int64_t places = steps.stagesPerReplica();
    const std::shared_ptr<optimize::StepTimes> times = stepTimes(costs);
    for (int round = 0; round < 20; ++round) {
      const std::vector<int64_t> counts = drawCut(draw, 16, places);
      std::vector<optimize::StageTimes> none(counts.size()),
          longer(counts.size());
      for (optimize::StageTimes &each : longer) {
        each.forwardNs = 8 * draw(0, 30);
        each.weightGradNs = costs.isSplit ? 8 * draw(0, 15) : 0;
        each.backwardNs = each.weightGradNs + 8 * draw(0, 30);
      }
      // Ranks with the same stages, in opposite directions, are one.
      std::vector<std::vector<optimize::StageBlocks>> blocks(
          static_cast<size_t>(steps.ranks / steps.replicas()));
      std::vector<optimize::LeastExtra> extra(blocks.size());
      int64_t begin = 0;
      for (int64_t place = 0; place < places; ++place) {
        const int64_t end = begin + counts[static_cast<size_t>(place)];
        const int64_t on = steps.rankOf(place);
        const auto rank = static_cast<size_t>(
            steps.replicas() == 1 ? on : std::min(on, steps.ranks - 1 - on));
        blocks[rank].push_back({place, begin, end});
        const optimize::StageTimes &more = longer[static_cast<size_t>(place)];
        extra[rank].ns += more.forwardNs + more.backwardNs;
        extra[rank].backwardNs += more.backwardNs;
        extra[rank].inputGradNs += more.backwardNs - more.weightGradNs;
        begin = end;
      }
      auto longestChain = [&](const std::vector<optimize::LeastExtra> &added) {
        int64_t most = 0;
        for (size_t chain = 0; chain < times->chainCount(); ++chain) {
          int64_t ns = times->transfersNs(chain);
          for (size_t rank = 0; rank < blocks.size(); ++rank)
            ns += times->partNs(chain, blocks[rank], added[rank]);
          most = std::max(most, ns);
        }
        return most;
      };
      const int64_t before = times->leastNs(counts, longer);
      EXPECT_EQ(longestChain(std::vector<optimize::LeastExtra>(extra.size())),
                times->leastNs(counts, none));
      EXPECT_LE(longestChain(extra), before);
      EXPECT_GT(longestChain(extra), times->leastNs(counts, none));
      const int64_t ns = times->ns(counts, longer);
      EXPECT_LE(before, ns);
      EXPECT_EQ(times->leastNs(counts, longer), ns);
      close += before > ns - ns / 10;
      // The same by its definition; links that are shared are no quicker.
      std::vector<schedule::StageCosts> stages = costs.stageCosts(counts);
      for (size_t s = 0; s < stages.size(); ++s) {
        stages[s].forwardNs += longer[s].forwardNs;
        stages[s].weightGradNs += longer[s].weightGradNs;
        stages[s].inputGradNs += longer[s].backwardNs - longer[s].weightGradNs;
      }
      Result<schedule::Evaluation> order = schedule::evaluate(
          costs.order, costs.stepCosts(counts, stages), costs.knownTransfers());
      Result<int64_t> step = costs.stepNs(counts, stages);
      ASSERT_TRUE(order && step);
      EXPECT_EQ(ns, order->makespanNs);
      EXPECT_LE(ns, *step);
      EXPECT_EQ(times->stepNs(counts, longer), *step);
      ASSERT_FALSE(HasFailure()) << "model " << model << ", round " << round;
    }
    chains += times->chainCount();
  }
  EXPECT_GT(chains, 60u);
  EXPECT_GT(close, 100);
}

INSTANTIATE_TEST_SUITE_P(Schedules, StepChains,
                         testing::Values("1f1b", "interleaved", "zb-h1", "zb-v",
                                         "dualpipe", "dualpipe-v", "paired"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
