#include "compiler/Optimize/LayerOptions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace moe::optimize {
namespace {

/// Values whose times and bytes add up; while the layer runs, all of them live.
struct Additive {
  std::vector<int64_t> bytes, recomputeNs, offloadNs;

  LayerFigures operator()(const LayerTreatment &treatment) const {
    LayerOption option;
    for (size_t v = 0; v < bytes.size(); ++v) {
      option.peakBytes += bytes[v];
      option.extraNs += treatment[v] == Treatment::recompute ? recomputeNs[v]
                        : treatment[v] == Treatment::offload ? offloadNs[v]
                                                             : 0;
      option.keptBytes += treatment[v] == Treatment::keep ? bytes[v] : 0;
    }
    return {option, option};
  }
};

Additive randomValues(std::mt19937_64 &random, size_t count) {
  Additive values;
  for (size_t v = 0; v < count; ++v) {
    values.bytes.push_back(static_cast<int64_t>(random() % 900 + 100));
    values.recomputeNs.push_back(static_cast<int64_t>(random() % 1000 + 1));
    values.offloadNs.push_back(static_cast<int64_t>(random() % 1000 + 1));
  }
  return values;
}

LayerOptionsProblem problemOf(const Additive &values, bool mayOffload) {
  LayerOptionsProblem problem;
  size_t count = values.bytes.size();
  problem.valueBytes = values.bytes;
  problem.mayRecompute.assign(count, true);
  problem.mayOffload.assign(count, mayOffload);
  problem.evaluate = values;
  return problem;
}

// Where values are independent, the best bargains first are the corners of the
// convex hull of all choices: an option lies at each of them.
TEST(LayerOptions, EveryCornerOfTheHullIsAnOption) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 40; ++trial) {
    Additive values = randomValues(random, 8);
    LayerOptions options = findOptions(problemOf(values, false));
    for (int64_t price = 1; price < 2000; price += 37) {
      // Least of time + price * bytes / 256 over all choices, value by value.
      int64_t least = 0;
      for (size_t v = 0; v < 8; ++v)
        least += std::min(256 * values.recomputeNs[v], price * values.bytes[v]);
      int64_t found = std::numeric_limits<int64_t>::max();
      for (const LayerFigures &figures : options.figures)
        found = std::min(found, 256 * figures.inside.extraNs +
                                    price * figures.inside.keptBytes);
      EXPECT_EQ(found, least);
    }
  }
}

// Nothing but a switch and all else on the host may be worth it: a link that is
// quick for all values together, and slow for any fewer.
TEST(LayerOptions, SwitchesLeaveAllElseToTheHost) {
  LayerOptionsProblem problem;
  problem.valueBytes = {100, 100, 100, 100};
  problem.mayRecompute.assign(4, true);
  problem.mayOffload.assign(4, true);
  problem.targets = {{1, 2}};
  const LayerTreatment wanted = {Treatment::offload, Treatment::recompute,
                                 Treatment::recompute, Treatment::offload};
  problem.evaluate = [&](const LayerTreatment &treatment) {
    int64_t kept =
        100 * std::count(treatment.begin(), treatment.end(), Treatment::keep);
    int64_t ns = treatment == wanted ? 1 : 10 * (400 - kept);
    LayerOption option{ns, kept, 400};
    return LayerFigures{option, option};
  };
  EXPECT_THAT(findOptions(problem).treatments, testing::Contains(wanted));
}

TEST(LayerOptions, NoneIsWorseThanAnotherAndAllIsFirst) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 20; ++trial) {
    Additive values = randomValues(random, 9);
    LayerOptions options = findOptions(problemOf(values, true));
    ASSERT_EQ(options.treatments.size(), options.figures.size());
    EXPECT_LE(options.treatments.size(), kMostOptions);
    EXPECT_THAT(options.treatments.front(), testing::Each(Treatment::keep));
    for (size_t i = 0; i < options.figures.size(); ++i) {
      EXPECT_EQ(values(options.treatments[i]), options.figures[i]);
      for (size_t j = 0; j < options.figures.size(); ++j)
        if (i != j)
          EXPECT_FALSE(options.figures[j].inside.extraNs <=
                           options.figures[i].inside.extraNs &&
                       options.figures[j].inside.keptBytes <=
                           options.figures[i].inside.keptBytes &&
                       options.figures[j].inside.peakBytes <=
                           options.figures[i].inside.peakBytes);
    }
    // What frees most is there: nothing is kept.
    EXPECT_EQ(options.figures.back().inside.keptBytes, 0);
  }
}

TEST(LayerOptions, TargetsAreConsideredTogether) {
  // Two values that only together free anything: no step finds them.
  LayerOptionsProblem problem;
  problem.valueBytes = {100, 100};
  problem.mayRecompute = {true, true};
  problem.mayOffload = {false, false};
  problem.targets = {{0, 1}};
  problem.evaluate = [](const LayerTreatment &treatment) {
    bool both =
        treatment[0] != Treatment::keep && treatment[1] != Treatment::keep;
    LayerOption option{both ? 5 : 0, both ? 0 : 200, 200};
    return LayerFigures{option, option};
  };
  EXPECT_EQ(findOptions(problem).treatments.size(), 2U);
  problem.targets.clear();
  EXPECT_EQ(findOptions(problem).treatments.size(), 1U);
}

