#include "compiler/Schedule/Search.h"

#include "SearchCases.h"
#include "compiler/Schedule/Generators.h"

#include <gmock/gmock.h>

namespace moe::schedule::test {
namespace {

using testing::HasSubstr;

SearchOptions quick() {
  SearchOptions options;
  options.effort = 100'000;
  return options;
}

std::string describe(const std::vector<Structure> &structures,
                     const std::string &limit) {
  const ScheduleProblem &problem = structures[0].problem;
  return "P=" + std::to_string(problem.ranks) +
         " M=" + std::to_string(problem.microbatches) + " limit " + limit;
}

/// What any answer must be, whatever the effort.
void expectSound(const std::vector<Structure> &structures,
                 const SearchResult &result) {
  const Structure &structure = structures[result.structure];
  EXPECT_EQ(result.schedule.problem, structure.problem);
  EXPECT_EQ(result.schedule.name, "auto");
  Status legal = verify(result.schedule);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
  Status steps = verify(insertTransfers(result.schedule));
  EXPECT_TRUE(steps.ok()) << steps.error().message;
  Result<Evaluation> evaluation = evaluate(result.schedule, structure.costs);
  ASSERT_TRUE(evaluation.ok());
  EXPECT_EQ(evaluation->makespanNs, result.evaluation.makespanNs);
  EXPECT_TRUE(withinLimits(*evaluation, structure.costs).ok());
  EXPECT_GE(evaluation->makespanNs, result.structureBound.makespanNs);
  EXPECT_GE(result.structureBound.makespanNs, result.bound.makespanNs);
  EXPECT_GE(result.gap, 0);
}

/// No generator within the limits is as good in both and better in one.
void expectNotDominated(const std::vector<Structure> &structures,
                        const SearchResult &result) {
  for (const Structure &structure : structures)
    for (const GeneratorInfo &info : generators()) {
      Result<Schedule> schedule =
          generate(info.name, structure.problem, {structure.costs, 0});
      if (!schedule)
        continue;
      Result<Evaluation> evaluation = evaluate(*schedule, structure.costs);
      ASSERT_TRUE(evaluation.ok()) << info.name;
      if (!withinLimits(*evaluation, structure.costs))
        continue;
      const Evaluation &mine = result.evaluation;
      bool dominated = evaluation->makespanNs <= mine.makespanNs &&
                       evaluation->peakBytes <= mine.peakBytes &&
                       (evaluation->makespanNs < mine.makespanNs ||
                        evaluation->peakBytes < mine.peakBytes);
      EXPECT_FALSE(dominated)
          << info.name << ": " << evaluation->makespanNs << " ns, "
          << evaluation->peakBytes << " bytes; auto: " << mine.makespanNs
          << " ns, " << mine.peakBytes << " bytes";
    }
}

TEST(Search, IsDominatedByNoGeneratorOnTheGrid) {
  std::vector<GridCase> grid = gridOf({2, 4, 8});
  ASSERT_GE(grid.size(), 300u);
  for (const GridCase &one : grid) {
    SCOPED_TRACE(describe(one.structures, one.limit));
    Result<SearchResult> result = searchSchedule(one.structures, quick());
    ASSERT_TRUE(result.ok()) << result.error().message;
    expectSound(one.structures, *result);
    expectNotDominated(one.structures, *result);
  }
}

/// Any costs at all: times and bytes of zero, odd sizes, narrow limits.
TEST(Search, IsSoundOnRandomInstances) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    ScheduleProblem problem;
    problem.ranks = 1 + static_cast<int64_t>(random() % 5);
    problem.microbatches = 1 + static_cast<int64_t>(random() % 9);
    problem.stagesPerRank = 1 + static_cast<int64_t>(random() % 3);
    problem.placement = random() % 2 ? Placement::v : Placement::loop;
    if (random() % 6 == 0) {
      problem.placement = Placement::bidirectional;
      problem.stagesPerRank = 2;
      problem.ranks = 2 * (1 + static_cast<int64_t>(random() % 2));
      problem.microbatches += problem.microbatches % 2;
    }
    if (!problem.check())
      continue;
    Costs costs;
    costs.transferNs = static_cast<int64_t>(random() % 3) * 7;
    std::vector<int64_t> need(static_cast<size_t>(problem.ranks), 0);
    std::vector<int64_t> transient = need;
    bool whole = round % 5 == 0;
    for (int64_t s = 0; s < problem.stages(); ++s) {
      StageCosts stage;
      stage.forwardNs = static_cast<int64_t>(random() % 40);
      stage.inputGradNs = static_cast<int64_t>(random() % 40);
      stage.weightGradNs = static_cast<int64_t>(random() % 40);
      stage.savedBytes = static_cast<int64_t>(random() % 30);
      stage.weightGradBytes =
          static_cast<int64_t>(random()) % (stage.savedBytes + 1);
      if (round % 2) { // what values on the host hold while they are copied
        stage.forwardTransientBytes = static_cast<int64_t>(random() % 30);
        stage.backwardTransientBytes = static_cast<int64_t>(random() % 30);
      }
      if (whole)
        stage.weightGradNs = stage.weightGradBytes = 0;
      costs.stages.push_back(stage);
      auto rank = static_cast<size_t>(problem.rankOf(s));
      need[rank] += stage.savedBytes;
      transient[rank] = std::max(transient[rank], stage.transientBytes());
    }
    if (random() % 3 == 0)
      for (int64_t f = 0; f < problem.stages(); ++f)
        for (int64_t b = 0; b < problem.stages(); ++b)
          if (problem.rankOf(f) == problem.rankOf(b))
            costs.overlaps.push_back(
                {f, b, static_cast<int64_t>(random() % 80)});
    for (size_t rank = 0; rank < need.size(); ++rank)
      costs.limitBytes.push_back(need[rank] + transient[rank] +
                                 static_cast<int64_t>(random() % 60));
    SCOPED_TRACE("round " + std::to_string(round));
    std::vector<Structure> structures = {{problem, costs, whole}};
    Result<SearchResult> result = searchSchedule(structures, quick());
    ASSERT_TRUE(result.ok()) << result.error().message;
    expectSound(structures, *result);
    expectNotDominated(structures, *result);
    for (const auto &actions : result->schedule.ranks)
      for (const Action &action : actions)
        EXPECT_FALSE(whole && (action.phase == Phase::backward_input ||
                               action.phase == Phase::weight_grad));
  }
}

