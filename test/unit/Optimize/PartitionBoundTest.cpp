// What steps take at least, against all cuts and all choices.
#include "compiler/Optimize/Partition.h"

#include "test/unit/Optimize/RandomCuts.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>

namespace moe::optimize {
namespace {

constexpr int64_t kNothingFits = std::numeric_limits<int64_t>::max();

/// The shortest step of all choices of ranks that fit.
int64_t shortest(const PartitionProblem &problem, StepTimes &steps,
                 const std::vector<int64_t> &counts) {
  int64_t best = kNothingFits;
  std::vector<Choices> chosen;
  // All choices of the ranks from the one behind `chosen` on.
  auto goOn = [&](auto &self) -> void {
    const auto rank = static_cast<int64_t>(chosen.size());
    if (rank == problem.ranks()) {
      best =
          std::min(best, steps.ns(counts, longerBy(problem, counts, chosen)));
      return;
    }
    const PolicyProblem choice = rankProblem(problem, counts, rank);
    Choices choices;
    for (const std::vector<int64_t> &stage : choice.stages)
      choices.emplace_back(stage.size(), 0);
    auto choose = [&](auto &chooseOn, size_t stage, size_t layer) -> void {
      if (stage == choices.size()) {
        if (evaluate(choice, choices).peakBytes >
            problem.capacityBytes[static_cast<size_t>(rank)])
          return;
        chosen.push_back(choices);
        self(self);
        chosen.pop_back();
        return;
      }
      if (layer == choices[stage].size())
        return chooseOn(chooseOn, stage + 1, 0);
      const auto kind = static_cast<size_t>(choice.stages[stage][layer]);
      for (size_t way = 0; way < choice.kinds[kind].size(); ++way) {
        choices[stage][layer] = static_cast<int64_t>(way);
        chooseOn(chooseOn, stage, layer + 1);
      }
    };
    choose(choose, 0, 0);
  };
  goOn(goOn);
  return best;
}

class PartitionBound : public testing::TestWithParam<int> {};

TEST_P(PartitionBound, IsNoLongerThanAnyStepAndNear) {
  const bool isV = GetParam() % 2 == 1;
  Random random(static_cast<uint64_t>(GetParam()) + 100);
  int fitting = 0, others = 0;
  double ofBounds = 0, ofBest = 0;
  for (int trial = 0; trial < 60; ++trial) {
    PartitionProblem problem = randomProblem(random, isV);
    // All choices of more layers are too many.
    while (problem.blocks.size() > 7)
      problem.blocks.erase(problem.blocks.end() - 2);
    if (static_cast<int64_t>(problem.blocks.size()) < problem.stages() + 2)
      continue;
    const bool isSplit = trial % 2 == 1;
    for (BlockKind &kind : problem.kinds)
      for (auto *options : {&kind.options, &kind.lastOptions})
        for (LayerOption &option : *options)
          option.weightGradNs = isSplit ? random(0, option.extraNs) : 0;
    problem.steps = std::make_shared<RandomChains>(problem, random);
    const std::vector<std::vector<int64_t>> cuts = allCuts(problem);
    const Partition known = evaluate(
        problem, cuts[static_cast<size_t>(random(0, std::ssize(cuts) - 1))]);
    if (known.excessBytes > 0)
      continue;
    ++fitting;
    std::vector<LeastExtra> least;
    for (int64_t rank = 0; rank < problem.ranks(); ++rank) {
      const PolicyProblem choice = rankProblem(problem, known.counts, rank);
      const int64_t capacity = problem.capacityBytes[static_cast<size_t>(rank)];
      const PolicyProblem backward = withoutLag(choice);
      EXPECT_TRUE(isSplit || !hasWeightGrads(backward));
      least.push_back({leastExtraNs(choice, capacity),
                       leastExtraNs(backward, capacity),
                       leastExtraNs(withoutWeightGrads(backward), capacity)});
    }
    RandomChains all = static_cast<const RandomChains &>(*problem.steps);
    const int64_t ofKnown = shortest(problem, all, known.counts);
    int64_t ofAll = kNothingFits;
    for (const std::vector<int64_t> &counts : cuts)
      ofAll = std::min(ofAll, shortest(problem, all, counts));
    const StepBound ofCut = leastStepNs(problem, known.counts, least, false);
    EXPECT_LE(ofCut.ns, ofKnown) << "trial " << trial;
    EXPECT_FALSE(ofCut.isOfAllCuts);
    const StepBound bound = leastStepNs(problem, known.counts, least, true);
    EXPECT_LE(bound.ns, ofAll) << "trial " << trial;
    EXPECT_TRUE(bound.isOfAllCuts) << "trial " << trial;
    EXPECT_TRUE(isLegal(problem, bound.counts)) << "trial " << trial;
    others += bound.counts != known.counts;
    ofBounds += static_cast<double>(bound.ns);
    ofBest += static_cast<double>(ofAll);
  }
  EXPECT_GT(fitting, 8);
  EXPECT_GT(others, 2);
  EXPECT_GT(ofBounds, .99 * ofBest);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PartitionBound, testing::Range(0, 6));

} // namespace
} // namespace moe::optimize
