//===- SmallModels.cpp - reduced models for whole runs --------------------===//

#include "test/unit/EndToEnd/SmallModels.h"

#include <algorithm>

using namespace moe;

static int64_t pick(std::mt19937 &random, std::vector<int64_t> choices) {
  return choices[random() % choices.size()];
}

std::string test::familyName(const testing::TestParamInfo<std::string> &info) {
  std::string name = info.param;
  for (char &c : name)
    if (!isalnum(static_cast<unsigned char>(c)))
      c = '_';
  return name;
}

std::string test::randomReduction(const std::string &family, int64_t layers,
                                  std::mt19937 &random) {
  bool latent = family.starts_with("deepseek");
  bool hasShared = latent || family == "glm-4.5-air";
  bool hasMtp = family == "deepseek-v3" || family == "glm-4.5-air";
  int64_t experts = family == "mixtral-8x7b" ? pick(random, {4, 8})
                                             : pick(random, {4, 8, 12});
  int64_t heads = pick(random, {2, 4});
  std::vector<std::pair<std::string, int64_t>> sizes = {
      {"layers", layers},
      {"hidden", pick(random, {8, 24, 40})},
      {"vocabulary", pick(random, {256, 300})},
      {"heads", heads},
      {"experts", experts},
      {"top_k", pick(random, {1, 2})},
      {"moe_intermediate", pick(random, {4, 12, 16})}};
  if (latent) {
    for (const char *key : {"kv_lora_rank", "nope_dim", "v_dim"})
      sizes.push_back({key, pick(random, {4, 8, 12})});
    sizes.push_back({"rope_dim", pick(random, {2, 4, 8})});
  } else {
    sizes.push_back({"kv_heads", pick(random, {1, heads})});
    sizes.push_back({"head_dim", pick(random, {4, 8, 12})});
  }
  if (family == "deepseek-v3") {
    sizes.push_back({"q_lora_rank", pick(random, {4, 16})});
    sizes.push_back({"groups", experts / 2});
    sizes.push_back({"top_groups", 2});
  }
  if (hasShared) {
    int64_t dense = layers > 1 ? pick(random, {0, 1}) : 0;
    sizes.push_back({"shared_intermediate", pick(random, {4, 12})});
    sizes.push_back({"first_dense", dense});
    if (dense)
      sizes.push_back({"intermediate", pick(random, {8, 20})});
  }
  if (hasMtp)
    sizes.push_back({"mtp", pick(random, {0, 1})});
  if (family == "gpt-oss-20b")
    sizes.push_back({"window", pick(random, {1, 3, 16})});

  std::string text;
  for (auto &[key, size] : sizes)
    text += (text.empty() ? "" : ",") + key + "=" + std::to_string(size);
  return text;
}

driver::PlanRequest test::request(const std::string &family,
                                  std::string reduction) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/" + family + ".json";
  request.mtp = reduction.find("mtp=1") != std::string::npos;
  request.reductions = std::move(reduction);
  request.capacityFactor = 0;
  request.generator = "end_to_end_test";
  return request;
}

int64_t test::largestArena(const plan::Plan &plan) {
  int64_t most = 0;
  for (const plan::Rank &rank : plan.ranks)
    most = std::max(most, rank.arenaBytes);
  return most;
}

Result<exec::RunReport> test::runPlan(const plan::Plan &made, int64_t steps,
                                      const exec::ExecutorOptions &options,
                                      const std::string &gradients) {
  // What the runtime gets is the document, not the structure in memory.
  Result<plan::Plan> plan = plan::parse(plan::print(made));
  if (!plan)
    return plan.error();
  Result<exec::Binding> binding = exec::Binding::create(*plan);
  if (!binding)
    return binding.error();
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(4096);
  for (uint8_t &byte : bytes)
    byte = static_cast<uint8_t>('a' + random() % 26);
  Result<exec::Dataset> data =
      exec::Dataset::fromBytes(std::move(bytes), plan->layout.sequenceLength,
                               "random letters", binding->furthestShift());
  if (!data)
    return data.error();
  exec::RunOptions run;
  run.steps = steps;
  run.executor = options;
  run.dumpGradients = gradients;
  run.dumpStep = steps;
  return exec::run(*binding, *data, run);
}

Result<exec::RunReport> test::planAndRun(const driver::PlanRequest &request,
                                         int64_t steps,
                                         const exec::ExecutorOptions &options) {
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  if (!answer)
    return answer.error();
  return runPlan(answer->plan, steps, options);
}
