//===- SchedulesTest.cpp - the order of steps does not change training ----===//
//
// Every schedule trains the model that 1F1B trains on the same layout, to the
// bit. exec::run compares live bytes with the plan at every op, and every peak;
// freed bytes hold NaN, so a read after a release shows in the loss.
//
//===----------------------------------------------------------------------===//

#include "compiler/Schedule/Generators.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace moe;

namespace {

struct Layout {
  int64_t pipeline, expert, microbatches, layers;
};

/// What every generator admits, and one more rank than that.
constexpr Layout kLayouts[] = {{2, 2, 4, 5}, {4, 1, 8, 8}};

driver::PlanRequest requestFor(const std::string &family, const Layout &layout,
                               DType dtype) {
  std::mt19937 random(11);
  driver::PlanRequest request = test::request(
      family, test::randomReduction(family, layout.layers, random));
  request.layout.pipeline = layout.pipeline;
  request.layout.expert = layout.expert;
  request.layout.microbatches = layout.microbatches;
  request.layout.sequenceLength = 12;
  request.dtype = dtype;
  return request;
}

std::vector<double> losses(const driver::PlanRequest &request) {
  exec::ExecutorOptions options;
  options.poison = true;
  Result<exec::RunReport> report = test::planAndRun(request, 3, options);
  EXPECT_TRUE(report) << report.error().message;
  std::vector<double> result;
  if (report)
    for (const exec::StepReport &step : report->steps)
      result.push_back(step.loss);
  return result;
}

/// Whether `own` are the losses that 1F1B gives. Where two copies of the model
/// train together, gradients are summed in two halves: from the second step on
/// losses agree to `tolerance`, relative.
void expectSame(const std::vector<double> &own, const std::vector<double> &base,
                bool twoCopies, double tolerance) {
  ASSERT_EQ(own.size(), base.size());
  for (size_t step = 0; step < base.size(); ++step)
    if (twoCopies && step > 0)
      EXPECT_NEAR(own[step], base[step], tolerance * std::abs(base[step]));
    else
      EXPECT_EQ(own[step], base[step]) << "step " << step + 1;
}

} // namespace

class Schedules : public testing::TestWithParam<std::string> {};

TEST_P(Schedules, TrainAsOneForwardOneBackwardDoes) {
  for (const Layout &layout : kLayouts) {
    driver::PlanRequest request =
        requestFor("qwen3-30b-a3b", layout, DType::f32);
    std::vector<double> base = losses(request);
    request.schedule = GetParam();
    SCOPED_TRACE("pp=" + std::to_string(layout.pipeline) +
                 " ep=" + std::to_string(layout.expert));
    expectSame(losses(request), base, GetParam() == "dualpipe", 1e-5);
  }
}

// With the multi-token prediction module, whose copy of the embedding table may
// lie on the rank of the original, and a layer that is not of the others' kind.
TEST_P(Schedules, TrainMultiTokenPrediction) {
  driver::PlanRequest request =
      requestFor("deepseek-v3", {2, 2, 4, 4}, DType::bf16);
  if (size_t at = request.reductions.find("mtp=0"); at != std::string::npos)
    request.reductions.replace(at, 5, "mtp=1");
  request.mtp = true;
  std::vector<double> base = losses(request);
  request.schedule = GetParam();
  expectSame(losses(request), base, GetParam() == "dualpipe", 1e-2);
}

static std::vector<std::string> names() {
  std::vector<std::string> all = {"auto"};
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    all.push_back(std::string(generator.name));
  return all;
}

INSTANTIATE_TEST_SUITE_P(Generators, Schedules, testing::ValuesIn(names()),
                         test::familyName);

// Stages and placement may be chosen where a schedule leaves them open.
TEST(ScheduleOptions, StagesAndGroupsOfInterleaved) {
  driver::PlanRequest request =
      requestFor("qwen3-30b-a3b", {2, 1, 6, 6}, DType::f32);
  std::vector<double> base = losses(request);
  request.schedule = "interleaved";
  request.stagesPerRank = 3;
  request.groupSize = 3;
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->plan.stages.size(), 6u);
  EXPECT_EQ(answer->plan.schedule, "interleaved");
  expectSame(losses(request), base, false, 0);
}

