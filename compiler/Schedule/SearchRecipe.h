//===- SearchRecipe.h - small descriptions of schedules ---------*- C++ -*-===//
//
// A recipe is a handful of numbers that list scheduling turns into a whole
// schedule, whatever the number of microbatches: what the search varies.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/SearchPattern.h"

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

/// Carries recipes out.
class Kitchen {
public:
  explicit Kitchen(const Instance &instance);

  /// False where the recipe does not fit the limits or exceeds `giveUpNs`.
  bool run(const Recipe &recipe, int64_t giveUpNs = kNoLimit);
  Score score() const { return {greedy.makespanNs(), greedy.peakBytes()}; }

  Greedy greedy;

private:
  const Instance &instance;
  int64_t periodNs;
  Policy policy;
  Pattern pattern;
};

} // namespace moe::schedule::search
