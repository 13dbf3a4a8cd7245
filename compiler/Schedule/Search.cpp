#include "compiler/Schedule/Search.h"

#include "compiler/Schedule/FuseBackwards.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/SearchLocal.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <tuple>

namespace moe::schedule {

using namespace search;

namespace {

constexpr const char *kSearchOrigin = "search";

/// The best order so far.
struct Best {
  Score score;
  bool searched = true; ///< generators win ties
  std::string origin;
  size_t structure = 0;
  std::vector<std::vector<Action>> order;

  bool beats(const Best &other) const {
    return std::tie(score, searched, origin, structure) <
           std::tie(other.score, other.searched, other.origin, other.structure);
  }
};

/// The search in one structure.
class Lab {
public:
  Lab(const Structure &structure, size_t index, LowerBound bound)
      : structure(structure), index(index), bound(std::move(bound)),
        whole(structure.problem, structure.costs),
        kitchen(whole, structure.costs) {
    best.structure = index;
    best.origin = kSearchOrigin;
  }

  const LowerBound &lowerBound() const { return bound; }
  const Best &result() const { return best; }
  std::vector<SearchCandidate> candidates() const {
    std::vector<SearchCandidate> all = found;
    if (searched.makespanNs < kNoLimit)
      all.push_back(
          {kSearchOrigin, index, searched.makespanNs, searched.peakBytes});
    return all;
  }
  bool atBound() const { return best.score.makespanNs <= bound.makespanNs; }

  /// All generators that the problem admits, with their variants.
  void tryGenerators() {
    for (const GeneratorInfo &info : generators()) {
      std::optional<Best> mine;
      for (const GeneratorOptions &options : variants()) {
        Result<Schedule> schedule =
            generate(info.name, structure.problem, options);
        if (!schedule)
          continue;
        if (structure.wholeBackwards)
          makeBackwardsWhole(schedule->ranks);
        Result<Evaluation> evaluation = evaluate(*schedule, structure.costs);
        if (!evaluation || !withinLimits(*evaluation, structure.costs))
          continue;
        Best candidate{{evaluation->makespanNs, evaluation->peakBytes},
                       false,
                       std::string(info.name),
                       index,
                       std::move(schedule->ranks)};
        if (!mine || candidate.score < mine->score)
          mine = std::move(candidate);
      }
      if (!mine)
        continue;
      found.push_back(
          {mine->origin, index, mine->score.makespanNs, mine->score.peakBytes});
      if (mine->beats(best))
        best = std::move(*mine);
    }
    if (!best.order.empty())
      earlier.push_back(best);
  }

  /// Returns to the best order whose steps, with transfers, can be executed.
  /// Checked at the end of each part of the search and not for every order: it
  /// takes as long as many runs, and is hardly ever the case that an order
  /// needs more buffers than there are. False: it was not the best.
  bool settle() {
    if (settled)
      return true;
    bool first = true;
    while (!canBeExecuted(best)) {
      first = false;
      if (earlier.empty()) {
        best = {};
        best.structure = index;
        best.origin = kSearchOrigin;
        runAlone();
        break;
      }
      best = std::move(earlier.back());
      earlier.pop_back();
    }
    if (!first)
      searched = best.searched ? best.score : Score{};
    earlier.clear();
    if (!best.order.empty())
      earlier.push_back(best);
    settled = true;
    return first;
  }

  /// Tries what recipes to begin with.
  void tryFirstRecipes(int64_t effort) {
    chooseSize(effort);
    int64_t endEffort = bench().effort() + effort;
    for (const Recipe &recipe : firstRecipes(benchInstance()))
      if (bench().effort() < endEffort)
        rate(recipe, 1.05);
    serve();
  }

  /// Changes the best recipes.
  void changeRecipes(int64_t effort) {
    int64_t endEffort = bench().effort() + effort;
    while (!pool.empty() && bench().effort() < endEffort && !atBound()) {
      // The better ones more often.
      size_t first = random() % pool.size(), second = random() % pool.size();
      int64_t before = bench().effort();
      rate(
          mutate(benchInstance(), pool[std::min(first, second)].recipe, random),
          1.02);
      if (bench().effort() == before)
        --endEffort; // comes to an end also where nothing can run
    }
    serve();
  }

