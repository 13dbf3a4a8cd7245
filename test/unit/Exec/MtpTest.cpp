// What multi-token prediction asks of the runtime: tied parameters, labels
// further ahead, and weights of losses.

#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moe;
using namespace moe::test;
using exec::RunOptions;
using exec::RunReport;
using testing::HasSubstr;

namespace {

plan::Parameter &find(plan::Plan &plan, const std::string &name) {
  for (plan::Stage &stage : plan.stages)
    for (plan::Parameter &parameter : stage.parameters)
      if (parameter.name == name)
        return parameter;
  ADD_FAILURE() << "no parameter " << name;
  return plan.stages[0].parameters[0];
}

/// The tiny model with its embedding table as the head: on two pipeline ranks
/// as a tied copy; on one, all ops name the table, and nothing trains what was
/// the head.
plan::Plan makeTied(const TinyModel &model) {
  plan::Plan plan = makePlan(model);
  plan::Parameter &head = find(plan, "head");
  if (model.pipeline > 1) {
    head.initializer = find(plan, "embed").initializer;
    head.tiedTo = "embed";
    return plan;
  }
  plan::Stage &stage = plan.stages[0];
  int64_t from = &head - stage.parameters.data();
  int64_t to = &find(plan, "embed") - stage.parameters.data();
  for (plan::Program &program : stage.programs)
    for (plan::Op &op : program.ops)
      std::replace(op.parameters.begin(), op.parameters.end(), from, to);
  return plan;
}

std::vector<exec::StepReport> run(const plan::Plan &plan,
                                  const exec::Dataset &data) {
  RunOptions options;
  options.steps = 6;
  options.executor.optimizer.learningRate = 2e-2;
  Result<RunReport> report = runPlan(plan, data, options);
  EXPECT_TRUE(report.ok()) << report.error().message;
  return report ? report->steps : std::vector<exec::StepReport>();
}

std::string failure(const plan::Plan &plan, const TinyModel &model) {
  Result<RunReport> report = runPlan(plan, makeData(model), {});
  return report ? "no error" : report.error().message;
}

/// `role` instead of "labels".
void loadInstead(plan::Plan &plan, const std::string &role) {
  for (plan::Rank &rank : plan.ranks)
    for (plan::Step &step : rank.steps)
      if (step.role == "labels")
        step.role = role;
}

/// The model text of makeData, read for labels `shift` further.
exec::Dataset makeData(const TinyModel &model, int64_t bytes, int64_t shift) {
  std::vector<uint8_t> text;
  for (int64_t i = 0; i < bytes; ++i)
    text.push_back(static_cast<uint8_t>(i * i % 251));
  auto data =
      exec::Dataset::fromBytes(text, model.sequenceLength, "text", shift);
  EXPECT_TRUE(data.ok());
  return *data;
}

TEST(Tied, ACopyTrainsLikeTheParameterItself) {
  TinyModel model{.microbatches = 4, .experts = true};
  model.dtype = DType::f64;
  auto expected = run(makeTied(model), makeData(model));
  TinyModel untied = model;
  untied.pipeline = 2;
  auto other = run(makePlan(untied), makeData(untied));
  ASSERT_EQ(expected.size(), 6u);
  for (auto [expert, data] :
       {std::pair(1, 1), std::pair(2, 1), std::pair(1, 2), std::pair(2, 2)}) {
    TinyModel split{.pipeline = 2, .expert = expert, .data = data};
    split.microbatches = 4 / (expert * data);
    split.experts = true;
    split.dtype = DType::f64;
    plan::Plan plan = makeTied(split);
    Result<plan::Plan> read = plan::parse(plan::print(plan));
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ(*read, plan);
    auto steps = run(*read, makeData(split));
    ASSERT_EQ(steps.size(), expected.size());
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_NEAR(steps[i].loss, expected[i].loss, 1e-10);
      EXPECT_NEAR(steps[i].gradientNorm, expected[i].gradientNorm, 1e-10);
    }
    EXPECT_GT(std::abs(steps[5].loss - other[5].loss), 1e-3);
  }
}

TEST(Labels, LieAsFarAheadAsTheRoleSays) {
  // Of these data the token of every position is known, so that different
  // labels make different losses, and shifts of 1 and 2 read the same windows.
  TinyModel model;
  std::vector<double> losses;
  for (int64_t shift : {1, 2, 3}) {
    plan::Plan plan = makePlan(model);
    if (shift > 1)
      loadInstead(plan, "labels_" + std::to_string(shift));
    losses.push_back(run(plan, makeData(model, 900, shift))[0].loss);
  }
  EXPECT_NE(losses[0], losses[1]);
  EXPECT_NE(losses[1], losses[2]);
  EXPECT_EQ(losses[0], run(makePlan(model), makeData(model, 900, 2))[0].loss);
}

TEST(Labels, DataMustReachThem) {
  TinyModel model;
  plan::Plan plan = makePlan(model);
  loadInstead(plan, "labels_2");
  EXPECT_THAT(failure(plan, model),
              HasSubstr("the data was read for labels up to 'labels', the plan "
                        "loads 'labels_2'"));
  auto few = exec::Dataset::fromBytes({1, 2, 3, 4, 5, 6, 7}, 5, "x", 3);
  ASSERT_FALSE(few.ok());
  EXPECT_THAT(few.error().message, HasSubstr("need at least 8"));
  auto enough = exec::Dataset::fromBytes({1, 2, 3, 4, 5, 6, 7, 8}, 5, "x", 3);
  ASSERT_TRUE(enough.ok());
  std::vector<int32_t> last(5);
  enough->copySequence(17, 3, last);
  EXPECT_EQ(last, (std::vector<int32_t>{4, 5, 6, 7, 8}));
}

TEST(LossWeight, ScalesWhatIsReported) {
  for (DType dtype : {DType::f32, DType::f64}) {
    TinyModel model;
    model.dtype = dtype;
    plan::Plan plan = makePlan(model);
    double loss = run(plan, makeData(model))[0].loss;
    for (plan::Stage &stage : plan.stages)
      for (plan::Program &program : stage.programs)
        for (plan::Op &op : program.ops)
          if (op.kind == "cross_entropy")
            op.attributes["weight"] = 0.25;
    EXPECT_EQ(run(plan, makeData(model))[0].loss, loss / 4);
    plan.stages[0].programs[0].ops[0].attributes["weight"] = 0.25;
    EXPECT_THAT(failure(plan, model), HasSubstr("'weight' is unknown"));
  }
}

} // namespace
