//===- PlannerTest.cpp - what the planner chooses by itself ---------------===//

#include "support/Files.h"
#include "test/unit/EndToEnd/Outcome.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

using namespace moe;

namespace {

const plan::Assumption *find(const plan::Plan &plan, const std::string &name) {
  for (const plan::Assumption &assumption : plan.assumptions)
    if (assumption.name == name)
      return &assumption;
  return nullptr;
}

driver::PlanRequest published(const std::string &model, int64_t pipeline,
                              int64_t expert, int64_t microbatches) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/" + model + ".json";
  request.layout.pipeline = pipeline;
  request.layout.expert = expert;
  request.layout.microbatches = microbatches;
  request.layout.sequenceLength = 4096;
  request.reportsLevers = false;
  return request;
}

/// A random model of the family that runs in no time, on two by two ranks.
driver::PlanRequest small(const std::string &family, std::mt19937 &random) {
  driver::PlanRequest request =
      test::request(family, test::randomReduction(family, 8, random));
  request.layout.pipeline = request.layout.expert = 2;
  request.layout.microbatches = 4;
  request.layout.sequenceLength = 24;
  return request;
}

} // namespace

class Planner : public testing::TestWithParam<std::string> {};

// Budgets from what just fits to everything kept: what is chosen fits, executes
// with the bytes that it predicts, and changes no bit.
TEST_P(Planner, FitsAndChangesNoBit) {
  std::mt19937 random(static_cast<uint32_t>(GetParam().size() * 17 + 3));
  for (const char *schedule : {"1f1b", "zb-h1", "dualpipe-v", "dualpipe"}) {
    driver::PlanRequest request = small(GetParam(), random);
    request.schedule = schedule;
    Result<driver::PlanAnswer> kept = driver::makePlan(request);
    ASSERT_TRUE(kept) << kept.error().message;
    Result<test::Outcome> expected = test::runTwice(kept->plan, 1);
    ASSERT_TRUE(expected) << expected.error().message;

    request.recompute = "full";
    Result<driver::PlanAnswer> full = driver::makePlan(request);
    ASSERT_TRUE(full) << full.error().message;
    request.recompute = request.offload = "auto";
    int64_t most = test::largestArena(kept->plan),
            least = test::largestArena(full->plan);
    int64_t reserve = kept->plan.machine.reserveBytes;
    for (int64_t eighths : {8, 4, 1}) {
      request.budgetBytes = reserve + least + (most - least) * eighths / 8;
      Result<driver::PlanAnswer> made = driver::makePlan(request);
      ASSERT_TRUE(made) << made.error().message;
      SCOPED_TRACE(GetParam() + " " + schedule + " " + std::to_string(eighths));
      EXPECT_TRUE(made->plan.prediction.fits);
      EXPECT_NE(find(made->plan, "policies.gap_to_bound"), nullptr);
      if (eighths == 8)
        EXPECT_TRUE(made->plan.decisions.empty());
      Result<test::Outcome> got = test::runTwice(made->plan, 2);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_EQ(got->losses, expected->losses);
      EXPECT_TRUE(got->gradients == expected->gradients);
    }
  }
}

// The same where the order of steps is chosen as well, published or not:
// overlapping pairs, whole and split backwards, one or two stages a rank.
TEST_P(Planner, ChangesNoBitWhateverTheOrder) {
  std::mt19937 random(static_cast<uint32_t>(GetParam().size() * 5 + 1));
  driver::PlanRequest request = small(GetParam(), random);
  Result<driver::PlanAnswer> kept = driver::makePlan(request);
  ASSERT_TRUE(kept) << kept.error().message;
  Result<test::Outcome> expected = test::runTwice(kept->plan, 1);
  ASSERT_TRUE(expected) << expected.error().message;

  request.schedule = request.recompute = request.offload = "auto";
  const int64_t most = test::largestArena(kept->plan),
                reserve = kept->plan.machine.reserveBytes;
  for (int64_t eighths : {16, 8, 7}) {
    request.budgetBytes = reserve + most * eighths / 8;
    Result<driver::PlanAnswer> made = driver::makePlan(request);
    ASSERT_TRUE(made) << made.error().message;
    SCOPED_TRACE(made->plan.schedule + " " + std::to_string(eighths));
    EXPECT_TRUE(made->plan.prediction.fits);
    Result<test::Outcome> got = test::runTwice(made->plan, 2);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->losses, expected->losses);
    EXPECT_TRUE(got->gradients == expected->gradients);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Planner, testing::ValuesIn(test::kFamilies),
                         test::familyName);
