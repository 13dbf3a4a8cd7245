//===- RecomputeTest.cpp - decisions account for what is made again -------===//
//
// Random small models, layouts, schedules and sets of targets and values. That
// such plans train to the same bits is in AnyTrainingTest.cpp.
//
//===----------------------------------------------------------------------===//

#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace moe;

namespace {

/// Bytes that one microbatch in flight holds from forward to backward.
int64_t keptBytes(const plan::Stage &stage) {
  int64_t bytes = 0;
  for (const plan::Program &program : stage.programs)
    if (program.phase == plan::Phase::forward)
      for (plan::ValueIndex output : program.outputs)
        if (plan::isKept(stage, output))
          bytes += stage.values[output].bytes;
  return bytes;
}

std::string pickOne(const std::vector<std::string> &from,
                    std::mt19937 &random) {
  return from[random() % from.size()];
}

/// Targets and values to choose from, with their scopes.
std::vector<std::string> namesOf(const plan::Plan &plan) {
  std::vector<std::string> names;
  for (const policy::Target &target : policy::targets())
    for (const char *scope : {"", "", "@layers.0", "@layers.1-2", "@stage0",
                              "@stage1", "@rank0-1", "@mtp.0"})
      names.push_back(std::string(target.name) + scope);
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Value &value : stage.values)
      if (value.memoryClass == plan::MemoryClass::saved ||
          value.memoryClass == plan::MemoryClass::handles)
        names.push_back(value.name);
  return names;
}

/// A plan with some of what `names` has recomputed. Choices that this model,
/// or these layers, have nothing of are left out.
driver::PlanAnswer planWithChoices(driver::PlanRequest request,
                                   const plan::Plan &base,
                                   const std::vector<std::string> &names,
                                   std::mt19937 &random) {
  driver::PlanAnswer answer{base, {}};
  std::string accepted;
  for (size_t count = 1 + random() % 5, tries = 0; count > 0 && tries < 40;
       ++tries) {
    request.recompute =
        accepted + (accepted.empty() ? "" : ",") + pickOne(names, random);
    Result<driver::PlanAnswer> made = driver::makePlan(request);
    if (!made) {
      EXPECT_TRUE(made.error().message.starts_with("recompute: '"))
          << request.recompute << ": " << made.error().message;
      continue;
    }
    accepted = request.recompute;
    answer = std::move(*made);
    --count;
  }
  return answer;
}

std::string recomputeOf(const plan::Plan &plan) {
  for (const plan::Assumption &assumption : plan.assumptions)
    if (assumption.name == "recompute")
      return assumption.value;
  return "";
}

} // namespace

class Recompute : public testing::TestWithParam<std::string> {};

TEST_P(Recompute, DecisionsAccountForEveryByteThatIsNotKept) {
  std::mt19937 random(static_cast<uint32_t>(GetParam().size() * 31 + 5));
  std::vector<std::string> schedules;
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    schedules.push_back(std::string(generator.name));
  int64_t replays = 0;
  for (int64_t round = 0; round < 12; ++round) {
    bool isWide = random() % 3 == 0;
    driver::PlanRequest request = test::request(
        GetParam(), test::randomReduction(GetParam(), isWide ? 8 : 5, random));
    request.layout.pipeline = isWide ? 4 : 2;
    request.layout.expert = isWide ? 1 : 2;
    request.layout.microbatches = isWide ? 8 : 4;
    request.layout.sequenceLength = 6;
    request.dtype = random() % 2 ? DType::bf16 : DType::f32;
    request.schedule = pickOne(schedules, random);
    Result<driver::PlanAnswer> base = driver::makePlan(request);
    ASSERT_TRUE(base) << request.schedule << ": " << base.error().message;

    request.keepHandles = random() % 3 == 0;
    driver::PlanAnswer answer =
        planWithChoices(request, base->plan, namesOf(base->plan), random);
    SCOPED_TRACE(GetParam() + " " + request.reductions + " " +
                 request.schedule + " recompute " + recomputeOf(answer.plan) +
                 (request.keepHandles ? " keeping handles" : ""));

    std::vector<int64_t> less(base->plan.stages.size());
    for (const plan::Decision &decision : answer.plan.decisions)
      less[decision.stage] += decision.bytes;
    for (size_t stage = 0; stage < less.size(); ++stage)
      EXPECT_EQ(keptBytes(answer.plan.stages[stage]),
                keptBytes(base->plan.stages[stage]) - less[stage])
          << "stage " << stage;
    EXPECT_EQ(answer.plan.prediction.modelFlops,
              base->plan.prediction.modelFlops);
    for (const plan::Stage &stage : answer.plan.stages)
      for (const plan::Program &program : stage.programs)
        for (const plan::Op &op : program.ops)
          replays += op.name.find(".replay") != std::string::npos;
  }
  EXPECT_GT(replays, 100);
}

INSTANTIATE_TEST_SUITE_P(Families, Recompute,
                         testing::ValuesIn(test::kFamilies), test::familyName);