  /// Small changes to the best order, and to what others of the pool make.
  void polish(int64_t effort) {
    if (best.order.empty() || atBound())
      return;
    std::vector<Sequence> starts;
    if (isSequential(best.order))
      starts.push_back(splitSequenceOf(best.order));
    Score last = best.score;
    for (size_t i = 0; i < pool.size() && starts.size() < kStarts; ++i) {
      if (pool[i].score == last || !kitchen.run(pool[i].recipe))
        continue;
      std::vector<std::vector<Action>> order = kitchen.order();
      if (!isSequential(order))
        continue;
      last = pool[i].score;
      starts.push_back(splitSequenceOf(order));
    }
    Score score = best.score;
    for (const Sequence &start : starts)
      if (!atBound())
        improve(kitchen, start, score,
                effort / static_cast<int64_t>(starts.size()), bound.makespanNs,
                [&] { take(); });
  }

  /// The same makespan with less memory.
  void lowerPeak(int64_t effort) {
    int64_t endEffort = kitchen.effort() + effort;
    int64_t least = 0;
    for (const InstanceRank &rank : whole.ranks)
      least = std::max(least, whole.stages[rank.stages.back()].reserveBytes);
    int64_t most = best.score.peakBytes - 1;
    while (least <= most && kitchen.effort() < endEffort) {
      int64_t middle = least + (most - least) / 2;
      kitchen.lowerLimits(middle);
      bool lower = false;
      for (size_t i = 0; i < pool.size() && !lower; ++i) {
        if (kitchen.effort() > endEffort)
          break;
        lower = takeRun(pool[i].recipe);
      }
      if (lower)
        most = std::min(middle, best.score.peakBytes) - 1;
      else
        least = middle + 1;
    }
    kitchen.lowerLimits(kNoLimit);
  }

private:
  static constexpr int64_t kRunsAtLeast = 200;
  static constexpr size_t kDearRuns = 4;
  static constexpr size_t kPool = 16;
  static constexpr size_t kStarts = 3;
  static constexpr size_t kEarlier = 8;

  struct Rated {
    Recipe recipe;
    Score score;
  };

  std::vector<GeneratorOptions> variants() const {
    std::vector<GeneratorOptions> result = {{structure.costs, 0}};
    const ScheduleProblem &problem = structure.problem;
    if (problem.placement == Placement::loop && problem.stagesPerRank > 1 &&
        problem.ranks > 1)
      result.push_back({structure.costs, (problem.ranks + 1) / 2});
    return result;
  }

  /// A run of everything is dear where there are very many microbatches: what
  /// is good for fewer is found with those.
  void chooseSize(int64_t effort) {
    auto size = static_cast<int64_t>(whole.actions);
    if (size * kRunsAtLeast <= effort)
      return;
    const ScheduleProblem &problem = structure.problem;
    int64_t count = effort / (kRunsAtLeast * (size / problem.microbatches));
    count = std::max(count, problem.ranks);
    count = (count + 1) / 2 * 2; // both copies of the model get as many
    if (count >= problem.microbatches)
      return;
    ScheduleProblem fewer = problem;
    fewer.microbatches = count;
    part = std::make_unique<Instance>(fewer, structure.costs);
    partKitchen = std::make_unique<Kitchen>(*part, structure.costs);
  }
  const Instance &benchInstance() const { return part ? *part : whole; }
  Kitchen &bench() { return part ? *partKitchen : kitchen; }

  /// Puts a recipe into the pool of the best, best first. A run that is given
  /// up is cheap: what is far off needs no score.
  void rate(const Recipe &recipe, double slack) {
    int64_t giveUpNs =
        pool.size() < kPool
            ? kNoLimit
            : static_cast<int64_t>(
                  slack * static_cast<double>(pool[0].score.makespanNs));
    if (!bench().run(recipe, giveUpNs))
      return;
    Rated rated{recipe, bench().score()};
    if (!part)
      take();
    auto at = std::upper_bound(
        pool.begin(), pool.end(), rated,
        [](const Rated &a, const Rated &b) { return a.score < b.score; });
    pool.insert(at, std::move(rated));
    if (pool.size() > kPool)
      pool.pop_back();
  }

  /// Runs the best recipes on the whole where they were tried on a part.
  void serve() {
    for (size_t i = 0; part && i < pool.size() && i < kDearRuns; ++i)
      takeRun(pool[i].recipe);
  }

  /// Runs on the whole instance, keeps the order where it is the best.
  bool takeRun(const Recipe &recipe) {
    return kitchen.run(recipe, best.score.makespanNs) && take();
  }

  bool take() {
    Score score = kitchen.score();
    searched = std::min(searched, score);
    if (score >= best.score)
      return false;
    if (!settled) {
      // The first stays: it is the last that was sure, where there was one.
      if (earlier.size() == kEarlier)
        earlier.erase(earlier.begin() + 1);
      earlier.push_back(std::move(best));
    }
    best = {score, true, kSearchOrigin, index, kitchen.order()};
    if (structure.wholeBackwards)
      makeBackwardsWhole(best.order);
    settled = false;
    return true;
  }