// The other shipped configuration of a family.
INSTANTIATE_TEST_SUITE_P(Large, Planner, testing::Values("qwen3-235b-a22b"),
                         test::familyName);

// A machine with little memory on the host: the plan leaves less there, at the
// same budget, and fits.
TEST(PlannerAtClusterSize, KeepsWithinTheHost) {
  for (const char *schedule : {"1f1b", "interleaved"}) {
    SCOPED_TRACE(schedule);
    driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
    request.schedule = schedule;
    request.budgetBytes = int64_t{40} << 30;
    request.recompute = request.offload = "auto";
    Result<driver::PlanAnswer> free = driver::makePlan(request);
    ASSERT_TRUE(free) << free.error().message;
    ASSERT_TRUE(free->plan.prediction.fits);
    auto hostOf = [](const plan::Plan &plan) {
      int64_t most = 0;
      for (const plan::Rank &rank : plan.ranks)
        most = std::max(most, rank.hostArenaBytes);
      return most;
    };
    int64_t before = hostOf(free->plan);
    ASSERT_GT(before, int64_t{1} << 30);

    Result<std::string> text = readFile("machines/h100-sxm.json");
    ASSERT_TRUE(text);
    nlohmann::json machine = nlohmann::json::parse(*text);
    for (int64_t part : {2, 5, 1000}) {
      machine["host_memory_bytes"]["value"] = before / part;
      request.machine = testing::TempDir() + "little-host.json";
      ASSERT_TRUE(writeFile(request.machine, machine.dump()));
      Result<driver::PlanAnswer> made = driver::makePlan(request);
      ASSERT_TRUE(made) << made.error().message;
      EXPECT_TRUE(made->plan.prediction.fits) << "1/" << part;
      EXPECT_LE(hostOf(made->plan), before / part);
      // What the host takes over is worth its while.
      EXPECT_GE(static_cast<double>(made->plan.prediction.stepNs),
                .99 * static_cast<double>(free->plan.prediction.stepNs));
    }
  }
}

// Drafts have much in common, and only what differs is made anew: what comes of
// it is what the choices by themselves would give.
TEST(PlannerAtClusterSize, IsWhatItsChoicesSay) {
  for (const char *schedule : {"1f1b", "interleaved", "dualpipe"}) {
    SCOPED_TRACE(schedule);
    driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
    request.schedule = schedule;
    request.budgetBytes = int64_t{schedule == std::string("dualpipe") ? 70 : 36}
                          << 30;
    request.recompute = request.offload = request.partition = "auto";
    Result<driver::PlanAnswer> chosen = driver::makePlan(request);
    ASSERT_TRUE(chosen) << chosen.error().message;
    ASSERT_FALSE(chosen->plan.decisions.empty());
    request.recompute = chosen->recompute;
    request.offload = chosen->offload;
    request.partition = find(chosen->plan, "partition")->value;
    Result<driver::PlanAnswer> given = driver::makePlan(request);
    ASSERT_TRUE(given) << given.error().message;
    EXPECT_TRUE(given->plan.ranks == chosen->plan.ranks);
    EXPECT_TRUE(given->plan.stages == chosen->plan.stages);
    EXPECT_EQ(given->plan.prediction.stepNs, chosen->plan.prediction.stepNs);
  }
}

