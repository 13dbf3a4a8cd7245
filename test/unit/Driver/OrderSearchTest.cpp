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
      EXPECT_LE(stepNs, shortest + shortest / 100)
          << schedule << ", " << gibibytes;
      EXPECT_LE(std::pair(excess, stepNs), Bench::valueOf(bench.first, budget))
          << schedule << ", " << gibibytes;
      shortest = std::min(shortest, stepNs);
      (gibibytes < 20 ? waitsSooner : waitsLater) |=
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

// Steps that do not go by costs stay as they are.
TEST(OrderSearch, LeavesOtherOrders) {
  Bench bench(requestOf("olmoe-1b-7b", 4, 4, "1f1b"));
  EXPECT_EQ(bench.found(bench.budget(20)).chooser, bench.first.chooser);
}

} // namespace
