//===- FrozenTest.cpp - paths on which not everything is trained ----------===//
//
// Forward only, a frozen prefix, frozen parts in between: what is kept follows
// from which values need a gradient. exec::run compares live bytes with the
// plan at every op, and with the persistent bytes at the end of every step, so
// that a run that leaks anything, such as a dispatch handle that only backward
// would release, fails.
//
//===----------------------------------------------------------------------===//

#include "compiler/Schedule/Generators.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

using namespace moe;

namespace {

driver::PlanRequest requestFor(const std::string &family, int64_t pipeline,
                               int64_t expert, int64_t microbatches,
                               int64_t layers) {
  std::mt19937 random(11);
  driver::PlanRequest request =
      test::request(family, test::randomReduction(family, layers, random));
  request.layout.pipeline = pipeline;
  request.layout.expert = expert;
  request.layout.microbatches = microbatches;
  request.layout.sequenceLength = 12;
  request.dtype = DType::f32;
  return request;
}

plan::Plan planFor(const driver::PlanRequest &request) {
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  EXPECT_TRUE(answer) << answer.error().message;
  return answer ? std::move(answer->plan) : plan::Plan();
}

bool hasBackward(const plan::Stage &stage) { return stage.programs.size() > 1; }

/// The gradients of the last step by world rank and parameter.
using Gradients = std::map<std::pair<int64_t, std::string>, std::string>;

struct Outcome {
  std::vector<double> losses;
  std::vector<double> norms;
  Gradients gradients;
};

Outcome run(const driver::PlanRequest &request, int64_t steps) {
  Outcome result;
  std::mutex mutex;
  exec::ExecutorOptions options;
  options.poison = true;
  options.onGradients = [&](exec::Executor &executor) -> Status {
    std::lock_guard<std::mutex> lock(mutex);
    int64_t rank = executor.binding().topology().rank(executor.coordinates());
    for (const auto &entry : executor.parameters().entries())
      if (entry.gradient.present()) {
        const auto *bytes =
            static_cast<const char *>(static_cast<void *>(entry.gradient.data));
        result.gradients[{rank, entry.parameter->name}].assign(
            bytes, static_cast<size_t>(entry.gradient.elements() *
                                       byteSize(entry.gradient.dtype)));
      }
    return {};
  };
  Result<exec::RunReport> report = test::planAndRun(request, steps, options);
  EXPECT_TRUE(report) << report.error().message;
  if (report)
    for (const exec::StepReport &step : report->steps) {
      result.losses.push_back(step.loss);
      result.norms.push_back(step.gradientNorm);
      EXPECT_EQ(step.updates, request.frozen != "*");
    }
  return result;
}

/// The gradients that both have are equal to the bit, and `some` has fewer.
void expectPart(const Outcome &some, const Outcome &all) {
  EXPECT_FALSE(some.gradients.empty());
  EXPECT_LT(some.gradients.size(), all.gradients.size());
  for (const auto &[name, bytes] : some.gradients) {
    auto found = all.gradients.find(name);
    ASSERT_NE(found, all.gradients.end()) << name.second;
    EXPECT_TRUE(bytes == found->second) << name.second;
  }
}

class Frozen : public testing::TestWithParam<std::string> {};

} // namespace

// Whatever the schedule, an evaluation is its forwards: nothing is kept between
// programs, no gradient and no optimizer state has a place, and the loss is
// that of the first training step, whose weights stay.
TEST_P(Frozen, ForwardOnlyIsTheForwardOrderOfTheSchedule) {
  for (auto [pipeline, expert] : {std::pair(2, 2), std::pair(4, 1)}) {
    SCOPED_TRACE(pipeline);
    driver::PlanRequest request =
        requestFor("qwen3-30b-a3b", pipeline, expert, 2 * pipeline, 8);
    request.schedule = GetParam();
    Outcome trained = run(request, 1);
    request.frozen = "*";
    plan::Plan plan = planFor(request);
    for (const plan::Stage &stage : plan.stages) {
      EXPECT_FALSE(hasBackward(stage));
      for (const plan::Parameter &parameter : stage.parameters)
        EXPECT_EQ(parameter.gradientOffset, -1);
      for (const plan::Value &value : stage.values)
        EXPECT_NE(value.memoryClass, plan::MemoryClass::saved) << value.name;
      // A handle is released behind the combine that reads it.
      for (const plan::Op &op : stage.programs[0].ops)
        for (size_t i = 0; i < op.outputs.size(); ++i)
          if (op.outputs[i] != -1 && stage.values[op.outputs[i]].memoryClass ==
                                         plan::MemoryClass::handles)
            EXPECT_EQ(std::count(stage.programs[0].outputs.begin(),
                                 stage.programs[0].outputs.end(),
                                 op.outputs[i]),
                      0);
    }
    for (const plan::Rank &rank : plan.ranks)
      for (const plan::Step &step : rank.steps)
        EXPECT_TRUE(step.kind != plan::StepKind::update &&
                    step.phase == plan::Phase::forward);
    Outcome evaluated = run(request, 3);
    ASSERT_EQ(evaluated.losses.size(), 3u);
    EXPECT_EQ(evaluated.losses[0], trained.losses[0]);
    EXPECT_TRUE(evaluated.gradients.empty());
  }
}

