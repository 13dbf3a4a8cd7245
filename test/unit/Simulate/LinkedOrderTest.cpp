// Orders of actions on shared links: against simulated plans of them, and
// against their evaluation with links of their own.
#include "compiler/Schedule/LinkedOrder.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Simulate/OrderPlan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>

using namespace moe;
using schedule::Phase;

namespace {

/// An order of actions with random costs, and the transfers of its steps.
struct Drawn {
  schedule::Schedule order;
  schedule::Costs costs;
  schedule::Transfers transfers;
};

class Draw {
public:
  explicit Draw(unsigned seed) : random(seed) {}

  int64_t operator()(int64_t from, int64_t to) {
    return from + static_cast<int64_t>(random() %
                                       static_cast<uint64_t>(to - from + 1));
  }

  /// Of the generator, if it admits the drawn problem. Transfers take as long
  /// as actions, or none. Every fourth model has a part that is not trained.
  std::optional<Drawn> operator()(const schedule::GeneratorInfo &info) {
    schedule::ScheduleProblem problem;
    problem.ranks = (*this)(1, 6);
    problem.microbatches = (*this)(1, 14);
    problem.placement = info.placement;
    problem.stagesPerRank = info.stagesPerRank;
    Result<schedule::Schedule> order = schedule::generate(info.name, problem);
    if (!order)
      return std::nullopt;
    Drawn drawn{std::move(*order), {}, {}};
    if ((*this)(0, 3) == 0)
      leaveOutSome(drawn.order);
    drawCosts(drawn);
    drawn.transfers = schedule::transfersOf(
        drawn.order, schedule::insertTransfers(drawn.order));
    return drawn;
  }

private:
  void leaveOutSome(schedule::Schedule &order) {
    const schedule::ScheduleProblem &problem = order.problem;
    const int64_t firstBackward = (*this)(0, problem.stagesPerReplica());
    std::vector<bool> hasWeightGradients;
    for (int64_t s = 0; s < problem.stages(); ++s)
      hasWeightGradients.push_back(problem.positionOf(s) == firstBackward ||
                                   (*this)(0, 2) > 0);
    order =
        schedule::leaveOutUntrained(order, firstBackward, hasWeightGradients);
  }

  void drawCosts(Drawn &drawn) {
    schedule::Costs &costs = drawn.costs;
    // Few different times: much happens at the same moment.
    const int64_t unit = (*this)(0, 1) ? 1 : 100;
    for (int64_t s = 0; s < drawn.order.problem.stages(); ++s)
      costs.stages.push_back({unit * (*this)(0, 1000 / unit),
                              unit * (*this)(0, 1000 / unit),
                              unit * (*this)(0, 1000 / unit)});
    costs.transferNs = (*this)(0, 4) ? unit * (*this)(1, 1000 / unit) : 0;
    costs.localTransferNs = (*this)(0, 2) ? (*this)(1, 300) : 0;
    for (auto [first, second] : schedule::overlappingPairs(drawn.order)) {
      const schedule::StageCosts &f = costs.stages[static_cast<size_t>(first)];
      const schedule::StageCosts &b = costs.stages[static_cast<size_t>(second)];
      costs.overlaps.push_back(
          {first, second,
           std::max(f.forwardNs, b.inputGradNs + b.weightGradNs)});
    }
  }

  std::mt19937 random;
};

class LinkedOrders : public testing::TestWithParam<schedule::GeneratorInfo> {};

// Every rank of 200 random problems is done when the simulator says so, also
// where many messages wait for the same way.
TEST_P(LinkedOrders, EndWhenSimulatedPlansDo) {
  Draw draw(7);
  int compared = 0;
  for (int round = 0; round < 200; ++round) {
    std::optional<Drawn> drawn = draw(GetParam());
    if (!drawn)
      continue;
    // What overlaps takes the longer of both, whole or one half of two.
    for (const auto &actions : drawn->order.ranks)
      for (size_t i = 0; i + 1 < actions.size(); ++i)
        if (actions[i].overlapsNext &&
            actions[i + 1].phase == Phase::backward_input)
          drawn->costs.stages[static_cast<size_t>(actions[i + 1].stage)]
              .weightGradNs = 0;
    for (schedule::OverlapCost &each : drawn->costs.overlaps) {
      const auto &stages = drawn->costs.stages;
      const schedule::StageCosts &b =
          stages[static_cast<size_t>(each.backwardStage)];
      each.ns =
          std::max(stages[static_cast<size_t>(each.forwardStage)].forwardNs,
                   b.inputGradNs + b.weightGradNs);
    }
    Result<simulate::Timeline> timeline =
        simulate::simulate(makePlan(drawn->order, drawn->costs));
    Result<std::vector<int64_t>> ends =
        schedule::LinkedOrder(drawn->order, drawn->transfers)
            .endsNs(drawn->costs);
    ASSERT_EQ(timeline.ok(), ends.ok()) << "round " << round;
    if (!ends)
      continue; // which needs more buffers
    for (size_t rank = 0; rank < ends->size(); ++rank)
      ASSERT_EQ((*ends)[rank], timeline->ranks[rank].endNs)
          << "round " << round << ", rank " << rank;
    ++compared;
  }
  EXPECT_GT(compared, 20);
}

// Sharing links takes no less time than having them alone, and no more where
// messages take none.
TEST_P(LinkedOrders, EndNoSoonerThanOnLinksOfTheirOwn) {
  Draw draw(8);
  int longer = 0, equal = 0;
  for (int round = 0; round < 200; ++round) {
    std::optional<Drawn> drawn = draw(GetParam());
    if (!drawn)
      continue;
    Result<schedule::Evaluation> alone =
        schedule::evaluate(drawn->order, drawn->costs, &drawn->transfers);
    const schedule::LinkedOrder linked(drawn->order, drawn->transfers);
    Result<std::vector<int64_t>> ends = linked.endsNs(drawn->costs);
    ASSERT_EQ(alone.ok(), ends.ok()) << "round " << round;
    if (!ends)
      continue;
    for (size_t rank = 0; rank < ends->size(); ++rank) {
      const auto &times = alone->ranks[rank].times;
      EXPECT_GE((*ends)[rank], times.empty() ? 0 : times.back().endNs);
    }
    longer += *std::max_element(ends->begin(), ends->end()) >
              alone->makespanNs + drawn->costs.transferNs;
    drawn->costs.transferNs = drawn->costs.localTransferNs = 0;
    alone = schedule::evaluate(drawn->order, drawn->costs, &drawn->transfers);
    ends = linked.endsNs(drawn->costs);
    ASSERT_TRUE(alone && ends);
    for (size_t rank = 0; rank < ends->size(); ++rank) {
      const auto &times = alone->ranks[rank].times;
      EXPECT_GE((*ends)[rank], times.empty() ? 0 : times.back().endNs);
    }
    EXPECT_EQ(*std::max_element(ends->begin(), ends->end()), alone->makespanNs)
        << "round " << round;
    ++equal;
  }
  EXPECT_GT(equal, 20);
  if (GetParam().name != "gpipe") // which sends nothing both ways at once
    EXPECT_GT(longer, 2);
}

INSTANTIATE_TEST_SUITE_P(Generators, LinkedOrders,
                         testing::ValuesIn(schedule::generators().begin(),
                                           schedule::generators().end()),
                         [](const auto &info) {
                           std::string name(info.param.name);
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) {
                                 return std::isalnum(
                                            static_cast<unsigned char>(c)) == 0;
                               },
                               '_');
                           return name;
                         });

} // namespace
