//===- SplitsTest.cpp - the layout does not change what is trained --------===//

#include "test/unit/EndToEnd/SmallModels.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace moe;

namespace {

struct Split {
  int64_t pipeline, expert, data, microbatches;
  const char *schedule;
};

/// All splits train on the same 8 sequences a step.
constexpr Split kSplits[] = {{2, 1, 1, 8, "1f1b"}, {4, 1, 1, 8, "gpipe"},
                             {1, 2, 1, 4, "1f1b"}, {1, 4, 1, 2, "1f1b"},
                             {1, 1, 4, 2, "1f1b"}, {2, 2, 2, 2, "1f1b"},
                             {4, 2, 1, 4, "1f1b"}, {2, 4, 1, 2, "gpipe"}};

driver::PlanRequest requestFor(const std::string &family, const Split &split,
                               DType dtype) {
  std::mt19937 random(5);
  std::string reduction = test::randomReduction(family, 4, random);
  // With the multi-token prediction module where there is one.
  if (size_t at = reduction.find("mtp=0"); at != std::string::npos)
    reduction.replace(at, 5, "mtp=1");
  driver::PlanRequest request = test::request(family, reduction);
  request.layout.pipeline = split.pipeline;
  request.layout.expert = split.expert;
  request.layout.data = split.data;
  request.layout.microbatches = split.microbatches;
  request.layout.sequenceLength = 12;
  request.schedule = split.schedule;
  request.dtype = dtype;
  return request;
}

std::vector<double> losses(const driver::PlanRequest &request,
                           const exec::ExecutorOptions &options = {}) {
  Result<exec::RunReport> report = test::planAndRun(request, 3, options);
  EXPECT_TRUE(report) << report.error().message;
  std::vector<double> result;
  if (report)
    for (const exec::StepReport &step : report->steps)
      result.push_back(step.loss);
  return result;
}

constexpr Split kSingle = {1, 1, 1, 8, "1f1b"};

} // namespace

class Splits : public testing::TestWithParam<std::string> {};

// In f32 every split gives the loss of the single rank to 1e-6 relative, also
// after updates with gradients that were summed in another order.
TEST_P(Splits, GiveTheSingleRankLoss) {
  std::vector<double> single =
      losses(requestFor(GetParam(), kSingle, DType::f32));
  ASSERT_EQ(single.size(), 3u);
  for (const Split &split : kSplits) {
    SCOPED_TRACE("pp=" + std::to_string(split.pipeline) +
                 " ep=" + std::to_string(split.expert) +
                 " dp=" + std::to_string(split.data));
    std::vector<double> parts =
        losses(requestFor(GetParam(), split, DType::f32));
    ASSERT_EQ(parts.size(), single.size());
    for (size_t step = 0; step < single.size(); ++step)
      EXPECT_NEAR(parts[step], single[step], 1e-6 * std::abs(single[step]))
          << "step " << step + 1;
  }
}

// The schedule, the number of threads and poison change no bit.
TEST_P(Splits, ScheduleThreadsAndPoisonChangeNoBit) {
  Split split = {2, 2, 1, 4, "1f1b"};
  std::vector<double> base = losses(requestFor(GetParam(), split, DType::bf16));
  exec::ExecutorOptions options;
  options.threads = 3;
  options.poison = true;
  EXPECT_EQ(losses(requestFor(GetParam(), split, DType::bf16), options), base);
  split.schedule = "gpipe";
  EXPECT_EQ(losses(requestFor(GetParam(), split, DType::bf16)), base);
}

INSTANTIATE_TEST_SUITE_P(Families, Splits, testing::ValuesIn(test::kFamilies),
                         test::familyName);

// A step with more rows than planned ends with what would have sufficed.
TEST(Capacity, OverflowNamesLayerRankAndCapacity) {
  driver::PlanRequest request =
      requestFor("qwen3-30b-a3b", {1, 4, 1, 2, "1f1b"}, DType::f32);
  request.capacityFactor = 1;
  Result<exec::RunReport> report = test::planAndRun(request, 1);
  ASSERT_FALSE(report);
  const std::string &message = report.error().message;
  EXPECT_NE(message.find("layers."), std::string::npos) << message;
  EXPECT_NE(message.find("rows"), std::string::npos) << message;
  EXPECT_NE(message.find("capacity"), std::string::npos) << message;
}