// A frozen prefix that ends inside a stage: stages before it run forward only
// and are sent no gradients; the gradients that are left are those of training
// everything.
TEST_P(Frozen, PrefixHasNoBackward) {
  driver::PlanRequest request = requestFor("qwen3-30b-a3b", 4, 1, 8, 8);
  request.schedule = GetParam();
  Outcome all = run(request, 1);
  request.frozen = "embedding,layers.0-4";
  plan::Plan plan = planFor(request);
  int64_t without = 0;
  for (const plan::Stage &stage : plan.stages)
    if (!hasBackward(stage)) {
      ++without;
      for (const plan::Value &value : stage.values)
        EXPECT_NE(value.memoryClass, plan::MemoryClass::saved) << value.name;
    }
  EXPECT_GT(without, 0);
  for (const plan::Rank &rank : plan.ranks)
    for (const plan::Step &step : rank.steps)
      if (step.stage >= 0 && step.phase != plan::Phase::forward)
        EXPECT_TRUE(hasBackward(plan.stages[step.stage]));
  Outcome some = run(request, 1);
  EXPECT_EQ(some.losses[0], all.losses[0]);
  expectPart(some, all);
}

// Stages in between without weight gradients pass gradients on.
TEST_P(Frozen, MiddleAndHeadPassGradientsOn) {
  driver::PlanRequest request = requestFor("qwen3-30b-a3b", 2, 2, 4, 8);
  request.schedule = GetParam();
  Outcome all = run(request, 1);
  request.frozen = "layers.2-7,head";
  Outcome some = run(request, 1);
  EXPECT_EQ(some.losses[0], all.losses[0]);
  expectPart(some, all);
  EXPECT_GT(some.norms[0], 0);
}

static std::vector<std::string> schedules() {
  std::vector<std::string> all = {"auto"};
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    all.push_back(std::string(generator.name));
  return all;
}

INSTANTIATE_TEST_SUITE_P(Generators, Frozen, testing::ValuesIn(schedules()),
                         test::familyName);

// Every architecture, frozen in random places.
TEST(FrozenPlaces, GradientsOfTheRestDoNotChange) {
  std::mt19937 random(5);
  for (const std::string &family : test::kFamilies) {
    driver::PlanRequest request = requestFor(family, 2, 2, 3, 4);
    Outcome all = run(request, 1);
    for (const char *frozen :
         {"embedding", "layers.0-1", "head", "layers.*.moe.router*",
          "embedding,layers.*.self_attn", "embedding,layers,final_norm",
          "layers.*.moe.experts"}) {
      SCOPED_TRACE(family + " " + frozen);
      request.frozen = frozen;
      request.schedule = random() % 2 ? "1f1b" : "zb-h1";
      Result<driver::PlanAnswer> answer = driver::makePlan(request);
      if (!answer) { // not every architecture has all of these
        EXPECT_NE(answer.error().message.find("nothing to freeze is called"),
                  std::string::npos)
            << answer.error().message;
        continue;
      }
      Outcome some = run(request, 1);
      EXPECT_EQ(some.losses[0], all.losses[0]);
      expectPart(some, all);
    }
  }
}

TEST(FrozenPlaces, UnknownNamesAreErrors) {
  driver::PlanRequest request = requestFor("qwen3-30b-a3b", 1, 1, 1, 2);
  auto message = [&](const char *frozen) {
    request.frozen = frozen;
    Result<driver::PlanAnswer> answer = driver::makePlan(request);
    return answer ? std::string() : answer.error().message;
  };
  EXPECT_NE(message("layers.7").find("nothing to freeze is called 'layers.7'"),
            std::string::npos);
  EXPECT_NE(message("layers.3-1").find("no pattern of names"),
            std::string::npos);
  // One op adds to both.
  request = requestFor("gpt-oss-20b", 1, 1, 1, 1);
  EXPECT_NE(message("layers.*.moe.router").find("freeze both or neither"),
            std::string::npos);
}

// A thousand steps on each path end with the bytes that they began with: the
// executor compares after every step, and the peak at the end.
TEST(ThousandSteps, EndWithThePersistentBytes) {
  struct Path {
    const char *frozen, *recompute, *offload;
  };
  for (const Path &path :
       {Path{"*", "", ""}, Path{"embedding,layers.0", "", ""},
        Path{"", "full", ""}, Path{"", "", "moe_act,core_attn"}}) {
    SCOPED_TRACE(std::string(path.frozen) + " " + path.recompute + " " +
                 path.offload);
    driver::PlanRequest request = requestFor("deepseek-v2-lite", 2, 2, 2, 2);
    request.layout.sequenceLength = 3;
    request.frozen = path.frozen;
    request.recompute = path.recompute;
    request.offload = path.offload;
    Result<exec::RunReport> report = test::planAndRun(request, 1000);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_EQ(report->steps.size(), 1000u);
    EXPECT_TRUE(std::isfinite(report->steps.back().loss));
    EXPECT_EQ(report->steps.front().peakBytes, report->steps.back().peakBytes);
  }
}
