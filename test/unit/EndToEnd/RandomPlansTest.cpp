//===- RandomPlansTest.cpp - random models, layouts, microbatches ---------===//
//
// Every plan must verify (makePlan and parse do), run, use exactly the bytes it
// predicts at every op, end with nothing live but the parameters, and reach
// exactly the predicted peak: exec::run fails otherwise. Freed bytes hold NaN,
// so a read after a release shows as a loss that is not finite.
//
//===----------------------------------------------------------------------===//

#include "test/unit/EndToEnd/SmallModels.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace moe;

class RandomPlans : public testing::TestWithParam<std::string> {};

TEST_P(RandomPlans, RunWithThePredictedBytes) {
  std::mt19937 random(static_cast<uint32_t>(GetParam().size() * 977 + 13));
  auto pick = [&](std::vector<int64_t> choices) {
    return choices[random() % choices.size()];
  };
  for (int64_t round = 0; round < 40; ++round) {
    int64_t pipeline = pick({1, 2, 3});
    driver::PlanRequest request = test::request(
        GetParam(),
        test::randomReduction(GetParam(), pipeline + pick({0, 1, 2}), random));
    request.layout.pipeline = pipeline;
    request.layout.expert = pick({1, 2, 4});
    request.layout.data = pick({1, 2});
    request.layout.microbatches = pick({1, 2, 3, 5});
    request.layout.microbatchSize = pick({1, 2});
    request.layout.sequenceLength = pick({1, 5, 16});
    request.schedule = random() % 2 ? "1f1b" : "gpipe";
    request.dtype = random() % 2 ? DType::bf16 : DType::f32;
    exec::ExecutorOptions options;
    options.poison = true;
    options.threads = pick({1, 2});
    SCOPED_TRACE(request.reductions + " pp=" + std::to_string(pipeline) +
                 " ep=" + std::to_string(request.layout.expert) +
                 " dp=" + std::to_string(request.layout.data) +
                 " m=" + std::to_string(request.layout.microbatches) + " " +
                 request.schedule);
    Result<exec::RunReport> report = test::planAndRun(request, 2, options);
    ASSERT_TRUE(report) << report.error().message;
    for (const exec::StepReport &step : report->steps) {
      EXPECT_TRUE(std::isfinite(step.loss));
      EXPECT_GT(step.gradientNorm, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RandomPlans,
                         testing::ValuesIn(test::kFamilies), test::familyName);
