//===- PipelinesTest.cpp - passes in the order of the design --------------===//

#include "compiler/Schedule/Interleave.h"
#include "passes/Passes.h"
#include "test/unit/IR/ImportedModel.h"

#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <iterator>
#include <memory>
#include <string>

using namespace mlir;
using namespace moe;

namespace {

/// All the way, as text; empty: that failed.
std::string throughPasses(const PlanPipelineOptions &options) {
  test::ImportedModel model;
  if (!model.module)
    return "";
  PassManager manager(&model.context);
  buildPlanPipeline(manager, options);
  EXPECT_TRUE(succeeded(manager.run(*model.module)));
  std::string text;
  llvm::raw_string_ostream stream(text);
  model.module->print(stream);
  return text;
}

int64_t stagesIn(const std::string &text) {
  int64_t count = 0;
  for (size_t at = 0; (at = text.find("pipe.stage @", at)) != text.npos; ++at)
    ++count;
  return count;
}

} // namespace

// Schedules have as many stages as they are made for, unless asked otherwise.
TEST(Pipelines, CutTheModelAsTheScheduleWants) {
  PlanPipelineOptions options;
  for (auto [schedule, stages] :
       {std::pair("1f1b", 4), std::pair("zb-v", 8), std::pair("dualpipe", 8)}) {
    options.schedule = schedule;
    EXPECT_EQ(stagesIn(throughPasses(options)), stages) << schedule;
  }
  options.schedule = "interleaved";
  options.stagesPerRank = 4;
  EXPECT_EQ(stagesIn(throughPasses(options)), 16);
}

// What is known of pairs from a module before changes nothing.
TEST(Pipelines, KnownInterleavingsGiveTheSameModule) {
  PlanPipelineOptions options;
  options.schedule = "dualpipe-v";
  const std::string alone = throughPasses(options);
  ASSERT_NE(alone.find("pipe.interleaving"), alone.npos);
  options.interleavings = std::make_shared<schedule::KnownInterleavings>();
  EXPECT_EQ(throughPasses(options), alone);
  const size_t known = options.interleavings->size();
  EXPECT_GT(known, 0u);
  EXPECT_EQ(throughPasses(options), alone);
  EXPECT_EQ(options.interleavings->size(), known);
}