// With two copies of the model a layer lies on two ranks, which hold it alike.
TEST(PlannerAtClusterSize, ChoosesForTwoCopiesOfTheModel) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  request.schedule = "dualpipe";
  request.recompute = request.offload = request.partition = "auto";
  request.budgetBytes = int64_t{72} << 30;
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  ASSERT_TRUE(made) << made.error().message;
  const plan::Plan &plan = made->plan;
  EXPECT_TRUE(plan.prediction.fits);
  ASSERT_FALSE(plan.decisions.empty());
  const size_t half = plan.stages.size() / 2;
  std::vector<std::multiset<std::pair<std::string, plan::Action>>> decided(
      plan.stages.size());
  for (const plan::Decision &decision : plan.decisions) {
    const auto stage = static_cast<size_t>(decision.stage);
    const plan::Stage &of = plan.stages[stage];
    decided[stage].insert(
        {of.values[static_cast<size_t>(decision.value)].name, decision.action});
  }
  for (size_t stage = 0; stage < half; ++stage)
    EXPECT_EQ(decided[stage], decided[half + stage]) << stage;
  // What users would do: the same switch for all layers.
  request.partition = "";
  request.offload = "";
  for (const char *global : {"full", "norm,moe", "core_attn,moe"}) {
    request.recompute = global;
    Result<driver::PlanAnswer> other = driver::makePlan(request);
    ASSERT_TRUE(other) << other.error().message;
    if (other->plan.prediction.fits)
      EXPECT_LE(plan.prediction.stepNs, other->plan.prediction.stepNs)
          << global;
  }
}

// Real configurations at cluster size: never slower than a switch for all
// layers that fits, and more memory is never slower.
TEST(PlannerAtClusterSize, IsNeverSlowerThanGlobalSwitches) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  int64_t compared = 0;
  for (int64_t gib : {36, 42, 48, 54}) {
    request.budgetBytes = gib << 30;
    request.recompute = "auto";
    Result<driver::PlanAnswer> chosen = driver::makePlan(request);
    ASSERT_TRUE(chosen) << chosen.error().message;
    for (const char *global :
         {"", "norm", "moe_act", "norm,moe_act", "core_attn", "attn_proj",
          "routed_experts", "moe", "norm,moe", "full"}) {
      request.recompute = global;
      Result<driver::PlanAnswer> other = driver::makePlan(request);
      ASSERT_TRUE(other) << other.error().message;
      if (!other->plan.prediction.fits)
        continue;
      ++compared;
      EXPECT_TRUE(chosen->plan.prediction.fits) << gib << " " << global;
      EXPECT_LE(chosen->plan.prediction.stepNs, other->plan.prediction.stepNs)
          << gib << " GiB against " << global;
    }
  }
  EXPECT_GT(compared, 12);
}

// Where layers of two kinds take turns, where the head needs most, where copies
// have to be chosen by when their values are made: all switches at budgets that
// leave them little room are what test/bench/BenchSwitches.cpp compares.
TEST(PlannerAtClusterSize, IsNotSlowerThanTheBestSwitchesOfTightBudgets) {
  struct Switch {
    const char *model;
    int64_t pipeline, expert, microbatches, budgetMiB;
    const char *recompute, *offload;
  };
  for (const Switch &each :
       {Switch{"olmoe-1b-7b", 2, 4, 16, 25'856, "full", ""},
        Switch{"gpt-oss-20b", 2, 4, 16, 67'584, "norm,moe", ""},
        Switch{"deepseek-v2-lite", 4, 4, 32, 32'384,
               "norm,core_attn,mla_up_proj,moe", ""},
        Switch{"deepseek-v2-lite", 4, 4, 32, 34'176,
               "norm,moe_act,shared_experts",
               "embedding.lookup,input,ffn_residual,attention.kv_down,"
               "attention.kv_down_norm,attention.q_rope,attention.key,"
               "attention.v_up,attention.core"}}) {
    SCOPED_TRACE(std::string(each.model) + " " + each.recompute);
    driver::PlanRequest request =
        published(each.model, each.pipeline, each.expert, each.microbatches);
    request.budgetBytes = each.budgetMiB << 20;
    request.recompute = each.recompute;
    request.offload = each.offload;
    Result<driver::PlanAnswer> other = driver::makePlan(request);
    ASSERT_TRUE(other) << other.error().message;
    EXPECT_TRUE(other->plan.prediction.fits);
    request.recompute = "auto";
    request.offload = *each.offload ? "auto" : "";
    Result<driver::PlanAnswer> chosen = driver::makePlan(request);
    ASSERT_TRUE(chosen) << chosen.error().message;
    EXPECT_TRUE(chosen->plan.prediction.fits);
    EXPECT_LE(chosen->plan.prediction.stepNs, other->plan.prediction.stepNs);
  }
}

// What layers get from each other can wait on the host as well: where all else
// is recomputed, that is most of what is kept. The least that the planner can
// do with is no more than that.
TEST(PlannerAtClusterSize, OffloadsInputsOfLayers) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  request.recompute = "full";
  request.offload = "embedding.lookup,input,ffn_residual";
  request.budgetBytes = 1;
  Result<driver::PlanAnswer> other = driver::makePlan(request);
  ASSERT_TRUE(other) << other.error().message;
  request.recompute = request.offload = "auto";
  Result<driver::PlanAnswer> chosen = driver::makePlan(request);
  ASSERT_TRUE(chosen) << chosen.error().message;
  EXPECT_LE(test::largestArena(chosen->plan), test::largestArena(other->plan));
  int64_t inputs = 0;
  for (const plan::Decision &decision : chosen->plan.decisions) {
    const plan::Stage &stage =
        chosen->plan.stages[static_cast<size_t>(decision.stage)];
    const std::string &name =
        stage.values[static_cast<size_t>(decision.value)].name;
    inputs += decision.action == plan::Action::offload &&
              (name == "input" || name.ends_with(".ffn_residual"));
  }
  EXPECT_GT(inputs, 0);
}

// By the planner's own account more memory is never slower (PolicyFront); the
// simulation of the plan also sees what that leaves out, such as waits where
// bytes are reused: hence the last half of a percent.
TEST(PlannerAtClusterSize, MoreMemoryIsNotSlower) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  request.recompute = request.partition = "auto";
  int64_t before = 0;
  for (int64_t gib = 76; gib >= 34; gib -= 3) {
    request.budgetBytes = gib << 30;
    Result<driver::PlanAnswer> made = driver::makePlan(request);
    ASSERT_TRUE(made) << made.error().message;
    if (!made->plan.prediction.fits)
      break;
    EXPECT_GE(static_cast<double>(made->plan.prediction.stepNs),
              0.995 * static_cast<double>(before))
        << gib << " GiB";
    before = made->plan.prediction.stepNs;
  }
  EXPECT_GT(before, 0);
}

// With effort exact that holds of the simulated step, by construction; and the
// result is never slower than the fast one but for a step of the budget.
TEST(PlannerExact, MoreMemoryIsNeverSlower) {
  for (const char *family : {"qwen3-30b-a3b", "deepseek-v2-lite"}) {
    driver::PlanRequest request =
        test::request(family, "layers=6,hidden=256,experts=8,vocabulary=1024");
    request.layout.pipeline = 3;
    request.layout.microbatches = 6;
    request.layout.sequenceLength = 256;
    request.reportsLevers = false;
    Result<driver::PlanAnswer> kept = driver::makePlan(request);
    ASSERT_TRUE(kept) << kept.error().message;
    request.budgetBytes = 1;
    request.recompute = "auto";
    Result<driver::PlanAnswer> least = driver::makePlan(request);
    ASSERT_TRUE(least) << least.error().message;
    int64_t reserve = kept->plan.machine.reserveBytes;
    int64_t low = test::largestArena(least->plan),
            high = test::largestArena(kept->plan);
    request.isExact = true;
    int64_t before = std::numeric_limits<int64_t>::max(), certain = 0;
    for (int64_t part = 0; part <= 6; ++part) {
      request.budgetBytes = reserve + low + (high - low) * part / 6;
      Result<driver::PlanAnswer> made = driver::makePlan(request);
      ASSERT_TRUE(made) << made.error().message;
      EXPECT_TRUE(made->plan.prediction.fits) << family << " " << part;
      EXPECT_LE(made->plan.prediction.stepNs, before) << family << " " << part;
      before = made->plan.prediction.stepNs;
      const plan::Assumption *effort = find(made->plan, "policies.effort");
      ASSERT_NE(effort, nullptr);
      certain += effort->source.starts_with("certified");
    }
    EXPECT_GT(certain, 0) << family;
  }
}

// Where budgets are whole steps the fast plan is among those that are weighed.
// The account is certain of the best of its choices.
TEST(PlannerExact, IsNeverSlowerThanFastAtClusterSize) {
  driver::PlanRequest request = published("olmoe-1b-7b", 2, 4, 16);
  request.partition = request.recompute = request.offload = "auto";
  request.reportsLevers = false;
  int64_t before = std::numeric_limits<int64_t>::max();
  for (int64_t eighths : {202, 208, 217}) {
    request.budgetBytes = eighths << 27;
    std::array<int64_t, 2> stepNs{};
    for (bool isExact : {false, true}) {
      request.isExact = isExact;
      Result<driver::PlanAnswer> made = driver::makePlan(request);
      ASSERT_TRUE(made) << made.error().message;
      ASSERT_TRUE(made->plan.prediction.fits);
      stepNs[isExact] = made->plan.prediction.stepNs;
      if (!isExact)
        continue;
      const plan::Assumption *effort = find(made->plan, "policies.effort");
      ASSERT_NE(effort, nullptr);
      EXPECT_THAT(
          effort->source,
          testing::AllOf(testing::HasSubstr("certified"),
                         testing::Not(testing::HasSubstr("not "
                                                         "certified"))));
    }
    EXPECT_LE(stepNs[true], stepNs[false]) << eighths << " / 8 GiB";
    EXPECT_LE(stepNs[true], before) << eighths << " / 8 GiB";
    before = stepNs[true];
  }
}

TEST(PlannerExact, NeedsSomethingToChoose) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  request.isExact = true;
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, testing::HasSubstr("--effort exact"));
}

// Only the ranks that need it pay.
TEST(PlannerAtClusterSize, RelievesTheRankThatNeedsIt) {
  driver::PlanRequest request = published("qwen3-30b-a3b", 4, 8, 16);
  Result<driver::PlanAnswer> kept = driver::makePlan(request);
  ASSERT_TRUE(kept) << kept.error().message;
  const std::vector<plan::Rank> &ranks = kept->plan.ranks;
  // Rank 0 holds the most; between it and the next.
  ASSERT_GT(ranks[0].arenaBytes, ranks[1].arenaBytes);
  request.budgetBytes = kept->plan.machine.reserveBytes +
                        (ranks[0].arenaBytes + ranks[1].arenaBytes) / 2;
  request.recompute = "auto";
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(made->plan.prediction.fits);
  EXPECT_FALSE(made->plan.decisions.empty());
  for (const plan::Decision &decision : made->plan.decisions)
    EXPECT_EQ(made->plan.stages[decision.stage].rank, 0);
}

namespace {

/// The bytes of an assumption such as "20.53 GiB".
int64_t bytesOf(const plan::Assumption *assumption) {
  if (!assumption)
    return -1;
  return static_cast<int64_t>(std::stod(assumption->value) * 0x1p30);
}

plan::Plan planned(const driver::PlanRequest &request) {
  Result<driver::PlanAnswer> made = driver::makePlan(request);
  EXPECT_TRUE(made) << made.error().message;
  return made ? made->plan : plan::Plan();
}

} // namespace

class LeastBudget
    : public testing::TestWithParam<std::pair<std::string, int64_t>> {};

// What is said to fit fits, a percent less does not; so does every lever, and
// two percent less.
TEST_P(LeastBudget, IsTheLeast) {
  auto [model, pipeline] = GetParam();
  driver::PlanRequest request = published(model, pipeline, 4, 4);
  request.reductions = "layers=8";
  request.recompute = "auto";
  request.layout.microbatchSize = 2;
  request.budgetBytes = int64_t{6} << 30;
  request.reportsLevers = true;
  plan::Plan none = planned(request);
  EXPECT_FALSE(none.prediction.fits);
  const plan::Assumption *least = find(none, "policies.least_budget");
  ASSERT_NE(least, nullptr);
  EXPECT_THAT(least->source, testing::HasSubstr("rank "));
  EXPECT_THAT(least->source, testing::HasSubstr(" of step "));

  driver::PlanRequest other = request;
  other.reportsLevers = false;
  other.budgetBytes = bytesOf(least);
  EXPECT_TRUE(planned(other).prediction.fits);
  other.budgetBytes = bytesOf(least) / 100 * 99;
  EXPECT_FALSE(planned(other).prediction.fits);

  other.budgetBytes = request.budgetBytes;
  int64_t levers = 0;
  auto expectLever = [&](const std::string &name, auto change) {
    driver::PlanRequest changed = other;
    change(changed);
    Result<driver::PlanAnswer> made = driver::makePlan(changed);
    const plan::Assumption *lever = find(none, "policies.lever." + name);
    if (!lever) { // the model does not admit it, or it does not help
      if (made && !made->plan.prediction.fits)
        EXPECT_GE(bytesOf(find(made->plan, "policies.least_budget")),
                  bytesOf(least))
            << name;
      return;
    }
    ++levers;
    ASSERT_TRUE(made) << name;
    ASSERT_FALSE(made->plan.prediction.fits) << name;
    changed.budgetBytes = bytesOf(lever);
    EXPECT_TRUE(planned(changed).prediction.fits) << name;
    changed.budgetBytes -= changed.budgetBytes / 50;
    EXPECT_FALSE(planned(changed).prediction.fits) << name;
  };
  expectLever("pp", [](driver::PlanRequest &r) { r.layout.pipeline *= 2; });
  expectLever("schedule",
              [](driver::PlanRequest &r) { r.schedule = "v-half"; });
  expectLever("ep", [](driver::PlanRequest &r) { r.layout.expert *= 2; });
  expectLever("microbatch", [](driver::PlanRequest &r) {
    r.layout.microbatchSize /= 2;
    r.layout.microbatches *= 2;
  });
  expectLever("capacity", [](driver::PlanRequest &r) { r.capacityFactor = 1; });
  expectLever("policies", [](driver::PlanRequest &r) { r.offload = "auto"; });
  EXPECT_GE(levers, 3);
  // Dense optimizer state has four owners, that of experts one.
  EXPECT_LT(bytesOf(find(none, "policies.lever.optimizer")), bytesOf(least));
  EXPECT_GT(bytesOf(find(none, "policies.lever.optimizer")), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, LeastBudget,
                         testing::Values(std::pair("qwen3-30b-a3b", 2),
                                         std::pair("deepseek-v2-lite", 2),
                                         std::pair("gpt-oss-20b", 2),
                                         std::pair("mixtral-8x7b", 2)));

// 14 layers of DeepSeek-V3 on four ranks with two stages each, as Megatron-LM's
// pull request 6311 ran them on 64 devices; MiB are those of its allocator.
TEST(PlannerAtClusterSize, RelievesRankTwoOfFourteenLayersOfDeepSeek) {
  driver::PlanRequest request = published("deepseek-v3", 4, 16, 16);
  request.reductions = "layers=14";
  request.layout.sequenceLength = 2048;
  request.schedule = "interleaved";
  request.partition = "1,2,2,2,2,2,2,1";
  plan::Plan kept = planned(request);
  std::vector<int64_t> arenas;
  for (const plan::Rank &rank : kept.ranks)
    arenas.push_back(rank.arenaBytes);
  ASSERT_EQ(arenas.size(), 4);
  // Accounts by hand of what was measured: 57.2, 59.5, 67.0 and 63.6 thousand
  // MiB with a sharded optimizer; rank 2 needs most, rank 3 comes next.
  EXPECT_EQ(test::largestArena(kept), arenas[2]);
  EXPECT_GT(arenas[3], std::max(arenas[0], arenas[1]));
  request.budgetBytes = 1;
  request.reportsLevers = true;
  plan::Plan none = planned(request);
  constexpr double measuredMiB = 68'704;
  int64_t sharded = bytesOf(find(none, "policies.lever.optimizer")) -
                    none.machine.reserveBytes;
  EXPECT_NEAR(static_cast<double>(sharded) / 0x1p20, measuredMiB,
              0.02 * measuredMiB);
  EXPECT_THAT(find(none, "policies.least_budget")->source,
              testing::HasSubstr("rank 2"));

  request.reportsLevers = false;
  request.budgetBytes = kept.machine.reserveBytes + (arenas[2] + arenas[3]) / 2;
  request.recompute = "full";
  plan::Plan full = planned(request);
  EXPECT_TRUE(full.prediction.fits);
  request.recompute = "auto";
  plan::Plan made = planned(request);
  EXPECT_TRUE(made.prediction.fits);
  EXPECT_FALSE(made.decisions.empty());
  for (const plan::Decision &decision : made.decisions)
    EXPECT_EQ(made.stages[decision.stage].rank, 2);
  // What was measured with full recompute everywhere: 18 % less throughput.
  EXPECT_GT(static_cast<double>(full.prediction.stepNs),
            1.1 * static_cast<double>(kept.prediction.stepNs));
  EXPECT_LT(static_cast<double>(made.prediction.stepNs),
            1.01 * static_cast<double>(kept.prediction.stepNs));
}
