// Streams, overlaps, split backward programs, several stages a rank, and copies
// of the model that run in opposite directions.

#include "TinyPlan.h"

#include "runtime/Comm/Loopback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

using namespace moe;
using namespace moe::test;
using exec::RunOptions;
using exec::RunReport;
using testing::HasSubstr;

namespace {

RunOptions steps(int64_t count) {
  RunOptions options;
  options.steps = count;
  options.executor.optimizer.learningRate = 2e-2;
  return options;
}

/// Losses and gradient norms of a run, which must succeed.
std::vector<double> numbers(const plan::Plan &plan, const TinyModel &model,
                            RunOptions options = steps(4)) {
  Result<RunReport> report = runPlan(plan, makeData(model), std::move(options));
  EXPECT_TRUE(report.ok()) << report.error().message;
  std::vector<double> result;
  if (report)
    for (const exec::StepReport &step : report->steps) {
      result.push_back(step.loss);
      result.push_back(step.gradientNorm);
    }
  return result;
}

std::vector<double> numbers(const TinyModel &model,
                            RunOptions options = steps(4)) {
  return numbers(makePlan(model), model, std::move(options));
}

std::string failure(const plan::Plan &plan, const TinyModel &model) {
  Result<RunReport> report = runPlan(plan, makeData(model), steps(2));
  return report ? "no error" : report.error().message;
}

plan::Op &find(plan::Plan &plan, const std::string &name) {
  for (plan::Stage &stage : plan.stages)
    for (plan::Program &program : stage.programs)
      for (plan::Op &op : program.ops)
        if (op.name == name)
          return op;
  ADD_FAILURE() << "no op " << name;
  return plan.stages[0].programs[0].ops[0];
}

TEST(Split, InputThenWeightGradientsAreTheBackward) {
  for (int64_t pipeline : {1, 2})
    for (int64_t expert : {1, 2})
      for (bool experts : {false, true}) {
        SCOPED_TRACE(testing::Message() << "pp " << pipeline << " ep " << expert
                                        << " experts " << experts);
        TinyModel model{.pipeline = pipeline, .expert = expert};
        model.microbatches = 3;
        model.experts = experts;
        std::vector<double> fused = numbers(model);
        model.splitBackward = true;
        EXPECT_EQ(makePlan(model).stages[0].programs.size(), 3u);
        EXPECT_EQ(numbers(model), fused);
      }
}

TEST(SelfSend, StagesOfOneRankHandOverLikeOneStage) {
  for (bool split : {false, true})
    for (int64_t expert : {1, 2}) {
      TinyModel model{.expert = expert};
      model.microbatches = 4;
      model.experts = true;
      model.splitBackward = split;
      std::vector<double> oneStage = numbers(model);
      model.selfSend = true;
      plan::Plan plan = makePlan(model);
      ASSERT_EQ(plan.stages.size(), 2u);
      ASSERT_EQ(plan.ranks.size(), 1u);
      EXPECT_EQ(numbers(plan, model), oneStage);
    }
}

/// With ops on both streams at random, waits go both ways.
TEST(Streams, AnyPlaceOfOpsGivesTheSameBits) {
  for (int64_t pipeline : {1, 2}) {
    TinyModel model{.pipeline = pipeline, .expert = 2};
    model.experts = true;
    std::vector<double> asUsual = numbers(model);
    ASSERT_EQ(asUsual.size(), 8u);
    for (uint32_t seed = 0; seed < 12; ++seed) {
      SCOPED_TRACE(testing::Message() << "pp " << pipeline << " seed " << seed);
      TinyModel spread = model;
      spread.streamSeed = seed;
      spread.splitBackward = seed % 3 == 0;
      if (pipeline == 1)
        spread.overlapSeed = seed;
      RunOptions options = steps(4);
      options.executor.poison = seed % 2 == 1;
      EXPECT_EQ(numbers(spread, options), asUsual);
    }
  }
}

/// Random orders of issue on two streams, with the memory that is not live made
/// NaN: a wait that is missing in the runtime shows as other bits, or to the
/// thread sanitizer.
TEST(Overlap, AnyOrderOfIssueGivesTheSameBits) {
  for (int64_t expert : {1, 2})
    for (bool split : {false, true}) {
      TinyModel model{.expert = expert};
      model.microbatches = 4;
      model.experts = true;
      model.splitBackward = split;
      std::vector<double> inTurn = numbers(model);
      ASSERT_EQ(inTurn.size(), 8u);
      for (uint32_t seed = 0; seed < 12; ++seed) {
        SCOPED_TRACE(testing::Message() << "ep " << expert << " split " << split
                                        << " seed " << seed);
        model.overlapSeed = seed;
        plan::Plan plan = makePlan(model);
        EXPECT_EQ(plan.ranks[0].overlaps.size(), 3u);
        RunOptions options = steps(4);
        options.executor.poison = seed % 2 == 1;
        options.executor.threads = 1 + seed % 3;
        EXPECT_EQ(numbers(plan, model, options), inTurn);
      }
      model.overlapSeed.reset();
    }
}

TEST(Bidirectional, TrainsLikeOneCopy) {
  for (auto [expert, data, split] :
       {std::tuple(1, 1, false), std::tuple(1, 1, true), std::tuple(2, 1, true),
        std::tuple(2, 2, false)}) {
    TinyModel model{.pipeline = 2, .expert = expert, .data = data};
    model.microbatches = 8 / (expert * data);
    model.experts = true;
    model.dtype = DType::f64;
    std::vector<double> oneCopy = numbers(model);
    ASSERT_EQ(oneCopy.size(), 8u);
    model.bidirectional = true;
    model.splitBackward = split;
    std::vector<double> inTurn = numbers(model);
    ASSERT_EQ(inTurn.size(), 8u);
    // Whichever rank has the loss of a microbatch, their sum is the same; later
    // gradients are summed in another order.
    EXPECT_EQ(inTurn[0], oneCopy[0]);
    for (size_t i = 1; i < inTurn.size(); ++i)
      EXPECT_NEAR(inTurn[i], oneCopy[i], 1e-10);
    for (uint32_t seed = 0; seed < 4; ++seed) {
      model.overlapSeed = seed;
      RunOptions options = steps(4);
      options.executor.poison = seed % 2 == 1;
      EXPECT_EQ(numbers(makePlan(model), model, options), inTurn);
    }
  }
}

/// The head as a copy of the table, in both copies of the model: one parameter
/// in four places, two of them on either rank.
TEST(Bidirectional, OneParameterMayHaveManyCopies) {
  TinyModel model{.pipeline = 2, .microbatches = 4, .experts = true};
  model.dtype = DType::f64;
  auto tie = [](plan::Plan plan) {
    for (plan::Stage &stage : plan.stages)
      for (plan::Parameter &parameter : stage.parameters)
        if (parameter.name.starts_with("head")) {
          parameter.initializer = {"normal", 0.5}; // that of the table
          parameter.tiedTo = "embed";
        }
    return plan;
  };
  std::vector<double> oneCopy = numbers(tie(makePlan(model)), model);
  std::vector<double> untied = numbers(model);
  model.bidirectional = true;
  std::vector<double> twoCopies = numbers(tie(makePlan(model)), model);
  ASSERT_EQ(twoCopies.size(), oneCopy.size());
  EXPECT_EQ(twoCopies[0], oneCopy[0]);
  for (size_t i = 1; i < twoCopies.size(); ++i)
    EXPECT_NEAR(twoCopies[i], oneCopy[i], 1e-10);
  EXPECT_GT(std::abs(untied[6] - oneCopy[6]), 1e-3);
}

// --- Both streams at the same time ------------------------------------------

std::atomic<int> dispatches, lossGradients;
std::atomic<bool> dispatching, computing, inTime;

void waitUntil(const std::atomic<bool> &flag) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!flag && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (!flag)
    inTime = false;
}

