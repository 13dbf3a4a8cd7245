//===- SearchRecipe.h - small descriptions of schedules ---------*- C++ -*-===//
//
// A recipe is a handful of numbers that list scheduling turns into a whole
// schedule, whatever the number of microbatches: what the search varies.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/SearchGreedy.h"
#include "compiler/Schedule/SearchPattern.h"
#include "compiler/Schedule/WeightGradients.h"

#include <functional>
#include <random>

namespace moe::schedule::search {

/// What schedules are compared by: makespan, then peak.
struct Score {
  int64_t makespanNs = kNoLimit;
  int64_t peakBytes = kNoLimit;
  auto operator<=>(const Score &) const = default;
};

struct Recipe {
  /// The caps are made from what follows.
  Policy policy;
  /// Cap of a stage: what is under way in it when a microbatch takes the least
  /// time and the rank works without a pause, times this; by pass over the
  /// ranks (later passes take the last), 0: no cap.
  std::array<double, 2> fill = {0, 0};
  /// Added to the caps; by stage, empty: none.
  std::vector<int64_t> extra;
  /// Runs a repeating pattern instead; the fill does not count then. The period
  /// is a multiple of the least one.
  bool usesPattern = false;
  /// Ranks run the pattern in its order; otherwise what it has first goes first
  /// among what is possible, and more comes in wherever memory allows.
  bool strict = true;
  PatternShape shape;
  double period = 1;
};

/// Recipes to begin with; each prefix is a sensible set.
std::vector<Recipe> firstRecipes(const Instance &instance);

/// A recipe beside the given one.
Recipe mutate(const Instance &instance, const Recipe &recipe,
              std::mt19937 &random);

/// Carries recipes and orders out.
class Kitchen {
public:
  Kitchen(const Instance &instance, const Costs &costs);

  /// False where the recipe does not fit the limits or exceeds `giveUpNs`.
  bool run(const Recipe &recipe, int64_t giveUpNs = kNoLimit);
  /// The forwards and backward_inputs of every rank in the given order. False
  /// also where they cannot be executed.
  bool run(const Sequence &sequence, FillRules rules);

  /// Changes an order that can be executed as improveOrder does; `step` is
  /// called after each change that was made, which counts as the last run.
  void improve(Sequence &sequence, FillRules rules, int64_t effort,
               int64_t boundNs, const std::function<void()> &step);

  // Of the last run that was true.
  Score score() const { return last; }
  std::vector<std::vector<Action>> order() const;

  /// Replaces the limit of every rank that has a larger one, for the runs that
  /// follow.
  void lowerLimits(int64_t bytes);
  /// Actions run so far, in all runs: what the effort is measured in. Those of
  /// a given order take about a quarter of the time of the others.
  int64_t effort() const {
    return greedy.effort() + filler.effort() / kFillerRate;
  }

private:
  static constexpr int64_t kFillerRate = 4;

  void addCaps(const Recipe &recipe);

  const Instance &instance;
  int64_t periodNs;
  Greedy greedy;
  WeightGradFiller filler;
  bool lastIsSequence = false;
  Score last;
  Policy policy;
  Pattern pattern;
};

} // namespace moe::schedule::search