/// At the turn of a V a rank hands gradients over to itself, through one buffer
/// to send and one to receive: an order in which three are on the way at once
/// passes verify(Schedule), but cannot be executed.
TEST(Search, KeepsToTheBuffersAtTheTurnOfAV) {
  ScheduleProblem problem = problemOf(2, 7, 2, Placement::v);
  Structure structure{problem, {}};
  structure.costs.stages = {{87, 889, 513, 500, 300},
                            {174, 861, 1053, 500, 0},
                            {132, 959, 1719, 500, 0},
                            {141, 1365, 1638, 500, 100}};
  Result<SearchResult> result = searchSchedule({&structure, 1}, quick());
  ASSERT_TRUE(result.ok()) << result.error().message;
  expectSound({structure}, *result);
}

/// Costs that differ much make orders that need more buffers than there are,
/// between ranks too.
TEST(Search, AnswersCanBeExecutedWithTheBuffersThereAre) {
  std::mt19937 random(9);
  auto below = [&](int64_t end) {
    return static_cast<int64_t>(random()) % end;
  };
  for (int round = 0; round < 200; ++round) {
    ScheduleProblem problem =
        problemOf(2 + below(3), 6 + below(7), 2, Placement::v);
    Structure structure{problem, {}};
    structure.costs.transferNs = below(2) * 1000 * below(4);
    for (int64_t s = 0; s < problem.stages(); ++s)
      structure.costs.stages.push_back({20 + below(2000), 20 + below(2000),
                                        20 + below(2000), 500, 100 * below(4)});
    if (round % 3 > 0)
      for (int64_t rank = 0; rank < problem.ranks; ++rank)
        structure.costs.limitBytes.push_back(1000 + below(4000));
    SCOPED_TRACE("round " + std::to_string(round));
    SearchOptions options = quick();
    options.useGenerators = round % 2 == 0;
    Result<SearchResult> result = searchSchedule({&structure, 1}, options);
    ASSERT_TRUE(result.ok()) << result.error().message;
    expectSound({structure}, *result);
  }
}