void meetInDispatch(const kernels::Parallel &parallel,
                    const kernels::Tensor &experts,
                    const kernels::Exchange &exchange,
                    const kernels::Tensor &handle) {
  if (++dispatches == 2) { // that of the overlap
    dispatching = true;
    waitUntil(computing);
  }
  kernels::cpuKernels().planExchange(parallel, experts, exchange, handle);
}

void meetInBackward(const kernels::Parallel &parallel,
                    const kernels::Tensor &logits,
                    const kernels::Tensor &labels,
                    const kernels::Tensor &logSumExp, double scale,
                    const kernels::Tensor &out) {
  if (++lossGradients == 1) {
    waitUntil(dispatching);
    computing = true;
  }
  kernels::cpuKernels().crossEntropyInputGrad(parallel, logits, labels,
                                              logSumExp, scale, out);
}

/// Moves the first op of the second member of the first overlap behind the op
/// of this kind of the first, and all else of it behind the first member.
/// Returns the position of that op.
size_t issueSecondBehind(plan::Plan &plan, const std::string &kind) {
  std::vector<int64_t> &order = plan.ranks[0].overlaps[0].order;
  std::sort(order.begin(), order.end());
  const auto &forward = plan.stages[0].programs[0].ops;
  size_t at = 0;
  while (forward[at].kind != kind)
    ++at;
  std::rotate(order.begin() + static_cast<int64_t>(at) + 1, order.end() - 1,
              order.end());
  return at;
}

