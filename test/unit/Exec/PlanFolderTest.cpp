//===- PlanFolderTest.cpp - plans that a planner left in a folder ---------===//
//
// For builds that have no planner, as under the thread sanitizer:
// end_to_end_test of another build writes the plans (MOE_PLAN_FOLDER, see
// tools/check), this one executes them. Both name the folder by the same
// variable.
//
//===----------------------------------------------------------------------===//

#include "TinyPlan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

using namespace moe;
using namespace moe::test;

TEST(PlanFolder, EveryPlanIsExecuted) {
  const char *folder = std::getenv("MOE_PLAN_FOLDER");
  if (!folder)
    GTEST_SKIP() << "no folder of plans is named; tools/check thread makes one";
  std::vector<std::filesystem::path> files;
  for (const auto &entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  ASSERT_FALSE(files.empty()) << folder;
  for (const std::filesystem::path &file : files) {
    SCOPED_TRACE(file.string());
    Result<plan::Plan> plan = plan::read(file.string());
    ASSERT_TRUE(plan) << plan.error().message;
    Result<exec::Binding> binding = exec::Binding::create(*plan);
    ASSERT_TRUE(binding) << binding.error().message;
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < 4096; ++i)
      bytes.push_back(static_cast<uint8_t>('a' + i * i % 23));
    Result<exec::Dataset> data =
        exec::Dataset::fromBytes(std::move(bytes), plan->layout.sequenceLength,
                                 "letters", binding->furthestShift());
    ASSERT_TRUE(data) << data.error().message;
    exec::RunOptions options;
    options.steps = 2;
    options.executor.poison = true;
    options.executor.threads = 2;
    Result<exec::RunReport> report = exec::run(*binding, *data, options);
    ASSERT_TRUE(report) << report.error().message;
    for (const exec::StepReport &step : report->steps)
      EXPECT_TRUE(std::isfinite(step.loss));
  }
  std::cout << files.size() << " plans executed\n";
}