/// The published heuristic gives 0.53 here (the figure), no generator
/// of ours less than 0.05.
TEST(Search, StaysUnderATenthBubbleWithSixUnitsForEightRanks) {
  std::vector<Structure> structures =
      structuresOf(8, 32, Profile::unit, 1, std::vector<double>(8, 6.0));
  for (bool useGenerators : {false, true}) {
    SearchOptions options;
    options.useGenerators = useGenerators;
    Result<SearchResult> result = searchSchedule(structures, options);
    ASSERT_TRUE(result.ok());
    EXPECT_LT(result->evaluation.bubble, 0.10);
    for (const RankEvaluation &rank : result->evaluation.ranks)
      EXPECT_LE(rank.peakBytes, 6300);
  }
}

/// A rank with memory to spare runs ahead; the others bind it no longer.
TEST(Search, UsesMemoryThatSomeRanksHaveToSpare) {
  ScheduleProblem problem = problemOf(4, 16, 1, Placement::loop);
  auto makespan = [&](std::vector<int64_t> units) {
    Structure structure{problem, costsOf(problem, Profile::unit, 1)};
    for (int64_t unit : units)
      structure.costs.limitBytes.push_back(unit * 1000);
    Result<SearchResult> result = searchSchedule({&structure, 1}, quick());
    EXPECT_TRUE(result.ok());
    return result->evaluation.makespanNs;
  };
  // Rank 0 waits longest for what it has sent off.
  EXPECT_LT(makespan({4, 3, 2, 2}), makespan({2, 3, 2, 2}));
  EXPECT_LT(makespan({8, 4, 3, 2}), makespan({3, 4, 3, 2}));
  EXPECT_LE(makespan({8, 6, 4, 3}), makespan({3, 3, 3, 3}));
}

/// PipeOffload (arXiv 2503.01328): what leaves for the host between forward and
/// backward makes room for more microbatches. Under limits that bind, the
/// search that knows it finds a shorter step than the one that does not; where
/// none binds, both find orders of about the same length.
TEST(Search, WarmsUpWithWhatIsOnTheHost) {
  double sum = 0;
  int binding = 0;
  for (int64_t ranks : {4, 8})
    for (Profile profile : {Profile::unit, Profile::measured, Profile::uneven})
      for (double units : {0.25, 0.5, 0.75, 1.0, 1.5})
        for (double share : {0.25, 0.5}) {
          std::vector<Structure> unaware = structuresOf(
              ranks, 3 * ranks, profile, 5,
              std::vector<double>(static_cast<size_t>(ranks),
                                  1.5 + units * static_cast<double>(ranks)));
          std::vector<Structure> aware = unaware;
          for (std::vector<Structure> *side : {&unaware, &aware})
            for (Structure &structure : *side)
              for (StageCosts &stage : structure.costs.stages) {
                auto moved = static_cast<int64_t>(
                    share * static_cast<double>(stage.savedBytes));
                // A copy of the last layer that nothing hides, both ways.
                stage.forwardNs += stage.forwardNs / 20;
                stage.inputGradNs += stage.inputGradNs / 20;
                if (side == &aware) {
                  stage.savedBytes -= moved;
                  stage.weightGradBytes =
                      std::min(stage.weightGradBytes, stage.savedBytes);
                  stage.forwardTransientBytes = moved;
                  stage.backwardTransientBytes = moved;
                }
              }
          SCOPED_TRACE(describe(aware, std::to_string(units) + " units"));
          SearchOptions options;
          options.effort = 300'000;
          Result<SearchResult> without = searchSchedule(unaware, options);
          Result<SearchResult> with = searchSchedule(aware, options);
          ASSERT_TRUE(without.ok()) << without.error().message;
          ASSERT_TRUE(with.ok()) << with.error().message;
          expectSound(aware, *with);
          double ratio = static_cast<double>(with->evaluation.makespanNs) /
                         static_cast<double>(without->evaluation.makespanNs);
          EXPECT_LE(ratio, 1.01);
          if (units <= 0.5) {
            ++binding;
            EXPECT_LT(ratio, 1);
            sum += ratio;
          }
        }
  EXPECT_EQ(binding, 24);
  EXPECT_LT(sum / binding, 0.95);
  RecordProperty("mean_ratio", std::to_string(sum / binding));
}