/// The first training step of a plan for one rank, with other kernels.
Result<exec::StepResult> trainOneRank(const plan::Plan &plan,
                                      const TinyModel &model,
                                      const kernels::KernelTable &table) {
  auto binding = exec::Binding::create(plan);
  if (!binding)
    return binding.error();
  exec::Dataset data = makeData(model);
  exec::ExecutorOptions options;
  comm::LoopbackWorld world(1);
  auto executor = exec::Executor::create(*binding, 0, world.transport(0), table,
                                         data, options);
  if (!executor)
    return executor.error();
  MOE_RETURN_IF_ERROR((*executor)->start());
  return (*executor)->train(1);
}

/// The dispatch of one program and a computation of the other each wait until
/// the other has begun.
TEST(Overlap, ComputesWhileItCommunicates) {
  TinyModel model{.experts = true, .overlapSeed = 1};
  plan::Plan plan = makePlan(model);
  issueSecondBehind(plan, "dispatch");
  claimLive(plan);
  ASSERT_TRUE(plan::check(plan).ok());

  kernels::KernelTable table = kernels::cpuKernels();
  table.planExchange = meetInDispatch;
  table.crossEntropyInputGrad = meetInBackward;
  dispatches = lossGradients = 0;
  dispatching = computing = false;
  inTime = true;
  Result<exec::StepResult> result = trainOneRank(plan, model, table);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(inTime);
  EXPECT_EQ(dispatches, 2);
  EXPECT_EQ(result->loss, numbers(model)[0]);
}

std::atomic<int> combines, combinesDone, doneBefore;

void combineSlowly(const kernels::Parallel &parallel,
                   const kernels::Tensor &staging,
                   const kernels::Tensor &handle,
                   const kernels::Exchange &exchange,
                   const kernels::Tensor &out) {
  if (++combines == 2) // that of the overlap
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  kernels::cpuKernels().reduceRows(parallel, staging, handle, exchange, out);
  ++combinesDone;
}

void countDone(const kernels::Parallel &parallel, const kernels::Tensor &logits,
               const kernels::Tensor &labels, const kernels::Tensor &logSumExp,
               double scale, const kernels::Tensor &out) {
  if (doneBefore < 0)
    doneBefore = combinesDone.load();
  kernels::cpuKernels().crossEntropyInputGrad(parallel, logits, labels,
                                              logSumExp, scale, out);
}

/// A computation waits for the communication of the other program if the
/// overlap says so.
TEST(Overlap, WaitsForTheOtherMember) {
  TinyModel model{.experts = true, .overlapSeed = 1};
  plan::Plan plan = makePlan(model);
  size_t combine = issueSecondBehind(plan, "combine");
  plan.ranks[0].overlaps[0].waits = {
      {static_cast<int64_t>(combine) + 1, static_cast<int64_t>(combine)}};
  claimLive(plan);
  ASSERT_TRUE(plan::check(plan).ok());
  kernels::KernelTable table = kernels::cpuKernels();
  table.reduceRows = combineSlowly;
  table.crossEntropyInputGrad = countDone;
  combines = combinesDone = 0;
  doneBefore = -1;
  Result<exec::StepResult> result = trainOneRank(plan, model, table);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(doneBefore, 2);
}

// --- Failures ---------------------------------------------------------------

/// One rank of two executes its part of the first training step.
struct Alone {
  explicit Alone(const plan::Plan &plan, const TinyModel &model)
      : binding(exec::Binding::create(plan)), data(makeData(model)), world(2) {
    EXPECT_TRUE(binding.ok());
    auto made = exec::Executor::create(*binding, 0, world.transport(0),
                                       kernels::cpuKernels(), data, options);
    EXPECT_TRUE(made.ok());
    executor = std::move(*made);
    EXPECT_TRUE(executor->start().ok());
  }
  std::string train() {
    Result<exec::StepResult> result = executor->train(1);
    return result ? "no error" : result.error().message;
  }

  Result<exec::Binding> binding;
  exec::Dataset data;
  comm::LoopbackWorld world;
  exec::ExecutorOptions options;
  std::unique_ptr<exec::Executor> executor;
};

