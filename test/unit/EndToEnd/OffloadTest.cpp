//===- OffloadTest.cpp - values on the host change no number --------------===//
//
// Random models, layouts, schedules and choices of values that wait on the
// host. exec::run fails where live bytes differ from the plan in any class at
// any op; bytes that are not live, on the host as well, hold NaN.
//
//===----------------------------------------------------------------------===//

#include "test/unit/EndToEnd/SmallModels.h"

#include "compiler/Schedule/Generators.h"

#include <gtest/gtest.h>

#include <cstring>
#include <mutex>

using namespace moe;

namespace {

/// What training came to, to the bit.
struct Trained {
  std::vector<double> numbers; ///< loss and gradient norm of every step
  std::map<std::string, std::vector<std::byte>> gradients; ///< by rank and name
  bool operator==(const Trained &) const = default;
};

Result<Trained> train(const driver::PlanRequest &request) {
  Trained trained;
  std::mutex mutex;
  exec::ExecutorOptions options;
  options.poison = true;
  options.onGradients = [&](exec::Executor &executor) -> Status {
    std::lock_guard<std::mutex> lock(mutex);
    const comm::Coordinates &at = executor.coordinates();
    for (const auto &entry : executor.parameters().entries()) {
      if (!entry.gradient.present())
        continue;
      auto *data = entry.gradient.as<std::byte>();
      trained.gradients[std::to_string(at.pipeline) + "." +
                        std::to_string(at.expert) + "." +
                        std::to_string(at.data) + " " + entry.parameter->name] =
          {data,
           data + entry.gradient.elements() * byteSize(entry.gradient.dtype)};
    }
    return {};
  };
  Result<exec::RunReport> report = test::planAndRun(request, 2, options);
  if (!report)
    return report.error();
  for (const exec::StepReport &step : report->steps)
    trained.numbers.insert(trained.numbers.end(),
                           {step.loss, step.gradientNorm});
  return trained;
}

/// Names of values that a plan keeps from forward to backward.
std::vector<std::string> keptValues(const plan::Plan &plan) {
  std::vector<std::string> names;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      if (program.phase == plan::Phase::backward ||
          program.phase == plan::Phase::backward_input)
        for (plan::ValueIndex input : program.inputs)
          if (const plan::Value &value = stage.values[input];
              value.name != "output_grad" &&
              std::find(names.begin(), names.end(), value.name) == names.end())
            names.push_back(value.name);
  return names;
}

driver::PlanRequest randomRequest(const std::string &family,
                                  std::mt19937 &random) {
  auto pick = [&](std::vector<int64_t> choices) {
    return choices[random() % choices.size()];
  };
  const auto &generators = schedule::generators();
  const schedule::GeneratorInfo &generator =
      generators[random() % generators.size()];
  int64_t pipeline = pick({1, 2, 3});
  int64_t stages = pipeline * std::max<int64_t>(generator.stagesPerRank, 1);
  driver::PlanRequest request = test::request(
      family, test::randomReduction(family, stages + pick({0, 1, 2}), random));
  request.schedule = generator.name;
  request.layout.pipeline = pipeline;
  request.layout.expert = pick({1, 2});
  request.layout.microbatches = pick({2, 3, 4, 6});
  request.layout.sequenceLength = pick({1, 5, 16});
  request.dtype = random() % 2 ? DType::bf16 : DType::f32;
  request.offloadLead = pick({0, 1, 1, 2});
  return request;
}

class Offload : public testing::TestWithParam<std::string> {};

} // namespace

TEST_P(Offload, ChangesNoBit) {
  std::mt19937 random(static_cast<uint32_t>(GetParam().size() * 31 + 5));
  int moved = 0;
  for (int round = 0; round < 24; ++round) {
    driver::PlanRequest request = randomRequest(GetParam(), random);
    Result<driver::PlanAnswer> kept = driver::makePlan(request);
    if (!kept) // not every schedule takes every layout
      continue;
    // Values that replays begin with can wait on the host as well.
    driver::PlanRequest offloaded = request;
    constexpr const char *recompute[] = {"", "", "norm", "moe_act", "full"};
    offloaded.recompute = recompute[random() % std::size(recompute)];
    if (!offloaded.recompute.empty())
      kept = driver::makePlan(offloaded);
    ASSERT_TRUE(kept) << kept.error().message;
    for (const std::string &name : keptValues(kept->plan))
      if (random() % 3 == 0)
        offloaded.offload += (offloaded.offload.empty() ? "" : ",") + name;
    if (offloaded.offload.empty())
      continue;
    SCOPED_TRACE(request.reductions +
                 " pp=" + std::to_string(request.layout.pipeline) +
                 " ep=" + std::to_string(request.layout.expert) +
                 " m=" + std::to_string(request.layout.microbatches) + " " +
                 request.schedule + " --recompute '" + offloaded.recompute +
                 "' --offload " + offloaded.offload);
    Result<driver::PlanAnswer> answer = driver::makePlan(offloaded);
    if (!answer) {
      // What leaves a stage cannot leave the device besides.
      ASSERT_NE(answer.error().message.find("cannot leave"), std::string::npos)
          << answer.error().message;
      continue;
    }
    Result<Trained> expected = train(request);
    ASSERT_TRUE(expected) << expected.error().message;
    Result<Trained> found = train(offloaded);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->numbers, expected->numbers);
    EXPECT_TRUE(found->gradients == expected->gradients);
    moved += !answer->plan.decisions.empty();
    for (const plan::Rank &rank : answer->plan.ranks)
      EXPECT_LE(rank.hostPeakBytes, rank.hostArenaBytes);
  }
  EXPECT_GT(moved, 6);
}

INSTANTIATE_TEST_SUITE_P(Families, Offload, testing::ValuesIn(test::kFamilies),
                         test::familyName);