TEST(Search, OverlapsPairsWhereThatIsQuicker) {
  ScheduleProblem problem = problemOf(4, 16, 2, Placement::v);
  Structure structure{problem, costsOf(problem, Profile::measured, 1)};
  Result<SearchResult> plain = searchSchedule({&structure, 1}, quick());
  const StageCosts &stage = structure.costs.stages[0];
  int64_t sum = stage.forwardNs + stage.inputGradNs + stage.weightGradNs;
  for (int64_t f = 0; f < problem.stages(); ++f)
    for (int64_t b = 0; b < problem.stages(); ++b)
      if (problem.rankOf(f) == problem.rankOf(b))
        structure.costs.overlaps.push_back({f, b, sum * 3 / 4});
  Result<SearchResult> overlapped = searchSchedule({&structure, 1}, quick());
  ASSERT_TRUE(plain.ok() && overlapped.ok());
  expectSound({structure}, *overlapped);
  EXPECT_LT(overlapped->evaluation.makespanNs,
            plain->evaluation.makespanNs * 9 / 10);
}

TEST(Search, AnswersTheSameEveryTime) {
  std::vector<Structure> structures =
      structuresOf(4, 12, Profile::uneven, 5, {3, 2.5, 2, 4});
  Result<SearchResult> one = searchSchedule(structures, quick());
  Result<SearchResult> other = searchSchedule(structures, quick());
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(one->schedule, other->schedule);
  EXPECT_EQ(one->origin, other->origin);
}

TEST(Search, SaysWhichRankNeedsHowMuch) {
  std::vector<Structure> structures =
      structuresOf(4, 8, Profile::unit, 1, {1, 1, 0.5, 1});
  Result<SearchResult> result = searchSchedule(structures, quick());
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("rank 2 may hold 800 bytes"));
  EXPECT_THAT(result.error().message, HasSubstr("at least 1000"));
}

TEST(Search, RefusesWhatIsNotAProblem) {
  EXPECT_FALSE(searchSchedule({}, quick()).ok());
  Structure structure{problemOf(0, 4, 1, Placement::loop), {}};
  EXPECT_FALSE(searchSchedule({&structure, 1}, quick()).ok());
  structure.problem.ranks = 2; // costs of no stage
  EXPECT_FALSE(searchSchedule({&structure, 1}, quick()).ok());
}

TEST(Search, TakesOtherStructuresWhereOneDoesNotFit) {
  std::vector<Structure> structures =
      structuresOf(4, 8, Profile::unit, 1, std::vector<double>(4, 2.0));
  structures[1].costs.limitBytes.assign(4, 10);
  Result<SearchResult> result = searchSchedule(structures, quick());
  ASSERT_TRUE(result.ok());
  EXPECT_NE(result->structure, 1u);
  expectSound(structures, *result);
}

} // namespace
} // namespace moe::schedule::test
