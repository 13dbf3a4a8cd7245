#include "compiler/Schedule/Exact.h"

#include "SearchCases.h"

#include <gmock/gmock.h>

namespace moe::schedule::test {
namespace {

using testing::HasSubstr;

/// Tries every order, microbatches ascending and actions as early as the order
/// allows, by listing actions by the time they begin. Knows nothing of the
/// program that the solver is given.
class BruteForce {
public:
  BruteForce(const ScheduleProblem &problem, const Costs &costs)
      : problem(problem), costs(costs),
        done(static_cast<size_t>(problem.stages())),
        ends(static_cast<size_t>(2 * problem.stages() * problem.microbatches)),
        freeNs(static_cast<size_t>(problem.ranks)),
        held(static_cast<size_t>(problem.ranks)),
        work(static_cast<size_t>(problem.ranks)) {
    for (int64_t s = 0; s < problem.stages(); ++s)
      for (int kind = 0; kind < 3; ++kind)
        work[rankOf(s)] += problem.microbatches * lengthNs(s, kind);
  }

  /// The least makespan, or `knownNs` where there is nothing less.
  int64_t run(int64_t knownNs) {
    best = knownNs;
    search(0, 3 * problem.stages() * problem.microbatches, 0);
    return best;
  }

private:
  size_t rankOf(int64_t stage) const {
    return static_cast<size_t>(problem.rankOf(stage));
  }
  int64_t lengthNs(int64_t stage, int kind) const {
    const StageCosts &at = costs.stages[static_cast<size_t>(stage)];
    return kind == 0   ? at.forwardNs
           : kind == 1 ? at.inputGradNs
                       : at.weightGradNs;
  }
  int64_t &endOf(int64_t stage, int kind, int64_t microbatch) {
    return ends[static_cast<size_t>((2 * stage + kind) * problem.microbatches +
                                    microbatch)];
  }
  /// -1: its input is not made yet.
  int64_t inputNs(int64_t stage, int kind, int64_t microbatch) {
    auto made = [&](int64_t source, int sourceKind) -> int64_t {
      if (done[static_cast<size_t>(source)][static_cast<size_t>(sourceKind)] <=
          microbatch)
        return -1;
      return endOf(source, sourceKind, microbatch) +
             (rankOf(source) == rankOf(stage) ? 0 : costs.transferNs);
    };
    if (kind == 2)
      return made(stage, 1);
    if (kind == 0)
      return stage == 0 ? 0 : made(stage - 1, 0);
    return stage == problem.stages() - 1 ? made(stage, 0) : made(stage + 1, 1);
  }

  void search(int64_t sinceNs, int64_t left, int64_t makespanNs) {
    if (left == 0) {
      best = std::min(best, makespanNs);
      return;
    }
    for (size_t rank = 0; rank < freeNs.size(); ++rank)
      if (freeNs[rank] + work[rank] >= best)
        return;
    for (int64_t s = 0; s < problem.stages(); ++s)
      for (int kind = 0; kind < 3; ++kind) {
        auto stage = static_cast<size_t>(s);
        auto which = static_cast<size_t>(kind);
        int64_t microbatch = done[stage][which];
        if (microbatch == problem.microbatches)
          continue;
        size_t rank = rankOf(s);
        int64_t readyNs = inputNs(s, kind, microbatch);
        int64_t beginNs = std::max(readyNs, freeNs[rank]);
        if (readyNs < 0 || beginNs < sinceNs)
          continue;
        const StageCosts &at = costs.stages[stage];
        int64_t change = kind == 0   ? at.savedBytes
                         : kind == 1 ? at.weightGradBytes - at.savedBytes
                                     : -at.weightGradBytes;
        int64_t running =
            held[rank] + (kind == 0 ? at.savedBytes + at.forwardTransientBytes
                                    : at.backwardTransientBytes);
        if (!costs.limitBytes.empty() && running > costs.limitBytes[rank])
          continue;
        int64_t wasFreeNs = freeNs[rank];
        int64_t endNs = beginNs + lengthNs(s, kind);
        freeNs[rank] = endNs;
        held[rank] += change;
        work[rank] -= lengthNs(s, kind);
        ++done[stage][which];
        if (kind < 2)
          endOf(s, kind, microbatch) = endNs;
        search(beginNs, left - 1, std::max(makespanNs, endNs));
        --done[stage][which];
        work[rank] += lengthNs(s, kind);
        held[rank] -= change;
        freeNs[rank] = wasFreeNs;
      }
  }