TEST(Failure, OfAPeerReachesTheCommunicationStream) {
  TinyModel model{.expert = 2, .experts = true};
  plan::Plan plan = makePlan(model);
  Alone rank(plan, model);
  std::thread peer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    rank.world.transport(1).abort({"out of power"});
  });
  EXPECT_EQ(rank.train(),
            "training step 1, schedule step 2 (run forward of s0, microbatch "
            "0): op 'layers.0.dispatch' (dispatch): rank 1 ended: out of "
            "power");
  peer.join();
}

TEST(Failure, WhileTheOtherStreamWaitsForAPeerEndsTheWorld) {
  TinyModel model{.expert = 2, .experts = true};
  plan::Plan plan = makePlan(model);
  // Found when the op is issued, with the dispatch ahead of it under way.
  find(plan, "up").live[plan::MemoryClass::handles] += 256;
  Alone rank(plan, model); // its peer never comes
  std::string message = rank.train();
  EXPECT_THAT(message, HasSubstr("op 'up' (grouped_linear): live bytes of "
                                 "class handles: the plan says"));
  ASSERT_TRUE(rank.world.failure().has_value());
  EXPECT_EQ(rank.world.failure()->rank, 0);
  EXPECT_EQ(rank.world.failure()->error.message, message);
}

TEST(Failure, OfAnOverlapNamesTheMember) {
  TinyModel model{.experts = true, .overlapSeed = 3};
  plan::Plan plan = makePlan(model);
  plan::Overlap &overlap = plan.ranks[0].overlaps[0];
  size_t second = 0;
  while (overlap.order[second] != 1)
    ++second;
  overlap.live[second][plan::MemoryClass::saved] -= 256;
  EXPECT_FALSE(plan::check(plan).ok());
  EXPECT_THAT(
      failure(plan, model),
      HasSubstr("(overlap forward of s0, microbatch 1, with backward of s0, "
                "microbatch 0): op 'loss_grad' (cross_entropy_input_grad) of "
                "s0, microbatch 0: live bytes of class saved: the plan says"));
}

/// The rows that later microbatches need are found out one after the other.
TEST(Failure, OverflowInAnOverlapNamesLayerRankRowsAndCapacity) {
  TinyModel model{.expert = 2, .microbatches = 4, .capacity = 9};
  model.experts = true;
  model.overlapSeed = 5;
  std::string message = failure(makePlan(model), model);
  bool inOverlap = false;
  for (; message != "no error"; message = failure(makePlan(model), model)) {
    size_t at = message.find("sends ");
    ASSERT_NE(at, std::string::npos) << message;
    if (message.find("(overlap forward of s0") != std::string::npos) {
      inOverlap = true;
      EXPECT_THAT(message, HasSubstr("op 'layers.0.dispatch' (dispatch) of s0, "
                                     "microbatch "));
      EXPECT_THAT(message, HasSubstr("but the plan has room for " +
                                     std::to_string(model.capacity)));
    }
    model.capacity = std::stoll(message.substr(at + 6));
  }
  EXPECT_TRUE(inOverlap);
}

TEST(Failure, AValueThatIsStillComingIsNotRead) {
  TinyModel model{.pipeline = 2};
  plan::Plan plan = makePlan(model);
  plan::Program &head = plan.stages[1].programs[0];
  std::erase_if(head.inputs, [&](plan::ValueIndex value) {
    return plan.stages[1].values[static_cast<size_t>(value)].name == "received";
  });
  EXPECT_FALSE(plan::check(plan).ok());
  EXPECT_THAT(failure(plan, model),
              HasSubstr("op 'head' (linear): value 'received' is read while it "
                        "is being received"));
}

TEST(Streams, WhatTheyShareStaysOnOne) {
  auto bind = [](const plan::Plan &plan) {
    auto binding = exec::Binding::create(plan);
    return binding ? "" : binding.error().message;
  };
  plan::Plan plan = makePlan({.experts = true});
  find(plan, "layers.0.combine").stream = plan::Stream::compute;
  EXPECT_THAT(bind(plan), HasSubstr("op 'layers.0.combine' (combine): must be "
                                    "on stream expert_communication, is on "
                                    "compute"));
  plan = makePlan({.experts = true});
  find(plan, "up_weight_grad").stream = plan::Stream::expert_communication;
  EXPECT_THAT(bind(plan), HasSubstr("must be on stream compute, is on "
                                    "expert_communication"));
  plan = makePlan({.experts = true});
  find(plan, "act").stream = plan::Stream::expert_communication;
  EXPECT_EQ(bind(plan), "");
}

} // namespace
