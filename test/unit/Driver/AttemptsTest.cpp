//===- AttemptsTest.cpp - drafts against the plans of them ----------------===//

#include "driver/Attempts.h"
#include "driver/TrialPlanner.h"

#include "test/unit/Driver/Bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

using namespace moe;
using namespace moe::driver;

namespace {

class DraftSteps : public testing::TestWithParam<std::string> {};

// By what its programs take, a draft tells how long the step of its plan is
// simulated to take: with everything kept, and with less and less memory. Of
// pairs that overlap it tells the longest of two stages, next to the plan.
TEST_P(DraftSteps, TakeWhatTheirPlansDo) {
  Bench bench(requestOf("olmoe-1b-7b", 4, 4, GetParam()));
  int choosing = 0;
  for (double gibibytes : {60.0, 24.0, 19.0, 17.0}) {
    const PlanBudget budget = bench.budget(gibibytes);
    const OrderedTrial ordered = bench.found(budget);
    const OnProgress onProgress;
    const MakeDraft makeDraft = [&](const Chosen &chosen, int64_t bytes,
                                    bool writes) {
      Decided decided = decidedBy(*bench.inputs);
      decided.layers = chosen.layers;
      decided.recompute = chosen.recompute;
      decided.offload = chosen.offload;
      return bench.compiler->draft(ordered.settled(), decided, bytes, writes);
    };
    const Attempts attempts(ordered.chooser, budget, makeDraft, onProgress);
    Result<Attempt> attempt = attempts.make(
        chosenBy(*ordered.chooser, budget, optimize::Effort::brief),
        attempts.deviceBytes());
    ASSERT_TRUE(attempt) << attempt.error().message;
    Result<Taken> taken = Attempts::finish(*attempt, Certainty::none);
    ASSERT_TRUE(taken) << taken.error().message;
    if (schedule::overlappingPairs(ordered.chooser->steps()).empty())
      EXPECT_EQ(attempt->stepNs, taken->stepNs()) << gibibytes;
    else
      EXPECT_NEAR(static_cast<double>(attempt->stepNs),
                  static_cast<double>(taken->stepNs()),
                  0.03 * static_cast<double>(taken->stepNs()))
          << gibibytes;
    choosing += attempt->chosen.recompute != "none" ||
                attempt->chosen.offload != "none";
  }
  EXPECT_GT(choosing, 0);
}

INSTANTIATE_TEST_SUITE_P(Schedules, DraftSteps,
                         testing::Values("gpipe", "1f1b", "interleaved",
                                         "zb-h1", "zb-v", "v-half", "dualpipe",
                                         "dualpipe-v"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