  const ScheduleProblem &problem;
  const Costs &costs;
  std::vector<std::array<int64_t, 3>> done;
  std::vector<int64_t> ends, freeNs, held, work;
  int64_t best = 0;
};

struct Case {
  ScheduleProblem problem;
  Costs costs;
};

Case randomCase(std::mt19937 &random, int64_t ranks, int64_t microbatches,
                int64_t stagesPerRank) {
  Case result;
  result.problem =
      problemOf(ranks, microbatches, stagesPerRank,
                stagesPerRank == 1 ? Placement::loop : Placement::v);
  std::vector<int64_t> need(static_cast<size_t>(ranks), 0);
  std::vector<int64_t> transient = need;
  bool transients = random() % 2;
  for (int64_t s = 0; s < result.problem.stages(); ++s) {
    StageCosts stage;
    stage.forwardNs = 1 + static_cast<int64_t>(random() % 4);
    stage.inputGradNs = 1 + static_cast<int64_t>(random() % 4);
    stage.weightGradNs = 1 + static_cast<int64_t>(random() % 3);
    stage.savedBytes = 2 + static_cast<int64_t>(random() % 3);
    stage.weightGradBytes = static_cast<int64_t>(random() % 3);
    if (transients) {
      stage.forwardTransientBytes = static_cast<int64_t>(random() % 4);
      stage.backwardTransientBytes = static_cast<int64_t>(random() % 4);
    }
    result.costs.stages.push_back(stage);
    auto rank = static_cast<size_t>(result.problem.rankOf(s));
    need[rank] += stage.savedBytes;
    transient[rank] = std::max(transient[rank], stage.transientBytes());
  }
  result.costs.transferNs = static_cast<int64_t>(random() % 2);
  if (random() % 4)
    for (size_t rank = 0; rank < need.size(); ++rank)
      result.costs.limitBytes.push_back(need[rank] + transient[rank] +
                                        static_cast<int64_t>(random() % 6));
  return result;
}

Result<SearchResult> searched(const Case &one) {
  Structure structure{one.problem, one.costs};
  SearchOptions options;
  options.effort = 100'000;
  return searchSchedule({&structure, 1}, options);
}

TEST(Exact, FindsWhatBruteForceFinds) {
  if (!hasExactSolver())
    GTEST_SKIP() << "built without CBC";
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::array<std::array<int64_t, 3>, 4> sizes = {
        {{2, 2, 1}, {2, 3, 1}, {3, 2, 1}, {2, 2, 2}}};
    auto [ranks, microbatches, stagesPerRank] =
        sizes[static_cast<size_t>(round % 4)];
    Case one = randomCase(random, ranks, microbatches, stagesPerRank);
    Result<SearchResult> found = searched(one);
    ASSERT_TRUE(found.ok()) << found.error().message;
    Result<ExactResult> exact = solveExactly(found->schedule, one.costs);
    ASSERT_TRUE(exact.ok()) << exact.error().message;
    ASSERT_TRUE(exact->optimal);
    int64_t makespanNs = exact->evaluation.makespanNs;
    EXPECT_EQ(exact->boundNs, makespanNs);
    EXPECT_TRUE(verify(exact->schedule).ok());
    EXPECT_TRUE(withinLimits(exact->evaluation, one.costs).ok());
    EXPECT_LE(makespanNs, found->evaluation.makespanNs);
    // List scheduling keeps room for the largest transient of a rank, also
    // where something else runs.
    bool transient = std::any_of(
        one.costs.stages.begin(), one.costs.stages.end(),
        [](const StageCosts &stage) { return stage.transientBytes() > 0; });
    if (!transient)
      EXPECT_LE(static_cast<double>(found->evaluation.makespanNs),
                1.05 * static_cast<double>(makespanNs));
    EXPECT_GE(makespanNs, found->bound.makespanNs);
    // Anything that the solver missed would be less than this.
    EXPECT_EQ(BruteForce(one.problem, one.costs).run(makespanNs + 1),
              makespanNs);
  }
}

/// A start that is far from the best is improved, not confirmed.
TEST(Exact, ImprovesAPoorStart) {
  if (!hasExactSolver())
    GTEST_SKIP() << "built without CBC";
  ScheduleProblem problem = problemOf(2, 3, 1, Placement::loop);
  Costs costs = Costs::uniform(problem);
  Schedule start{"serial", problem, {{}, {}}};
  for (int64_t m = 0; m < 3; ++m)
    for (int64_t rank : {0, 1})
      for (Phase phase :
           {Phase::forward, Phase::backward_input, Phase::weight_grad})
        start.ranks[static_cast<size_t>(rank)].push_back(
            {phase, rank, m, false});
  Result<ExactResult> exact = solveExactly(start, costs);
  ASSERT_TRUE(exact.ok()) << exact.error().message;
  EXPECT_TRUE(exact->optimal);
  // Rank 1 waits for one forward, then works without a pause.
  EXPECT_EQ(exact->evaluation.makespanNs, 10'000);
}

TEST(Exact, SaysWhatItCannotSolve) {
  ScheduleProblem problem = problemOf(2, 2, 1, Placement::loop);
  Costs costs = Costs::uniform(problem);
  Structure structure{problem, costs};
  Result<SearchResult> found = searchSchedule({&structure, 1});
  ASSERT_TRUE(found.ok());
  if (!hasExactSolver()) {
    Result<ExactResult> exact = solveExactly(found->schedule, costs);
    ASSERT_FALSE(exact.ok());
    EXPECT_THAT(exact.error().message, HasSubstr("coinor-libcbc-dev"));
    GTEST_SKIP() << "built without CBC";
  }
  auto message = [&](const Costs &given, const ExactOptions &options) {
    Result<ExactResult> exact = solveExactly(found->schedule, given, options);
    EXPECT_FALSE(exact.ok());
    return exact.ok() ? std::string() : exact.error().message;
  };
  ExactOptions few;
  few.maxActions = 5;
  EXPECT_THAT(message(costs, few), HasSubstr("12 actions are too many"));
  Costs noTime = costs;
  noTime.stages[1].weightGradNs = 0;
  EXPECT_THAT(message(noTime, {}), HasSubstr("must take time"));
  Costs overlapping = costs;
  overlapping.overlaps = {{0, 0, 1500}};
  EXPECT_THAT(message(overlapping, {}), HasSubstr("overlapping"));
  Costs tight = costs;
  tight.limitBytes = {500, 500};
  EXPECT_THAT(message(tight, {}), HasSubstr("limit"));
}

} // namespace
} // namespace moe::schedule::test
