//===- EmitPlanTest.cpp - from verified IR to the plan document -----------===//

#include "compiler/Export/IR/EmitPlan.h"

#include "passes/Passes.h"
#include "test/unit/IR/ImportedModel.h"

#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

using namespace mlir;
using namespace moe;

namespace {

class EmitPlan : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_TRUE(model.module);
    // With so many tokens, packing leaves gaps.
    (*model.module)
        ->setAttr(
            pipe::LayoutAttr::kName,
            pipe::LayoutAttr::get(&model.context, 4, 1, 1, 1, 1, 8, 1, 4096));
    PassManager manager(&model.context);
    PlanPipelineOptions options;
    options.schedule = "zb-v";
    buildPlanPipeline(manager, options);
    ASSERT_TRUE(succeeded(manager.run(*model.module)));
  }

  FailureOr<PlanDraft> draft(size_t jobs) {
    EmissionInputs asked{.machine = model.inputs->machine,
                         .budgetBytes = int64_t{1} << 40,
                         .capacityFactor = 1.25,
                         .imbalance = 1.1,
                         .generator = "test",
                         .schedule = "zb-v",
                         .model = {}};
    asked.jobs = jobs;
    return draftPlan(*model.module, asked);
  }

  test::ImportedModel model;
};

} // namespace

TEST_F(EmitPlan, SaysWhatItIsAboutAndHowLargeArenasAre) {
  FailureOr<PlanDraft> made = draft(1);
  ASSERT_TRUE(succeeded(made));
  EXPECT_EQ(made->plan.generator, "test");
  EXPECT_EQ(made->plan.schedule, "zb-v");
  EXPECT_EQ(made->plan.layout.pipeline, 4);
  EXPECT_EQ(made->plan.layout.sequenceLength, 4096);
  ASSERT_EQ(made->arenas.size(), made->plan.ranks.size());
  double gap = 0;
  for (size_t rank = 0; rank < made->arenas.size(); ++rank) {
    const auto arena = static_cast<double>(made->plan.ranks[rank].arenaBytes);
    const auto bound = static_cast<double>(made->arenas[rank].boundBytes);
    EXPECT_GE(arena, bound);
    gap = std::max(gap, arena / bound - 1);
  }
  ASSERT_GT(100 * gap, 0.05) << "nothing to tell";
  FailureOr<plan::Plan> plan =
      finishPlan(*model.module, model.inputs->machine, std::move(*made));
  ASSERT_TRUE(succeeded(plan));
  const auto told = std::find_if(
      plan->assumptions.begin(), plan->assumptions.end(),
      [](const auto &each) { return each.name == "packing.gap_to_bound"; });
  ASSERT_NE(told, plan->assumptions.end());
  EXPECT_NEAR(std::stod(told->value), 100 * gap, 0.006);
}

TEST_F(EmitPlan, IsTheSameWithAnyNumberOfJobs) {
  FailureOr<PlanDraft> one = draft(1), many = draft(4);
  ASSERT_TRUE(succeeded(one) && succeeded(many));
  EXPECT_EQ(one->plan, many->plan);
  const cost::Machine &machine = model.inputs->machine;
  FailureOr<plan::Plan> first =
      finishPlan(*model.module, machine, std::move(*one));
  FailureOr<plan::Plan> second =
      finishPlan(*model.module, machine, std::move(*many));
  ASSERT_TRUE(succeeded(first) && succeeded(second));
  EXPECT_EQ(*first, *second);
}
