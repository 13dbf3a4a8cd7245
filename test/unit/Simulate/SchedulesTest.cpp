// Schedules as plans: against formulas, and the schedule's own evaluation.
#include "compiler/Schedule/Generators.h"
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Simulate/OrderPlan.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;

namespace {

simulate::Timeline run(const plan::Plan &plan) {
  Result<simulate::Timeline> timeline = simulate::simulate(plan);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return timeline ? *timeline : simulate::Timeline();
}

TEST(Schedules, BubbleOfEqualStagesIsTheFormula) {
  for (int64_t ranks = 1; ranks <= 32; ranks += ranks < 5 ? 1 : 9)
    for (int64_t microbatches : {1, 2, 5, 8, 32, 65})
      for (const char *name : {"gpipe", "1f1b"}) {
        schedule::ScheduleProblem problem;
        problem.ranks = ranks;
        problem.microbatches = microbatches;
        auto order = *schedule::generate(name, problem);
        simulate::Timeline timeline =
            run(makePlan(order, schedule::Costs::uniform(problem)));
        ASSERT_EQ(timeline.stepNs, (microbatches + ranks - 1) * 3000)
            << name << ", " << ranks << " ranks, " << microbatches;
        ASSERT_NEAR(timeline.bubble,
                    static_cast<double>(ranks - 1) /
                        static_cast<double>(microbatches + ranks - 1),
                    1e-12);
      }
}

TEST(Schedules, AgreeWithTheirEvaluationWhereLinksTakeNoTime) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    schedule::ScheduleProblem problem;
    problem.ranks = static_cast<int64_t>(1 + random() % 8);
    problem.microbatches = static_cast<int64_t>(1 + random() % 12);
    auto order = *schedule::generate(random() % 2 ? "gpipe" : "1f1b", problem);
    schedule::Costs costs = schedule::Costs::uniform(problem);
    for (schedule::StageCosts &stage : costs.stages) {
      stage.forwardNs = static_cast<int64_t>(random() % 1000);
      stage.inputGradNs = static_cast<int64_t>(random() % 1000);
      stage.weightGradNs = static_cast<int64_t>(1 + random() % 1000);
    }
    simulate::Timeline timeline = run(makePlan(order, costs));
    auto expected = *schedule::evaluate(order, costs);
    // wait_send needs a receiver that has got that far, which evaluate() does
    // not ask for; it changes when a rank is done, not when it works.
    EXPECT_EQ(timeline.stepNs, expected.makespanNs);
    EXPECT_NEAR(timeline.bubble, expected.bubble, 1e-12);
  }
}

} // namespace