TEST(ScheduleOptions, AutoTakesThePlacementAlone) {
  driver::PlanRequest request =
      requestFor("qwen3-30b-a3b", {2, 1, 4, 4}, DType::f32);
  request.schedule = "auto";
  request.placement = "v";
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->plan.stages.size(), 4u);
  EXPECT_EQ(answer->plan.stages[3].rank, 0);
  request.placement = "loop";
  EXPECT_TRUE(driver::makePlan(request).ok());
}

TEST(ScheduleOptions, ErrorsSayWhatIsNeeded) {
  auto message = [](auto change) {
    driver::PlanRequest request =
        requestFor("qwen3-30b-a3b", {2, 1, 4, 4}, DType::f32);
    change(request);
    Result<driver::PlanAnswer> answer = driver::makePlan(request);
    EXPECT_FALSE(answer);
    return answer ? std::string() : answer.error().message;
  };
  auto holds = [](const std::string &text, const char *part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  holds(message([](auto &request) { request.schedule = "zigzag"; }),
        "unknown schedule 'zigzag' (option --schedule); known: gpipe, 1f1b");
  holds(message([](auto &request) { request.groupSize = 2; }),
        "--group-size is for interleaved schedules, not for 1f1b");
  holds(message([](auto &request) {
          request.schedule = "interleaved";
          request.stagesPerRank = 3;
        }),
        "has 4 decoder layers for 6 stages (2 pipeline ranks, 3 each)");
  holds(message([](auto &request) {
          request.schedule = "dualpipe";
          request.layout.microbatches = 5;
        }),
        "an even number of ranks and of microbatches");
  holds(message([](auto &request) { request.stagesPerRank = 2; }),
        "1f1b needs one stage per rank");
}

// A search keeps to the budget, and says what it found.
TEST(ScheduleOptions, AutoFitsTheBudgetOrSaysWhatItNeeds) {
  driver::PlanRequest request =
      requestFor("qwen3-30b-a3b", {4, 1, 8, 8}, DType::f32);
  request.schedule = "auto";
  Result<driver::PlanAnswer> free = driver::makePlan(request);
  ASSERT_TRUE(free) << free.error().message;
  ASSERT_FALSE(free->notes.empty());
  EXPECT_NE(free->notes.front().find("gap"), std::string::npos)
      << free->notes.front();
  int64_t largest = 0;
  for (const plan::Rank &rank : free->plan.ranks)
    largest = std::max(largest, rank.arenaBytes);
  // A little less than the best takes when it is free to choose.
  request.budgetBytes =
      free->plan.machine.reserveBytes + largest - largest / 16;
  Result<driver::PlanAnswer> tight = driver::makePlan(request);
  ASSERT_TRUE(tight) << tight.error().message;
  EXPECT_TRUE(tight->plan.prediction.fits);
  request.budgetBytes = free->plan.machine.reserveBytes + 4096;
  Result<driver::PlanAnswer> none = driver::makePlan(request);
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_FALSE(none->plan.prediction.fits);
}

// Judged by the plans themselves, with packed buffers and simulated streams.
TEST(ScheduleOptions, AutoIsNotSlowerThanAnyPublishedPlan) {
  driver::PlanRequest request =
      requestFor("qwen3-30b-a3b", {4, 1, 8, 8}, DType::f32);
  auto largest = [](const plan::Plan &plan) {
    int64_t bytes = 0;
    for (const plan::Rank &rank : plan.ranks)
      bytes = std::max(bytes, rank.arenaBytes);
    return bytes;
  };
  // From less than 1F1B needs to what all schedules do.
  request.schedule = "1f1b";
  Result<driver::PlanAnswer> plain = driver::makePlan(request);
  ASSERT_TRUE(plain) << plain.error().message;
  for (double share : {0.9, 1.0, 1.1, 2.0}) {
    request.budgetBytes =
        plain->plan.machine.reserveBytes +
        static_cast<int64_t>(share * static_cast<double>(largest(plain->plan)));
    request.schedule = "auto";
    Result<driver::PlanAnswer> best = driver::makePlan(request);
    ASSERT_TRUE(best) << best.error().message;
    for (const schedule::GeneratorInfo &generator : schedule::generators()) {
      if (generator.placement == schedule::Placement::bidirectional)
        continue;
      request.schedule = generator.name;
      Result<driver::PlanAnswer> other = driver::makePlan(request);
      if (!other || !other->plan.prediction.fits)
        continue;
      EXPECT_TRUE(best->plan.prediction.fits) << generator.name;
      EXPECT_LE(best->plan.prediction.stepNs, other->plan.prediction.stepNs)
          << generator.name << ", " << share;
    }
  }
}
