//===- StepListsTest.cpp - step lists through the IR ----------------------===//

#include "compiler/Schedule/IR/StepLists.h"

#include "passes/Passes.h"
#include "test/unit/IR/ImportedModel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

using namespace mlir;
using namespace moe;

namespace {

/// OLMoE on four pipeline ranks, with stages and steps.
class StepListsOf : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    ASSERT_TRUE(module);
    PassManager manager(&context);
    PlanPipelineOptions options;
    options.schedule = GetParam();
    buildDifferentiation(manager, options);
    buildStagesAndSteps(manager, options);
    manager.addPass(createFuseWeightGradients()); // backwards that steps run
    ASSERT_TRUE(succeeded(manager.run(*module)));
  }

  test::ImportedModel model;
  MLIRContext &context = model.context;
  OwningOpRef<ModuleOp> &module = model.module;
};

} // namespace

// What is written reads back as it was, step by step beside its op.
TEST_P(StepListsOf, ReadBackAsTheyWereWritten) {
  FailureOr<StepLists> lists = readSteps(*module);
  ASSERT_TRUE(succeeded(lists));
  ASSERT_EQ(lists->steps.ranks.size(), 4u);
  const schedule::StepSchedule before = lists->steps;
  // A reader and a writer that leave the same out would agree.
  const Status legal = schedule::verify(before);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
  SmallVector<StringAttr> names;
  for (pipe::StageOp stage : lists->stages)
    names.push_back(stage.getSymNameAttr());
  const size_t pairs = lists->interleavings.size();
  EXPECT_EQ(pairs > 0, std::string(GetParam()) == "dualpipe");

  for (auto rank : llvm::make_early_inc_range(module->getOps<pipe::RankOp>()))
    rank.erase();
  for (auto pair :
       llvm::make_early_inc_range(module->getOps<pipe::InterleavingOp>()))
    pair.erase();
  writeSteps(*module, names, before);

  FailureOr<StepLists> again = readSteps(*module);
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(again->steps, before);
  EXPECT_EQ(again->interleavings.size(), pairs);
  for (size_t rank = 0; rank < 4; ++rank) {
    ASSERT_EQ(again->ops[rank].size(), before.ranks[rank].size());
    for (auto [op, step] : llvm::zip(again->ops[rank], before.ranks[rank]))
      EXPECT_EQ(isa<pipe::RunOp>(op), step.kind == plan::StepKind::run);
  }
}

TEST_P(StepListsOf, EveryRankIsListedOnce) {
  std::string message;
  ScopedDiagnosticHandler handler(
      &context, [&](Diagnostic &each) { message = each.str(); });
  auto first = *module->getOps<pipe::RankOp>().begin();
  Operation *twin = first->clone();
  module->push_back(twin);
  EXPECT_TRUE(failed(readSteps(*module)));
  EXPECT_NE(message.find("rank 0 again"), std::string::npos) << message;
  twin->erase();
  first->erase();
  EXPECT_TRUE(failed(readSteps(*module)));
  EXPECT_NE(message.find("no pipe.rank 0"), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(Schedules, StepListsOf,
                         testing::Values("1f1b", "zb-v", "dualpipe"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });
