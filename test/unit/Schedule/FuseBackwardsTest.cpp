#include "compiler/Schedule/FuseBackwards.h"

#include "compiler/Schedule/Generators.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace moe::schedule {
namespace {

/// When forwards and backwards begin, by stage, microbatch and kind.
std::map<std::tuple<int64_t, int64_t, bool>, int64_t>
begins(const Schedule &schedule, const Evaluation &evaluation) {
  std::map<std::tuple<int64_t, int64_t, bool>, int64_t> result;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
    for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
      const Action &action = schedule.ranks[rank][i];
      if (action.phase != Phase::weight_grad)
        result[{action.stage, action.microbatch,
                action.phase == Phase::forward}] =
            evaluation.ranks[rank].times[i].beginNs;
    }
  return result;
}

size_t count(const Schedule &schedule, Phase phase) {
  size_t found = 0;
  for (const auto &actions : schedule.ranks)
    for (const Action &action : actions)
      found += action.phase == phase;
  return found;
}

/// Random costs of every stage, also of no time at all.
Costs randomCosts(const ScheduleProblem &problem, std::mt19937 &random) {
  Costs costs;
  costs.transferNs = static_cast<int64_t>(random() % 3) * 40;
  for (int64_t s = 0; s < problem.stages(); ++s)
    costs.stages.push_back({static_cast<int64_t>(random() % 100),
                            static_cast<int64_t>(random() % 100),
                            static_cast<int64_t>(random() % 60), 10, 7});
  return costs;
}

TEST(FuseBackwards, DelaysNothingAndLeavesOutNothing) {
  std::mt19937 random(3);
  size_t fusedInAll = 0;
  for (int round = 0; round < 300; ++round) {
    const GeneratorInfo &info =
        generators()[static_cast<size_t>(round) % generators().size()];
    ScheduleProblem problem;
    problem.ranks = 2 * (1 + static_cast<int64_t>(random() % 3));
    problem.microbatches = 2 * problem.ranks;
    problem.stagesPerRank = info.stagesPerRank;
    problem.placement = info.placement;
    Costs costs = randomCosts(problem, random);
    Result<Schedule> schedule = generate(info.name, problem, {costs, 0});
    ASSERT_TRUE(schedule.ok()) << info.name;
    Result<Evaluation> before = evaluate(*schedule, costs);
    ASSERT_TRUE(before.ok());
    Schedule fused = fuseBackwards(*schedule, costs, *before);
    SCOPED_TRACE(std::string(info.name) + ", round " + std::to_string(round));
    ASSERT_TRUE(verify(fused).ok());
    Result<Evaluation> after = evaluate(fused, costs);
    ASSERT_TRUE(after.ok());
    EXPECT_EQ(after->makespanNs, before->makespanNs);
    EXPECT_EQ(begins(fused, *after), begins(*schedule, *before));
    for (size_t rank = 0; rank < fused.ranks.size(); ++rank)
      EXPECT_LE(after->ranks[rank].peakBytes, before->ranks[rank].peakBytes);
    fusedInAll +=
        count(fused, Phase::backward) - count(*schedule, Phase::backward);

    // Whatever follows directly and was left split would delay something.
    for (size_t rank = 0; rank < fused.ranks.size(); ++rank)
      for (size_t i = 0; i + 1 < fused.ranks[rank].size(); ++i) {
        const Action &input = fused.ranks[rank][i];
        const Action &weight = fused.ranks[rank][i + 1];
        if (input.phase != Phase::backward_input ||
            weight.phase != Phase::weight_grad || input.stage != weight.stage ||
            input.microbatch != weight.microbatch)
          continue;
        Schedule more = fused;
        more.ranks[rank][i].phase = Phase::backward;
        more.ranks[rank].erase(more.ranks[rank].begin() +
                               static_cast<ptrdiff_t>(i) + 1);
        EXPECT_NE(begins(more, *evaluate(more, costs)),
                  begins(*schedule, *before));
      }
  }
  EXPECT_GT(fusedInAll, 1000u);
}

TEST(FuseBackwards, TheFirstStageNeedsNoSplit) {
  ScheduleProblem problem{2, 4};
  Costs costs = Costs::uniform(problem);
  Schedule schedule = *generate("zb-h1", problem, {costs, 0});
  Schedule fused = fuseBackwards(schedule, costs, *evaluate(schedule, costs));
  for (const Action &action : fused.ranks[0])
    EXPECT_TRUE(action.phase == Phase::forward ||
                action.phase == Phase::backward);
}

} // namespace
} // namespace moe::schedule
