//===- OrderSearchTest.cpp - the order of steps that suits a budget -------===//

#include "driver/OrderSearch.h"

#include "test/unit/Driver/Bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

using namespace moe;
using namespace moe::driver;

namespace {

// The more memory, the more weight gradients wait. While any number did, the
// account promised steps of 1.2 s for more memory than others of 0.95 s.
TEST(OrderSearch, LargerBudgetsPromiseShorterSteps) {
  for (const char *schedule : {"zb-v", "1f1b-v"}) {
    Bench bench(requestOf("olmoe-1b-7b", 4, 4, schedule));
    int64_t shortest = int64_t{1} << 62;
    bool waitsSooner = false, waitsLater = false;
    for (double gibibytes = 18.5; gibibytes <= 28; gibibytes += 1.25) {
      const PlanBudget budget = bench.budget(gibibytes);
      const OrderedTrial found = bench.found(budget);
      auto [excess, stepNs] = Bench::valueOf(found, budget);
      EXPECT_EQ(excess, 0) << schedule << ", " << gibibytes;
      EXPECT_LE(stepNs, shortest + shortest / 1000)
          << schedule << ", " << gibibytes;
      EXPECT_LE(std::pair(excess, stepNs), Bench::valueOf(bench.first, budget))
          << schedule << ", " << gibibytes;
      shortest = std::min(shortest, stepNs);
      (gibibytes < 19 ? waitsSooner : waitsLater) |=
          found.trial.mostPending > 1;
    }
    EXPECT_FALSE(waitsSooner) << schedule;
    EXPECT_TRUE(waitsLater) << schedule;
  }
}

// The order made for stages that keep everything fills pauses with weight
// gradients that hold more than there is.
TEST(OrderSearch, FindsAnOrderThatFits) {
  Bench bench(requestOf("deepseek-v2-lite", 4, 4, "zb-v"));
  const PlanBudget budget = bench.budget(33);
  EXPECT_GT(Bench::valueOf(bench.first, budget).first, 0);
  EXPECT_EQ(Bench::valueOf(bench.found(budget), budget).first, 0);
}

// Orders are compared by choices that take little to find. They are not the
// best, but close.
TEST(OrderSearch, BriefChoicesTellWhatOrdersTake) {
  Bench bench(requestOf("qwen3-30b-a3b", 4, 8, "v-half"));
  bool isDifferent = false;
  for (double gibibytes : {38, 42, 50}) {
    const PlanBudget budget = bench.budget(gibibytes);
    const OrderedTrial found = bench.found(budget);
    Result<Chosen> brief =
        chosenBy(*found.chooser, budget, optimize::Effort::brief);
    Result<Chosen> fast =
        chosenBy(*found.chooser, budget, optimize::Effort::fast);
    ASSERT_TRUE(brief && fast);
    EXPECT_TRUE(brief->fits() && fast->fits());
    EXPECT_LE(fast->stepNs, brief->stepNs + brief->stepNs / 1000);
    EXPECT_LE(brief->stepNs, fast->stepNs + fast->stepNs / 100);
    isDifferent |= brief->stepNs != fast->stepNs;
  }
  EXPECT_TRUE(isDifferent);
}

TEST(OrderSearch, KeepsToWhatMayWait) {
  PlanRequest request = requestOf("olmoe-1b-7b", 4, 4, "zb-v");
  request.pendingWeightGrads = 1;
  Bench bench(request);
  const OrderedTrial found = bench.found(bench.budget(40));
  for (const auto &actions : found.chooser->steps().ranks) {
    int64_t waiting = 0;
    for (const schedule::Action &action : actions) {
      const bool isWeightGrad = action.phase == schedule::Phase::weight_grad;
      EXPECT_TRUE(isWeightGrad || waiting <= 1);
      waiting += isWeightGrad                                      ? -1
                 : action.phase == schedule::Phase::backward_input ? 1
                                                                   : 0;
    }
  }
}

TEST(OrderSearch, TellsOfTheBestFirst) {
  Bench bench(requestOf("olmoe-1b-7b", 4, 4, "zb-v"));
  const PlanBudget budget = bench.budget(22);
  Result<std::vector<PromisedOrder>> orders = bench.search->findWithin(budget);
  ASSERT_TRUE(orders) << orders.error().message;
  ASSERT_GT(orders->size(), 1u);
  std::pair<int64_t, int64_t> before{0, 0};
  for (const PromisedOrder &order : *orders) {
    const std::pair promised(order.excessBytes, order.stepNs);
    EXPECT_LE(before, promised);
    before = promised;
    Result<Chosen> again =
        chosenBy(*order.ordered.chooser, budget, optimize::Effort::brief);
    ASSERT_TRUE(again);
    EXPECT_EQ(promised, std::pair(again->excessBytes, again->stepNs));
  }
}

// What is found for a budget is found within it, and not worse with more.
TEST(OrderSearch, MoreMemoryPromisesNoLess) {
  Bench bench(requestOf("olmoe-1b-7b", 4, 4, "v-half"));
  std::pair<int64_t, int64_t> before{0, int64_t{1} << 62};
  for (double gibibytes : {20.0, 20.5, 21.5, 22.0, 23.0}) {
    const PlanBudget budget = bench.budget(gibibytes);
    Result<std::vector<PromisedOrder>> within =
        bench.search->findWithin(budget);
    ASSERT_TRUE(within) << within.error().message;
    const PromisedOrder &best = within->front();
    const std::pair promised(best.excessBytes, best.stepNs);
    EXPECT_LE(promised, before) << gibibytes;
    before = promised;
    if (gibibytes == 20 || gibibytes == 22) { // of four significant bits
      Result<std::vector<PromisedOrder>> own = bench.search->findFor(budget);
      ASSERT_TRUE(own);
      EXPECT_LE(promised,
                std::pair(own->front().excessBytes, own->front().stepNs));
    }
  }
}

TEST(OrderSearch, KeepsTwoWithAsManyWaiting) {
  std::vector<PromisedOrder> orders;
  auto add = [&](int64_t pending, int64_t excessBytes, int64_t stepNs) {
    OrderedTrial ordered;
    ordered.trial.mostPending = pending;
    Chosen chosen;
    chosen.excessBytes = excessBytes;
    chosen.stepNs = stepNs;
    addOrder(orders, ordered, chosen);
  };
  add(1, 0, 30);
  add(1, 0, 10);
  add(2, 5, 1);
  add(1, 0, 20);
  add(1, 0, 40);
  add(0, 0, 25);
  std::vector<std::pair<int64_t, int64_t>> kept;
  for (const PromisedOrder &order : orders)
    kept.push_back({order.ordered.trial.mostPending, order.stepNs});
  const std::vector<std::pair<int64_t, int64_t>> expected = {
      {1, 10}, {1, 20}, {0, 25}, {2, 1}};
  EXPECT_EQ(kept, expected);
}

// Steps that do not go by costs stay as they are.
TEST(OrderSearch, LeavesOtherOrders) {
  Bench bench(requestOf("olmoe-1b-7b", 4, 4, "1f1b"));
  EXPECT_EQ(bench.found(bench.budget(20)).chooser, bench.first.chooser);
}

} // namespace
