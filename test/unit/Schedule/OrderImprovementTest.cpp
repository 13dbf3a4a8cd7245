#include "compiler/Schedule/OrderImprovement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace moe::schedule {
namespace {

/// A legal order of forwards and backward_inputs: any rank takes any that it
/// can, one after the other.
Sequence randomOrder(const ScheduleProblem &problem, std::mt19937 &random) {
  auto stages = static_cast<size_t>(problem.stages());
  std::vector<int64_t> forwards(stages, 0), backwards(stages, 0);
  Sequence order(static_cast<size_t>(problem.ranks));
  while (true) {
    std::vector<Entry> possible;
    for (size_t s = 0; s < stages; ++s) {
      auto stage = static_cast<int64_t>(s);
      if (forwards[s] < problem.microbatches &&
          (s == 0 || forwards[s - 1] > forwards[s]))
        possible.emplace_back(stage, Phase::forward);
      if (backwards[s] < (s + 1 == stages ? forwards[s] : backwards[s + 1]))
        possible.emplace_back(stage, Phase::backward_input);
    }
    if (possible.empty())
      return order;
    Entry next = possible[random() % possible.size()];
    ++(next.phase() == Phase::forward ? forwards : backwards)[next.stage()];
    order[static_cast<size_t>(
              problem.rankOf(static_cast<int64_t>(next.stage())))]
        .push_back(next);
  }
}

Costs randomCosts(const ScheduleProblem &problem, std::mt19937 &random) {
  Costs costs;
  costs.transferNs = static_cast<int64_t>(random() % 3) * 30;
  for (int64_t s = 0; s < problem.stages(); ++s)
    costs.stages.push_back({static_cast<int64_t>(random() % 100),
                            static_cast<int64_t>(random() % 100),
                            static_cast<int64_t>(random() % 60), 1, 1});
  return costs;
}

WeightGradFiller fillerOf(const ScheduleProblem &problem, const Costs &costs,
                          std::vector<int64_t> limits) {
  return {problem, costs,
          std::vector<ActionHolding>(static_cast<size_t>(problem.stages())),
          std::move(limits)};
}

TEST(WeightGradFiller, FindsTheTimesThatEvaluateFinds) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    ScheduleProblem problem;
    problem.ranks = 1 + static_cast<int64_t>(random() % 4);
    problem.microbatches = 1 + static_cast<int64_t>(random() % 6);
    problem.stagesPerRank = 1 + static_cast<int64_t>(random() % 2);
    problem.placement =
        problem.stagesPerRank > 1 ? Placement::v : Placement::loop;
    Costs costs = randomCosts(problem, random);
    WeightGradFiller filler = fillerOf(problem, costs, {});
    FillRules rules;
    rules.overrun = static_cast<double>(random() % 3) / 2;
    rules.catchesUp = random() % 2;
    rules.mostPending = 1 + static_cast<int64_t>(random() % 4);
    ASSERT_TRUE(filler.run(randomOrder(problem, random), rules));
    Schedule schedule{"filled", problem, filler.actions()};
    ASSERT_TRUE(verify(schedule).ok());
    Result<Evaluation> evaluation = evaluate(schedule, costs);
    ASSERT_TRUE(evaluation.ok());
    EXPECT_EQ(filler.makespanNs(), evaluation->makespanNs);
    EXPECT_EQ(filler.peak(), evaluation->peakBytes);
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
      for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
        const ActionRun &run = filler.runs()[rank][i];
        EXPECT_EQ((ActionTime{run.beginNs, run.endNs}),
                  evaluation->ranks[rank].times[i]);
      }
    // As long as it is and no longer.
    rules.mostNs = filler.makespanNs();
    EXPECT_TRUE(filler.run(sequenceOf(schedule.ranks), rules));
  }
}

TEST(WeightGradFiller, RefusesWhatCannotBeExecuted) {
  ScheduleProblem problem{2, 2};
  Costs costs = Costs::uniform(problem);
  Entry f0(0, Phase::forward), b0(0, Phase::backward_input);
  Entry f1(1, Phase::forward), b1(1, Phase::backward_input);
  WeightGradFiller filler = fillerOf(problem, costs, {});
  EXPECT_TRUE(filler.run({{f0, f0, b0, b0}, {f1, b1, f1, b1}}, {}));
  // The last stage's backward before its forward.
  EXPECT_FALSE(filler.run({{f0, f0, b0, b0}, {f1, b1, b1, f1}}, {}));
  // Ranks that wait for each other.
  EXPECT_FALSE(filler.run({{f0, b0, f0, b0}, {f1, f1, b1, b1}}, {}));
  // Room for one microbatch, where the order wants two.
  WeightGradFiller narrow = fillerOf(problem, costs, {1, 1});
  EXPECT_FALSE(narrow.run({{f0, f0, b0, b0}, {f1, b1, f1, b1}}, {}));
  EXPECT_TRUE(narrow.run({{f0, b0, f0, b0}, {f1, b1, f1, b1}}, {}));
}

