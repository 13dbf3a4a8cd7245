#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moe;
using namespace moe::test;
using exec::RunOptions;
using exec::RunReport;
using testing::HasSubstr;

namespace {

RunOptions steps(int64_t count) {
  RunOptions options;
  options.steps = count;
  return options;
}

/// Losses and gradient norms of a run, which must succeed.
std::vector<double> numbers(const TinyModel &model, RunOptions options) {
  Result<RunReport> report =
      runPlan(makePlan(model), makeData(model), std::move(options));
  EXPECT_TRUE(report.ok()) << report.error().message;
  std::vector<double> result;
  if (report)
    for (const exec::StepReport &step : report->steps) {
      result.push_back(step.loss);
      result.push_back(step.gradientNorm);
    }
  return result;
}

std::string failure(const plan::Plan &plan, const TinyModel &model,
                    RunOptions options = {}) {
  Result<RunReport> report = runPlan(plan, makeData(model), std::move(options));
  return report ? "no error" : report.error().message;
}

struct Case {
  const char *name;
  TinyModel model;
};

class Run : public testing::TestWithParam<Case> {};

TEST_P(Run, ExecutesExactlyAsPlanned) {
  const TinyModel &model = GetParam().model;
  plan::Plan plan = makePlan(model);
  Result<RunReport> report = runPlan(plan, makeData(model), steps(3));
  ASSERT_TRUE(report.ok()) << report.error().message;
  ASSERT_EQ(report->steps.size(), 3u);
  ASSERT_EQ(static_cast<int64_t>(report->peaks.size()),
            model.pipeline * model.expert * model.data);
  for (size_t r = 0; r < report->peaks.size(); ++r) {
    size_t pp = r / static_cast<size_t>(model.expert * model.data);
    EXPECT_EQ(report->peaks[r].live, plan.ranks[pp].peak);
    EXPECT_EQ(report->peaks[r].step, plan.ranks[pp].peakStep);
    EXPECT_EQ(report->peaks[r].op, plan.ranks[pp].peakOp);
    EXPECT_EQ(report->steps[2].peakBytes[pp], plan.ranks[pp].peak.total());
  }
}

TEST_P(Run, ThreadsAndPoisonDoNotChangeABit) {
  const TinyModel &model = GetParam().model;
  std::vector<double> reference = numbers(model, steps(3));
  ASSERT_EQ(reference.size(), 6u);
  for (int64_t threads = 1; threads <= 4; ++threads)
    for (bool poison : {false, true}) {
      RunOptions options = steps(3);
      options.executor.threads = threads;
      options.executor.poison = poison;
      EXPECT_EQ(numbers(model, options), reference)
          << threads << " threads, poison " << poison;
    }
}

TEST_P(Run, LossFalls) {
  RunOptions options = steps(20);
  options.executor.optimizer.learningRate = 2e-2;
  options.executor.optimizer.warmupSteps = 2;
  std::vector<double> result = numbers(GetParam().model, options);
  ASSERT_EQ(result.size(), 40u);
  EXPECT_LT(result[38], 0.8 * result[0]);
}

INSTANTIATE_TEST_SUITE_P(
    Models, Run,
    testing::Values(
        Case{"Dense", {}}, Case{"DenseBf16", {.dtype = DType::bf16}},
        Case{"DenseDataParallel", {.data = 3}},
        Case{"TwoStages", {.pipeline = 2, .microbatches = 4}},
        Case{"Experts", {.experts = true}},
        Case{"ExpertsBf16",
             {.expert = 2, .experts = true, .dtype = DType::bf16}},
        Case{"ExpertsF64", {.expert = 2, .experts = true, .dtype = DType::f64}},
        Case{"ExpertsEP4", {.expert = 4, .experts = true}},
        Case{"ExpertsPP2EP2DP2",
             {.pipeline = 2, .expert = 2, .data = 2, .experts = true}}),
    [](const auto &info) { return info.param.name; });

/// The same four microbatches a step, shared out in every way.
TEST(Split, LayoutsAgreeOnLossAndGradientNorm) {
  TinyModel base{.microbatches = 4, .experts = true};
  std::vector<double> reference = numbers(base, steps(4));
  ASSERT_EQ(reference.size(), 8u);
  for (int64_t pipeline : {1, 2})
    for (int64_t expert : {1, 2, 4})
      for (int64_t data : {1, 2, 4}) {
        if (expert * data > 4)
          continue;
        SCOPED_TRACE(testing::Message() << "pp " << pipeline << " ep " << expert
                                        << " dp " << data);
        TinyModel model = base;
        model.pipeline = pipeline;
        model.expert = expert;
        model.data = data;
        model.microbatches = 4 / (expert * data);
        std::vector<double> result = numbers(model, steps(4));
        ASSERT_EQ(result.size(), reference.size());
        EXPECT_EQ(result[0], reference[0]); // nothing summed in another order
        for (size_t i = 1; i < result.size(); ++i)
          EXPECT_NEAR(result[i], reference[i], 1e-5 * reference[i]);
      }
}

TEST(Split, MicrobatchSizeDoesNotChangeTheBatch) {
  double four = numbers({.microbatches = 4, .microbatchSize = 1}, steps(1))[0];
  double two = numbers({.microbatches = 2, .microbatchSize = 2}, steps(1))[0];
  EXPECT_NEAR(four, two, 1e-6 * four);
}

TEST(Optimizer, ClippingAndDecayHaveAnEffect) {
  TinyModel model;
  RunOptions free = steps(3), decayed = steps(3), clipped = steps(3);
  free.executor.optimizer.clip = 0;
  free.executor.optimizer.weightDecay = 0;
  decayed.executor.optimizer.clip = 0;
  decayed.executor.optimizer.weightDecay = 10;
  // Adam does not see a constant factor, so clip only what is larger.
  clipped.executor.optimizer.weightDecay = 0;
  clipped.executor.optimizer.clip = numbers(model, free)[1] * 0.9;
  clipped.executor.optimizer.epsilon = decayed.executor.optimizer.epsilon =
      free.executor.optimizer.epsilon = 1e-3;
  std::vector<double> reference = numbers(model, free);
  EXPECT_EQ(numbers(model, decayed)[0], reference[0]);
  EXPECT_NE(numbers(model, decayed)[2], reference[2]);
  EXPECT_EQ(numbers(model, clipped)[1], reference[1]);
  EXPECT_NE(numbers(model, clipped)[2], reference[2]);
}

TEST(Seed, ChangesTheWeights) {
  RunOptions other = steps(1);
  other.executor.seed = 2;
  EXPECT_NE(numbers({}, steps(1))[0], numbers({}, other)[0]);
}

TEST(LiveBytes, AWrongClaimOfAnOpEndsTheRun) {
  TinyModel model{.pipeline = 2};
  plan::Plan plan = makePlan(model);
  plan.stages[0].programs[0].ops[1].live[plan::MemoryClass::saved] += 256;
  EXPECT_FALSE(plan::check(plan).ok());
  std::string message = failure(plan, model);
  EXPECT_THAT(message, HasSubstr("rank 0 (pp 0, ep 0, dp 0): training step 1, "
                                 "schedule step 1 (run forward of s0, "
                                 "microbatch 0): op 'norm' (rms_norm): live "
                                 "bytes of class saved: the plan says"));
}

TEST(LiveBytes, AWrongClaimOfAStepEndsTheRun) {
  TinyModel model;
  plan::Plan plan = makePlan(model);
  plan.ranks[0].steps[2].live[plan::MemoryClass::handles] = 512;
  EXPECT_FALSE(plan::check(plan).ok());
  EXPECT_THAT(failure(plan, model),
              HasSubstr("schedule step 2 (run forward of s0, microbatch 0): "
                        "live bytes of class handles: the plan says 512, the "
                        "arena holds 0"));
}

TEST(LiveBytes, AMissingReleaseEndsTheRunAtTheNextOp) {
  TinyModel model;
  plan::Plan plan = makePlan(model);
  auto &ops = plan.stages[0].programs[1].ops;
  ASSERT_EQ(ops[2].name, "head_weight_grad");
  ops[2].releases.clear();
  EXPECT_FALSE(plan::check(plan).ok());
  EXPECT_THAT(failure(plan, model),
              HasSubstr("op 'd_twice' (add): live bytes"));
}

TEST(LiveBytes, AReadOfAReleasedValueEndsTheRun) {
  TinyModel model;
  plan::Plan plan = makePlan(model);
  auto &ops = plan.stages[0].programs[1].ops;
  ops[1].releases.push_back(ops[1].inputs[0]);
  EXPECT_FALSE(plan::check(plan).ok());
  // The account is already wrong; with the claim adjusted, the read is found.
  int64_t bytes =
      plan.stages[0].values[static_cast<size_t>(ops[1].inputs[0])].bytes;
  ops[2].live[plan::MemoryClass::transient] -= bytes;
  EXPECT_THAT(failure(plan, model),
              HasSubstr("op 'head_weight_grad' (linear_weight_grad): value "
                        "'d_logits' is read, but does not live"));
}

TEST(LiveBytes, AWrongPersistentSizeEndsTheRun) {
  TinyModel model;
  plan::Plan plan = makePlan(model);
  plan.ranks[0].persistent[plan::MemoryClass::optimizer] -= 256;
  EXPECT_THAT(failure(plan, model),
              HasSubstr("parameters: live bytes of class optimizer"));
}

TEST(LiveBytes, AWrongPeakEndsTheRun) {
  TinyModel model;
  plan::Plan plan = makePlan(model);
  plan.ranks[0].peak[plan::MemoryClass::saved] += 256;
  EXPECT_THAT(failure(plan, model), HasSubstr("peak: the plan says"));
}

TEST(Overflow, EndsTheRunAndNamesTheWayOut) {
  for (int64_t expert : {1, 2, 4}) {
    // Ten tokens choose two experts each; fewer rows than any routing needs.
    TinyModel model{.expert = expert, .capacity = 9};
    model.experts = true;
    std::string message = failure(makePlan(model), model);
    EXPECT_THAT(message, HasSubstr("op 'layers.0.dispatch'"));
    EXPECT_THAT(message, HasSubstr("rows to rank "));
    EXPECT_THAT(message, HasSubstr("but the plan has room for 9; plan again "
                                   "with a capacity factor of at least "));
    if (expert == 1) {
      EXPECT_THAT(message, HasSubstr("sends 20 rows to rank 0"));
      EXPECT_THAT(message, HasSubstr("at least 1.00"));
    }
  }
}

TEST(Overflow, TheCapacityThatTheErrorNamesIsEnough) {
  TinyModel model{.expert = 2, .capacity = 9};
  model.experts = true;
  std::string message = failure(makePlan(model), model);
  size_t at = message.find("sends ");
  ASSERT_NE(at, std::string::npos) << message;
  model.capacity = std::stoll(message.substr(at + 6));
  for (int64_t less : {1, 0}) {
    TinyModel tight = model;
    tight.capacity -= less;
    // Later microbatches of the step may need more than the first.
    std::string result = failure(makePlan(tight), tight);
    if (less > 0) {
      EXPECT_THAT(result, HasSubstr("plan has room for"));
    } else if (result != "no error") {
      EXPECT_THAT(result, testing::Not(HasSubstr("microbatch 0)")));
    }
  }
}

TEST(Vocabulary, DataBeyondItIsRefused) {
  TinyModel model;
  model.vocabulary = 100; // the text has letters up to 'y', 121
  EXPECT_EQ(failure(makePlan(model), model),
            "rank 0 (pp 0, ep 0, dp 0): the data has tokens up to 121, the "
            "model's vocabulary ends at 99");
}

} // namespace
