#include "compiler/Schedule/SearchRecipe.h"

#include "compiler/Schedule/OrderImprovement.h"

#include <algorithm>
#include <cmath>

namespace moe::schedule::search {

static size_t passOf(const Instance &instance, size_t stage) {
  return std::min<size_t>(1,
                          static_cast<size_t>(instance.stages[stage].position /
                                              instance.problem.ranks));
}

/// Recipes that are always tried first.
constexpr size_t kFirst = 6;

std::vector<Recipe> firstRecipes(const Instance &instance) {
  bool many = instance.problem.stagesPerRank > 1;
  bool overlaps = !instance.pairNs.empty();
  std::vector<Recipe> recipes;
  auto add = [&](Recipe recipe) {
    // A run with pairs first: where they are worth something, they are worth
    // much.
    if (overlaps) {
      recipe.policy.overlap = true;
      recipes.push_back(recipe);
      recipe.policy.overlap = false;
    }
    recipes.push_back(std::move(recipe));
  };
  auto rules = [&](double fill, Turn turn, Chunk backwardChunk, bool cautious) {
    Recipe recipe;
    recipe.fill = {fill, fill};
    recipe.policy.turn = turn;
    recipe.policy.backwardChunk = backwardChunk;
    recipe.policy.cautious = cautious;
    add(recipe);
    recipe.policy.patience = 0.5;
    add(recipe);
  };
  for (bool cautious : {false, true}) {
    if (cautious && !many)
      break; // one stage a rank: the same
    for (double fill : {0.0, 1.0, 1.25, 1.5, 2.0})
      for (Turn turn : {Turn::backward, Turn::alternate, Turn::forward})
        for (Chunk chunk : {Chunk::deep, Chunk::shallow, Chunk::oldest})
          if (many || chunk == Chunk::deep)
            rules(fill, turn, chunk, cautious);
    if (cautious)
      break;
    constexpr std::array<double, 3> kStretches = {1, 2, 3};
    for (double forwardLate : kStretches)
      for (double forwardEarly : kStretches)
        for (double backwardLate : kStretches)
          for (double backwardEarly : kStretches) {
            if (!many && (forwardLate != 1 || backwardLate != 1))
              continue;
            Recipe recipe;
            recipe.usesPattern = true;
            recipe.shape.forwardStretch = {forwardEarly, forwardLate};
            recipe.shape.backwardStretch = {backwardEarly, backwardLate};
            for (bool even : {true, false}) {
              recipe.shape.even = even;
              recipe.policy.mostPending = even ? kNoLimit : 1;
              recipe.strict = true;
              recipes.push_back(recipe);
              recipe.policy.mostPending = kNoLimit;
              recipe.strict = false;
              recipes.push_back(recipe);
            }
          }
  }
  // The first few as they are, the others mixed: however many are tried, they
  // are of all kinds.
  std::mt19937 random(2);
  for (size_t i = recipes.size(); i > kFirst + 1; --i)
    std::swap(recipes[i - 1], recipes[kFirst + random() % (i - kFirst)]);
  return recipes;
}

namespace {

template <typename T, size_t N>
T oneOf(std::mt19937 &random, const std::array<T, N> &choices) {
  return choices[random() % N];
}

void mutateFill(const Instance &instance, Recipe &recipe,
                std::mt19937 &random) {
  switch (random() % 4) {
  case 0: { // all passes
    double factor = oneOf<double, 4>(random, {0.85, 0.95, 1.06, 1.2});
    for (double &fill : recipe.fill)
      fill = fill > 0 ? fill * factor : 1;
    break;
  }
  case 1: { // one pass
    double &fill = recipe.fill[random() % 2];
    fill = fill > 0
               ? fill * oneOf<double, 5>(random, {0, 0.8, 0.92, 1.08, 1.25})
               : 1.2;
    break;
  }
  default: { // some neighbouring stages
    size_t stages = instance.stages.size();
    recipe.extra.resize(stages, 0);
    size_t begin = random() % stages;
    size_t end = std::min(stages, begin + 1 + random() % stages);
    int64_t change = random() % 2 ? 1 : -1;
    for (size_t s = begin; s < end; ++s)
      recipe.extra[s] += change;
  }
  }
}

} // namespace

Recipe mutate(const Instance &instance, const Recipe &recipe,
              std::mt19937 &random) {
  Recipe changed = recipe;
  Policy &policy = changed.policy;
  // One change mostly, now and then several.
  do {
    uint32_t kind = random() % 8;
    if (kind < 2) {
      policy.overrun = oneOf<double, 4>(random, {0, 0.3, 0.6, 1});
    } else if (kind == 2) {
      policy.mostPending = oneOf<int64_t, 6>(random, {0, 1, 2, 4, 8, kNoLimit});
    } else if (changed.usesPattern) {
      if (kind == 3) {
        changed.period = 1 + 0.005 * static_cast<double>(random() % 40);
        changed.shape.even =
            random() % 4 ? changed.shape.even : !changed.shape.even;
      } else {
        auto &stretch = random() % 2 ? changed.shape.forwardStretch
                                     : changed.shape.backwardStretch;
        double &factor = stretch[random() % 2];
        if (changed.shape.even)
          factor =
              std::round(factor) + oneOf<double, 4>(random, {-1, 1, -2, 2});
        else
          factor *= oneOf<double, 4>(random, {0.8, 0.93, 1.08, 1.25});
        factor = std::max(factor, 1.0);
      }
    } else if (kind == 3) {
      policy.patience = oneOf<double, 4>(random, {0, 0.3, 0.6, 1});
    } else if (kind == 4) {
      policy.turn = oneOf<Turn, 3>(
          random, {Turn::backward, Turn::forward, Turn::alternate});
      policy.cautious = random() % 4 == 0;
    } else if (kind == 5) {
      Chunk chunk =
          oneOf<Chunk, 3>(random, {Chunk::deep, Chunk::shallow, Chunk::oldest});
      (random() % 2 ? policy.forwardChunk : policy.backwardChunk) = chunk;
    } else {
      mutateFill(instance, changed, random);
    }
  } while (random() % 3 == 0);
  return changed;
}

static std::vector<ActionHolding> holdingsOf(const Instance &instance) {
  std::vector<ActionHolding> holdings;
  for (const InstanceStage &stage : instance.stages)
    holdings.push_back({stage.costs.savedBytes, stage.costs.weightGradBytes,
                        stage.costs.forwardTransientBytes,
                        stage.costs.backwardTransientBytes});
  return holdings;
}

static std::vector<int64_t> limitsOf(const Instance &instance,
                                     int64_t ceilingBytes) {
  std::vector<int64_t> limits;
  for (const InstanceRank &rank : instance.ranks)
    limits.push_back(std::min(rank.limitBytes, ceilingBytes));
  return limits;
}

Kitchen::Kitchen(const Instance &instance, const Costs &costs)
    : instance(instance), periodNs(leastPeriodNs(instance)), greedy(instance),
      filler(instance.problem, costs, holdingsOf(instance),
             limitsOf(instance, kNoLimit)) {}

void Kitchen::lowerLimits(int64_t bytes) {
  greedy.lowerLimits(bytes);
  filler.setLimits(limitsOf(instance, bytes));
}

std::vector<std::vector<Action>> Kitchen::order() const {
  return lastIsSequence ? filler.actions() : greedy.order();
}

bool Kitchen::run(const Sequence &sequence, FillRules rules) {
  rules.keepsToBuffers = true;
  if (!filler.run(sequence, rules))
    return false;
  lastIsSequence = true;
  last = {filler.makespanNs(), filler.peak()};
  return true;
}

void Kitchen::improve(Sequence &sequence, FillRules rules, int64_t effort,
                      int64_t boundNs, const std::function<void()> &step) {
  ImprovementOptions options;
  options.rules = rules;
  options.rules.keepsToBuffers = true;
  options.effort = effort * kFillerRate;
  options.boundNs = boundNs;
  options.step = [&] {
    lastIsSequence = true;
    last = {filler.makespanNs(), filler.peak()};
    step();
  };
  (void)improveOrder(filler, sequence, options);
}

bool Kitchen::run(const Recipe &recipe, int64_t giveUpNs) {
  policy = recipe.policy;
  policy.caps.clear();
  if (recipe.usesPattern) {
    PatternShape shape = recipe.shape;
    shape.periodNs = static_cast<int64_t>(
        std::ceil(recipe.period * static_cast<double>(periodNs)));
    if (!placePattern(instance, shape, pattern))
      return false;
    if (recipe.strict) {
      FillRules rules;
      rules.overrun = policy.overrun;
      rules.mostPending = policy.mostPending;
      rules.mostNs = giveUpNs;
      return run(repeat(instance, pattern, shape.periodNs), rules);
    }
    policy.forwardDueNs = pattern.forwardNs;
    policy.backwardDueNs = pattern.backwardNs;
    policy.periodNs = shape.periodNs;
  } else {
    addCaps(recipe);
  }
  if (!greedy.run(policy, giveUpNs))
    return false;
  lastIsSequence = false;
  last = {greedy.makespanNs(), greedy.peakBytes()};
  return true;
}

void Kitchen::addCaps(const Recipe &recipe) {
  if (recipe.fill[0] <= 0 && recipe.fill[1] <= 0)
    return;
  for (size_t s = 0; s < instance.stages.size(); ++s) {
    double fill = recipe.fill[passOf(instance, s)];
    double underWay = fill *
                      static_cast<double>(instance.stages[s].roundTripNs) /
                      static_cast<double>(periodNs);
    int64_t cap =
        fill > 0
            ? static_cast<int64_t>(std::ceil(std::min(underWay - 1e-9, 1e9)))
            : instance.problem.microbatches;
    if (!recipe.extra.empty())
      cap += recipe.extra[s];
    policy.caps.push_back(std::max<int64_t>(1, cap));
  }
}

} // namespace moe::schedule::search