/// The shortest of all orders of a rank each, by trying every one.
int64_t shortest(const ScheduleProblem &problem, const Costs &costs) {
  WeightGradFiller filler = fillerOf(problem, costs, {});
  FillRules rules;
  rules.overrun = 1;
  int64_t bestNs = std::numeric_limits<int64_t>::max();
  Sequence order(static_cast<size_t>(problem.ranks));
  auto count = static_cast<size_t>(2 * problem.microbatches);
  std::function<void(size_t)> tryRank = [&](size_t rank) {
    if (rank == order.size()) {
      if (filler.run(order, rules))
        bestNs = std::min(bestNs, filler.makespanNs());
      return;
    }
    auto stage = static_cast<int64_t>(rank);
    for (uint32_t bits = 0; bits < 1u << count; ++bits) {
      order[rank].clear();
      for (size_t i = 0; i < count; ++i)
        order[rank].emplace_back(stage, bits >> i & 1 ? Phase::backward_input
                                                      : Phase::forward);
      if (2 * std::count(order[rank].begin(), order[rank].end(),
                         Entry(stage, Phase::forward)) ==
          static_cast<ptrdiff_t>(count))
        tryRank(rank + 1);
    }
  };
  tryRank(0);
  return bestNs;
}

TEST(OrderImprovement, ComesToTheShortestOrderOfSmallCases) {
  std::mt19937 random(5);
  for (int round = 0; round < 25; ++round) {
    ScheduleProblem problem{2 + round % 2, round % 2 ? 2 : 4};
    Costs costs = randomCosts(problem, random);
    WeightGradFiller filler = fillerOf(problem, costs, {});
    Sequence order = randomOrder(problem, random);
    ImprovementOptions options;
    options.rules.overrun = 1;
    options.effort = 100'000;
    ASSERT_TRUE(improveOrder(filler, order, options));
    EXPECT_EQ(filler.makespanNs(), shortest(problem, costs)) << round;
  }
}

TEST(OrderImprovement, IsNeverLongerKeepsLimitsAndIsTheSameEveryTime) {
  std::mt19937 random(6);
  for (int round = 0; round < 40; ++round) {
    ScheduleProblem problem{2 + round % 3, 6, 2, Placement::v};
    Costs costs = randomCosts(problem, random);
    Sequence start = randomOrder(problem, random);
    WeightGradFiller free = fillerOf(problem, costs, {});
    ASSERT_TRUE(free.run(start, {}));
    // Just what the start needs.
    std::vector<int64_t> limits(static_cast<size_t>(problem.ranks),
                                free.peak());
    WeightGradFiller filler = fillerOf(problem, costs, limits);
    ASSERT_TRUE(filler.run(start, {}));
    int64_t startNs = filler.makespanNs();
    ImprovementOptions options;
    options.effort = 20'000;
    int64_t steps = 0, leastNs = startNs;
    options.step = [&] {
      ++steps;
      leastNs = std::min(leastNs, filler.makespanNs());
    };
    Sequence one = start, other = start;
    int64_t before = filler.effort();
    ASSERT_TRUE(improveOrder(filler, one, options));
    // One run may exceed the effort, and the best is run once more.
    EXPECT_LE(filler.effort() - before, 20'000 + 40 * problem.stages() * 6);
    EXPECT_EQ(filler.makespanNs(), leastNs);
    EXPECT_LE(leastNs, startNs);
    EXPECT_LE(filler.peak(), free.peak());
    EXPECT_GT(steps, 1);
    ASSERT_TRUE(verify(Schedule{"improved", problem, filler.actions()}).ok());
    ASSERT_TRUE(improveOrder(filler, other, options));
    EXPECT_EQ(one, other);
  }
}

TEST(OrderImprovement, SaysWhenTheOrderCannotBeExecuted) {
  ScheduleProblem problem{1, 1};
  Costs costs = Costs::uniform(problem);
  WeightGradFiller filler = fillerOf(problem, costs, {});
  Sequence order = {{{0, Phase::backward_input}, {0, Phase::forward}}};
  EXPECT_FALSE(improveOrder(filler, order, {}));
}

} // namespace
} // namespace moe::schedule
