// One option for all blocks of a kind, against all such choices.
#include "compiler/Optimize/UniformChoices.h"

#include "test/unit/Optimize/RandomLag.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>

namespace moe::optimize {
namespace {

/// A rank as of rankProblem(): two kinds for each kind of block.
PolicyProblem randomRankProblem(Random &random) {
  PolicyProblem problem;
  for (int64_t kind = 0; kind < 3; ++kind) {
    std::vector<LayerOption> inside, last;
    for (int64_t i = random(1, 5); i > 0; --i) {
      int64_t kept = random(0, 1000), ns = random(0, 1000);
      inside.push_back({ns, kept, kept + random(0, 500)});
      last.push_back({ns + random(0, 200), kept, kept + random(0, 500)});
      addLag(inside.back(), random, 200);
      addLag(last.back(), random, 200);
    }
    problem.kinds.push_back(inside);
    problem.kinds.push_back(last);
  }
  for (int64_t stages = random(1, 2); stages > 0; --stages) {
    std::vector<int64_t> &stage = problem.stages.emplace_back();
    for (int64_t layers = random(1, 5); layers > 0; --layers)
      stage.push_back(2 * random(0, 2) + (layers == 1));
  }
  for (int64_t moments = random(1, 3); moments > 0; --moments) {
    Moment &moment = problem.moments.emplace_back();
    for (size_t s = 0; s < problem.stages.size(); ++s)
      moment.held.push_back(random(0, 8));
    moment.running = random(0, static_cast<int64_t>(problem.stages.size()) - 1);
    moment.otherBytes = random(0, 2000);
  }
  return problem;
}

/// The choices with these options of the three kinds of block.
Choices choicesOf(const PolicyProblem &problem, std::array<int64_t, 3> option) {
  Choices choices;
  for (const std::vector<int64_t> &stage : problem.stages) {
    choices.emplace_back();
    for (int64_t kind : stage)
      choices.back().push_back(option[static_cast<size_t>(kind / 2)]);
  }
  return choices;
}

TEST(UniformChoices, AreTheBestOfAll) {
  Random random(5);
  int64_t unmet = 0;
  for (int trial = 0; trial < 500; ++trial) {
    PolicyProblem problem = randomRankProblem(random);
    ASSERT_TRUE(problem.check().ok());
    int64_t capacity = random(1000, 20000);
    int64_t quickest = std::numeric_limits<int64_t>::max(), least = quickest;
    auto count = [&](size_t kind) {
      return static_cast<int64_t>(problem.kinds[2 * kind].size());
    };
    for (int64_t a = 0; a < count(0); ++a)
      for (int64_t b = 0; b < count(1); ++b)
        for (int64_t c = 0; c < count(2); ++c) {
          PolicyOutcome outcome =
              evaluate(problem, choicesOf(problem, {a, b, c}));
          least = std::min(least, outcome.peakBytes);
          if (outcome.peakBytes <= capacity)
            quickest = std::min(quickest, outcome.extraNs);
        }
    Choices found = UniformFront(problem).within(capacity);
    std::array<int64_t, 3> option = {};
    for (size_t s = 0; s < found.size(); ++s)
      for (size_t l = 0; l < found[s].size(); ++l)
        option[static_cast<size_t>(problem.stages[s][l] / 2)] = found[s][l];
    EXPECT_EQ(found, choicesOf(problem, option)) << trial;
    PolicyOutcome outcome = evaluate(problem, found);
    if (least > capacity) {
      ++unmet;
      EXPECT_EQ(outcome.peakBytes, least) << trial;
    } else {
      EXPECT_LE(outcome.peakBytes, capacity) << trial;
      EXPECT_EQ(outcome.extraNs, quickest) << trial;
    }
  }
  EXPECT_GT(unmet, 20);
  EXPECT_LT(unmet, 480);
}

// The second kind of blocks takes the option of the first.
TEST(UniformChoices, KindsThatAreAlikeTakeOneOption) {
  Random random(6);
  for (int trial = 0; trial < 200; ++trial) {
    PolicyProblem problem = randomRankProblem(random);
    for (size_t way : {0, 1})
      problem.kinds[2 + way].resize(problem.kinds[way].size(),
                                    problem.kinds[2 + way].front());
    const int64_t capacity = random(1000, 20000);
    const Choices found = UniformFront(problem, {0, 0}).within(capacity);
    const PolicyOutcome outcome = evaluate(problem, found);
    auto count = [&](size_t kind) {
      return static_cast<int64_t>(problem.kinds[2 * kind].size());
    };
    bool isAmongThem = false;
    for (int64_t a = 0; a < count(0); ++a)
      for (int64_t c = 0; c < count(2); ++c) {
        const Choices other = choicesOf(problem, {a, a, c});
        isAmongThem |= other == found;
        const PolicyOutcome others = evaluate(problem, other);
        if (others.peakBytes <= std::max(capacity, outcome.peakBytes - 1))
          EXPECT_GE(others.extraNs, outcome.extraNs) << trial;
      }
    EXPECT_TRUE(isAmongThem) << trial;
  }
}

} // namespace
} // namespace moe::optimize