  /// Generators have made sure of theirs.
  bool canBeExecuted(const Best &one) const {
    return !one.searched ||
           (!one.order.empty() &&
            verify(insertTransfers(
                {kSearchOrigin, structure.problem, one.order})));
  }

  /// One microbatch at a time in every stage: gets to its end with any buffers.
  void runAlone() {
    Recipe recipe;
    recipe.fill = {1e-6, 1e-6};
    takeRun(recipe);
  }

  const Structure &structure;
  size_t index;
  LowerBound bound;
  Instance whole;
  Kitchen kitchen;
  std::unique_ptr<Instance> part; ///< with fewer microbatches, or none
  std::unique_ptr<Kitchen> partKitchen;
  std::mt19937 random{1};
  std::vector<Rated> pool;
  std::vector<SearchCandidate> found;
  Score searched;
  Best best;
  /// What was the best before, the latest last.
  std::vector<Best> earlier;
  bool settled = true; ///< the best can be executed
};

} // namespace

Status Structure::check() const {
  MOE_RETURN_IF_ERROR(problem.check());
  MOE_RETURN_IF_ERROR(costs.check(problem));
  for (const StageCosts &stage : costs.stages)
    if (wholeBackwards && (stage.weightGradNs || stage.weightGradBytes))
      return Error{"schedule costs: a stage with whole backwards has weight "
                   "gradients of their own"};
  return {};
}

Result<SearchResult> searchSchedule(std::span<const Structure> structures,
                                    const SearchOptions &options) {
  if (structures.empty())
    return Error{"schedule: the search was given no structure"};
  std::deque<Lab> labs; // they stay where they are
  std::optional<Error> failure;
  for (size_t i = 0; i < structures.size(); ++i) {
    const Structure &structure = structures[i];
    MOE_RETURN_IF_ERROR(structure.check());
    Result<LowerBound> bound = lowerBound(structure.problem, structure.costs);
    if (bound)
      labs.emplace_back(structure, i, *bound);
    else if (!failure)
      failure = bound.error();
  }
  if (labs.empty())
    return *failure;
  if (options.useGenerators)
    for (Lab &lab : labs)
      lab.tryGenerators();
  auto bestLab = [&] {
    size_t at = 0;
    for (size_t i = 1; i < labs.size(); ++i)
      if (labs[i].result().beats(labs[at].result()))
        at = i;
    return at;
  };
  // What cannot win any more costs no effort.
  std::vector<size_t> order(labs.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    int64_t first = labs[a].lowerBound().makespanNs;
    int64_t second = labs[b].lowerBound().makespanNs;
    return first != second ? first < second : a < b;
  });
  int64_t part = options.effort / 10;
  for (size_t i : order)
    if (labs[i].lowerBound().makespanNs <=
        labs[bestLab()].result().score.makespanNs)
      labs[i].tryFirstRecipes(3 * part / static_cast<int64_t>(labs.size()));
  // Only the best has to be sure; what it falls back to may not be the best.
  auto settleBest = [&]() -> Lab & {
    while (!labs[bestLab()].settle()) {
    }
    return labs[bestLab()];
  };
  settleBest().changeRecipes(3 * part);
  settleBest().polish(3 * part);
  settleBest().lowerPeak(part);
  Lab &winner = settleBest();

  const Best &best = winner.result();
  if (best.order.empty())
    return Error{"schedule: the search found nothing within the limits, which "
                 "are above what every schedule needs; raise them, or the "
                 "effort of the search"};
  SearchResult result;
  result.structure = best.structure;
  result.origin = best.origin;
  result.schedule = {"auto", structures[best.structure].problem, best.order};
  const Costs &costs = structures[best.structure].costs;
  Result<Evaluation> evaluation = evaluate(result.schedule, costs);
  if (!evaluation)
    return evaluation.error();
  // Gradients that leave later may be in the way of others.
  Schedule fused = fuseBackwards(result.schedule, costs, *evaluation);
  if (verify(insertTransfers(fused))) {
    result.schedule = std::move(fused);
    evaluation = evaluate(result.schedule, costs);
    if (!evaluation)
      return evaluation.error();
  }
  result.evaluation = std::move(*evaluation);
  result.structureBound = winner.lowerBound();
  result.bound = labs[order.front()].lowerBound();
  if (result.bound.makespanNs > 0)
    result.gap = static_cast<double>(result.evaluation.makespanNs) /
                     static_cast<double>(result.bound.makespanNs) -
                 1;
  for (const Lab &lab : labs) {
    std::vector<SearchCandidate> found = lab.candidates();
    result.candidates.insert(result.candidates.end(), found.begin(),
                             found.end());
  }
  return result;
}

} // namespace moe::schedule
