//===- ChoiceNotesTest.cpp - how far plans are from bounds ----------------===//

#include "driver/ChoiceNotes.h"

#include "driver/Trials.h"
#include "test/unit/Driver/Bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

using namespace moe;
using namespace moe::driver;

namespace {

/// What a stream of all ranks works for one microbatch.
int64_t workOf(const plan::Plan &plan, plan::Stream stream) {
  int64_t ns = 0;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops)
        if (op.stream == stream)
          ns += op.timeNs;
  return ns;
}

class GapOfAnyOrder : public testing::TestWithParam<std::string> {};

// Programs of the plan do what the bound counts, and no order is quicker.
TEST_P(GapOfAnyOrder, IsAboutWhatProgramsDo) {
  for (const char *model : {"olmoe-1b-7b", "deepseek-v2-lite"}) {
    SCOPED_TRACE(model);
    PlanRequest request = requestOf(model, 4, 4, GetParam());
    request.layout.microbatches = 16;
    request.budgetBytes = int64_t{900} << 30; // everything kept
    Bench bench(std::move(request));
    const Chooser &chooser = *bench.first.chooser;
    Result<PlanAnswer> made =
        planTrial(*bench.inputs, *bench.compiler, {GetParam()}, false);
    ASSERT_TRUE(made) << made.error().message;

    int64_t computeNs = 0, exchangeNs = 0;
    for (int64_t kind : chooser.model().blocks) {
      const BlockWorks &works =
          chooser.model().kinds[static_cast<size_t>(kind)].works;
      computeNs += works.compute.forwardNs + works.compute.backwardNs;
      exchangeNs += works.exchange.forwardNs + works.exchange.backwardNs;
    }
    const schedule::ScheduleProblem &steps = chooser.steps().problem;
    // A pair's stage has its whole backward besides the halves of others.
    const bool hasAllWays =
        schedule::splitsBackwards(chooser.steps()) &&
        !schedule::overlappingPairs(chooser.steps()).empty();
    const int64_t most = steps.replicas() * (hasAllWays ? 2 : 1);
    for (auto [stream, ns] :
         {std::pair(plan::Stream::compute, computeNs),
          std::pair(plan::Stream::expert_communication, exchangeNs)}) {
      const int64_t worked = workOf(made->plan, stream);
      EXPECT_GT(ns, 0);
      EXPECT_GE(worked, ns * steps.replicas());
      EXPECT_LE(worked, ns * most + ns / 1000);
    }
    EXPECT_GE(made->plan.prediction.stepNs, chooser.leastNsOfAnyOrder());
    EXPECT_GE(chooser.leastNsOfAnyOrder(),
              computeNs * steps.microbatches / steps.ranks);
    EXPECT_EQ(gapOfAnyOrder(chooser, made->plan).value.find('-'),
              std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Schedules, GapOfAnyOrder,
                         testing::Values("1f1b", "interleaved", "zb-1p", "zb-v",
                                         "dualpipe", "dualpipe-v"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