// What comes back late has nothing ahead, and costs time where it is needed
// before it is there: the second value is in time late, both are not.
TEST(LayerOptions, WhatMayComeLateDoesSoInTimeOrAtAll) {
  LayerOptionsProblem problem;
  problem.valueBytes = {100, 100};
  problem.mayRecompute.assign(2, false);
  problem.mayOffload.assign(2, true);
  problem.copyNs = {10, 10};
  problem.neededNs = {5, 15};
  problem.evaluate = [](const LayerTreatment &treatment) {
    LayerOption option{0, 0, 200};
    for (Treatment each : treatment) {
      option.keptBytes += each == Treatment::keep ? 100 : 0;
      option.aheadBytes += each == Treatment::offload ? 100 : 0;
    }
    option.extraNs = treatment[0] == Treatment::offload_late ? 5 : 0;
    return LayerFigures{option, option};
  };
  constexpr Treatment early = Treatment::offload,
                      late = Treatment::offload_late;
  EXPECT_THAT(findOptions(problem).treatments,
              testing::Not(testing::Contains(testing::Contains(late))));
  problem.mayComeLate = {true, true};
  const std::vector<LayerTreatment> both = findOptions(problem).treatments;
  EXPECT_THAT(both, testing::Contains(LayerTreatment{early, late}));
  EXPECT_THAT(both, testing::Contains(LayerTreatment{late, late}));
  EXPECT_THAT(both,
              testing::Not(testing::Contains(LayerTreatment{early, early})));
  problem.mayComeLate = {false, true};
  const std::vector<LayerTreatment> one = findOptions(problem).treatments;
  EXPECT_THAT(one, testing::Contains(LayerTreatment{early, late}));
  EXPECT_THAT(one, testing::Not(testing::Contains(LayerTreatment{late, late})));
}

// Each of two values that one op makes is dear alone; both together cost next
// to nothing. Either way is found, with a third value behind it: together
// less time is taken, alone less lives at the peak.
TEST(LayerOptions, SiblingsGoTogetherAndOneByOne) {
  LayerOptionsProblem problem;
  problem.valueBytes = {1000, 1, 500};
  problem.mayRecompute.assign(3, true);
  problem.mayOffload.assign(3, false);
  problem.siblings = {{0, 1}};
  problem.evaluate = [](const LayerTreatment &treatment) {
    auto isAgain = [&](size_t value) {
      return treatment[value] == Treatment::recompute;
    };
    const bool both = isAgain(0) && isAgain(1);
    LayerOption option;
    option.extraNs = (both                       ? 1
                      : isAgain(0) || isAgain(1) ? 100
                                                 : 0) +
                     50 * isAgain(2);
    option.keptBytes = 1501 - 1000 * isAgain(0) - isAgain(1) - 500 * isAgain(2);
    option.peakBytes = both ? 3000 : 2000;
    return LayerFigures{option, option};
  };
  constexpr Treatment again = Treatment::recompute, keep = Treatment::keep;
  const std::vector<LayerTreatment> found = findOptions(problem).treatments;
  EXPECT_THAT(found, testing::Contains(LayerTreatment{again, again, keep}));
  EXPECT_THAT(found, testing::Contains(LayerTreatment{again, again, again}));
  EXPECT_THAT(found, testing::Contains(LayerTreatment{again, keep, again}));
  // Where values are not known to be siblings, one by one is the only way.
  problem.siblings = {};
  EXPECT_THAT(
      findOptions(problem).treatments,
      testing::Not(testing::Contains(LayerTreatment{again, again, keep})));
}

// Inside a stage both values move for nothing; at its end only the smaller one,
// which is made early, does.
TEST(LayerOptions, WhatIsCheapAtTheEndOfAStageIsAnOption) {
  LayerOptionsProblem problem;
  problem.valueBytes = {1000, 900};
  problem.mayRecompute = {false, false};
  problem.mayOffload = {true, true};
  problem.evaluate = [](const LayerTreatment &treatment) {
    bool late = treatment[0] != Treatment::keep;
    bool early = treatment[1] != Treatment::keep;
    LayerOption inside{0, 1900 - 1000 * late - 900 * early, 1900};
    LayerOption last = inside;
    last.extraNs = 5000 * late;
    return LayerFigures{inside, last};
  };
  std::vector<LayerTreatment> found = findOptions(problem).treatments;
  EXPECT_THAT(found, testing::Contains(
                         LayerTreatment{Treatment::keep, Treatment::offload}));
  EXPECT_THAT(found, testing::Contains(LayerTreatment{Treatment::offload,
                                                      Treatment::offload}));
}

TEST(LayerOptions, WhatMayNotBeTouchedIsKept) {
  std::mt19937_64 random(4);
  LayerOptionsProblem problem = problemOf(randomValues(random, 6), true);
  problem.mayRecompute[2] = problem.mayOffload[2] = false;
  problem.mayRecompute[3] = false;
  problem.targets = {{2, 3}};
  for (const LayerTreatment &treatment : findOptions(problem).treatments) {
    EXPECT_EQ(treatment[2], Treatment::keep);
    EXPECT_NE(treatment[3], Treatment::recompute);
  }
}

} // namespace
} // namespace moe::optimize
