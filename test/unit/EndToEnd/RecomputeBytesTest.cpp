//===- RecomputeBytesTest.cpp - what targets save of published models -----===//
//
// Against what Megatron-LM's recompute modules save per mixture-of-experts
// layer and microbatch of 4096 tokens in bf16 at balanced routing (arithmetic
// over its modules' saved tensors), where both mean the same; differences of
// definition are spelled out.
//
//===----------------------------------------------------------------------===//

#include "driver/Driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

using namespace moe;

namespace {

constexpr double kMiB = 1 << 20;
constexpr int64_t kTokens = 4096;

/// Sizes of a model, and what Megatron-LM's modules save of a layer, in MiB
/// rounded to one.
struct Published {
  const char *model;
  int64_t experts, topK;
  /// Input norm and the norm before the experts; only the latter where the
  /// former is fused into a projection, which then keeps its own result.
  int64_t norms;
  double layernorm, mlaUp, moeAct, moe;
};

constexpr Published kPublished[] = {
    {"deepseek-v3", 256, 8, 2, 112, 528, 128, 897},
    {"deepseek-v2-lite", 64, 6, 2, 32, 68, 66, 364},
    {"qwen3-30b-a3b", 128, 8, 1, 16, 0, 48, 281},
    {"qwen3-235b-a22b", 128, 8, 1, 32, 0, 96, 553},
    {"mixtral-8x7b", 8, 2, 1, 32, 0, 224, 737},
    {"glm-4.5-air", 128, 8, 1, 32, 0, 88, 562},
    {"olmoe-1b-7b", 64, 8, 1, 16, 0, 64, 325}};

driver::PlanRequest requestFor(const Published &published) {
  driver::PlanRequest request;
  request.modelPath =
      std::string("examples/models/") + published.model + ".json";
  request.reductions =
      "layers=4"; // all sizes as published; layer 3 has experts
  request.layout.expert = 8;
  request.layout.microbatches = 1;
  request.layout.sequenceLength = kTokens;
  request.capacityFactor = 1; // balanced
  request.generator = "recompute_bytes_test";
  return request;
}

/// MiB of layer 3 that `target` drops, by the last part of the value's name.
std::map<std::string, double> dropped(const Published &published,
                                      const std::string &target) {
  driver::PlanRequest request = requestFor(published);
  request.recompute = target;
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  EXPECT_TRUE(answer) << answer.error().message;
  std::map<std::string, double> values;
  if (!answer)
    return values;
  const std::string prefix = "layers.3.";
  for (const plan::Decision &decision : answer->plan.decisions) {
    const std::string &name =
        answer->plan.stages[decision.stage].values[decision.value].name;
    if (decision.action == plan::Action::recompute && name.starts_with(prefix))
      values[name.substr(prefix.size())] +=
          static_cast<double>(decision.bytes) / kMiB;
  }
  return values;
}

double sum(const std::map<std::string, double> &values) {
  double total = 0;
  for (const auto &[name, size] : values)
    total += size;
  return total;
}

/// Half a MiB is what rounding to one hides.
void expectClose(double ours, double published, const char *what) {
  EXPECT_NEAR(ours, published, 0.51) << what;
}

} // namespace

class RecomputeBytes : public testing::TestWithParam<Published> {};

TEST_P(RecomputeBytes, AreThoseOfTheModules) {
  const Published &published = GetParam();
  // Reciprocal roots, one number a row, are dropped as well.
  std::map<std::string, double> norms = dropped(published, "norm");
  double outputs = norms["input_norm"] + norms["post_norm"];
  expectClose(outputs * static_cast<double>(published.norms) / 2,
              published.layernorm, "norm");
  EXPECT_EQ(sum(norms) - outputs, 2 * kTokens * 4 / kMiB);

  expectClose(sum(dropped(published, "moe_act")), published.moeAct, "moe_act");

  // A module drops routing state of 9 bytes a token and expert, a row map of
  // 8, and some 10 bytes a row. Here decisions stay (they must not be made
  // again); of small values the handle, row probabilities and counts go.
  std::map<std::string, double> moe = dropped(published, "moe");
  double ofTokens = kTokens / kMiB;
  double state =
      ofTokens * (9.0 * static_cast<double>(published.experts) +
                  4.0 * (2.0 * static_cast<double>(published.experts) + 1) +
                  10.0 * static_cast<double>(published.topK));
  double small = moe["moe.dispatch:handle"] + moe["moe.dispatch:counts"] +
                 moe["moe.dispatch:row_probabilities"];
  EXPECT_GT(small, 0);
  expectClose(sum(moe) - small, published.moe - state, "moe");
  for (const auto &[name, size] : moe)
    EXPECT_FALSE(name.starts_with("moe.route")) << name;

  if (published.mlaUp > 0) {
    std::map<std::string, double> up = dropped(published, "mla_up_proj");
    double inverses = 0;
    for (const auto &[name, size] : up)
      if (name.ends_with(":inverse"))
        inverses += size;
    expectClose(sum(up) - inverses, published.mlaUp, "mla_up_proj");
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RecomputeBytes, testing::ValuesIn(kPublished),
                         [](const testing::TestParamInfo<Published> &info) {
                           std::string name = info.param.model;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

// All but a layer's input and the decisions of its router.
TEST(RecomputeFull, KeepsInputsAndDecisions) {
  for (const Published &published : kPublished) {
    driver::PlanRequest request = requestFor(published);
    request.recompute = "full";
    Result<driver::PlanAnswer> answer = driver::makePlan(request);
    ASSERT_TRUE(answer) << answer.error().message;
    const plan::Stage &stage = answer->plan.stages.front();
    std::set<std::string> kept;
    for (const plan::Program &program : stage.programs)
      if (program.phase == plan::Phase::forward)
        for (plan::ValueIndex output : program.outputs)
          if (plan::isKept(stage, output) &&
              stage.values[output].name.starts_with("layers.3."))
            kept.insert(stage.values[output].name.substr(9));
    // The result of the last layer is the input of the head; the key columns
    // that all heads share are hardly worth being made again.
    std::set<std::string> allowed = {"ffn_residual", "moe.route:probabilities",
                                     "moe.route:experts", "moe.route:scores",
                                     "attention.k_rope"};
    for (const std::string &name : kept)
      EXPECT_TRUE(allowed.contains(name)) << published.model << ": " << name;
    EXPECT_TRUE(kept.contains("moe.route:experts")) << published.model;
  }
}
