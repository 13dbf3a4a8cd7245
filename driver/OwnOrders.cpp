//===- OwnOrders.cpp - orders of steps beyond the published ones ----------===//

#include "driver/OwnOrders.h"

#include "compiler/Schedule/FuseBackwards.h"
#include "driver/OrderSearch.h"
#include "support/Parallel.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

namespace moe::driver {

namespace {

/// Of schedule::SearchOptions, for each order: about a tenth of a second.
constexpr int64_t kSearchEffort = 1'000'000;
/// Orders made for each other's choices.
constexpr int kMostRounds = 3;

Result<Candidate> candidateFor(const Inputs &inputs, Compiler &compiler,
                               const PlanBudget &budget,
                               schedule::Schedule order, std::string origin,
                               const Chooser *like) {
  Trial trial{std::string(kAuto)};
  order.name = kAuto;
  trial.order = std::make_shared<const schedule::Schedule>(std::move(order));
  Result<OrderedTrial> ordered =
      orderBy(inputs, compiler, std::move(trial), like);
  if (!ordered)
    return ordered.error();
  return candidateOf(std::move(*ordered), budget, std::move(origin));
}

} // namespace

Result<Candidate> candidateOf(OrderedTrial ordered, const PlanBudget &budget,
                              std::string origin) {
  Result<Chosen> promised =
      chosenBy(*ordered.chooser, budget, optimize::Effort::brief);
  if (!promised)
    return promised.error();
  return Candidate{std::move(ordered), std::move(*promised), std::move(origin)};
}

Result<schedule::Structure> structureOf(const Inputs &inputs,
                                        Compiler &compiler,
                                        const PlanBudget &budget,
                                        const Candidate &candidate) {
  const Chooser &chooser = *candidate.ordered.chooser;
  const Chosen &promised = candidate.promised;
  const schedule::Schedule &order = chooser.steps();
  const schedule::ScheduleProblem &problem = order.problem;
  Techniques techniques = techniquesOf(inputs.request, order);
  const bool isWhole = !techniques.splitsBackward;
  techniques.overlaps = isWhole && problem.stagesPerRank > 1;
  Result<ModelOptions> options = compiler.options(techniques);
  if (!options)
    return options.error();
  OrderCosts model(std::move(*options), order, chooser.transferNs());
  if (techniques.overlaps)
    for (int64_t forward = 0; forward < problem.stages(); ++forward)
      for (int64_t backward = 0; backward < problem.stages(); ++backward)
        if (problem.rankOf(forward) == problem.rankOf(backward))
          model.pairs.insert({forward, backward});
  std::vector<schedule::StageCosts> stages = promised.stages;
  if (isWhole)
    for (schedule::StageCosts &stage : stages)
      stage.weightGradBytes = 0;
  schedule::Structure structure{
      problem, model.stepCosts(promised.counts, stages), isWhole};
  Result<schedule::Evaluation> held =
      schedule::evaluate(order, structure.costs);
  if (!held)
    return held.error();
  for (size_t rank = 0; rank < held->ranks.size(); ++rank) {
    const int64_t besides =
        promised.ranks[rank].peakBytes - held->ranks[rank].peakBytes;
    structure.costs.limitBytes.push_back(std::max<int64_t>(
        0, budget.wholeBytes - budget.reserveBytes - besides));
  }
  return structure;
}

std::vector<Candidate> searchFrom(const Inputs &inputs, Compiler &compiler,
                                  const PlanBudget &budget,
                                  std::vector<Candidate> seeds) {
  struct Search {
    size_t seed = 0; ///< that it may improve
    schedule::Structure structure;
    std::optional<Candidate> found;
  };
  std::vector<size_t> improving(seeds.size());
  std::iota(improving.begin(), improving.end(), 0);
  std::vector<std::string> origins;
  for (const Candidate &seed : seeds)
    origins.push_back("a search from " + seed.origin);
  for (int round = 0; round < kMostRounds; ++round) {
    std::vector<Search> searches;
    for (size_t seed : improving)
      if (Result<schedule::Structure> structure =
              structureOf(inputs, compiler, budget, seeds[seed]))
        searches.push_back({seed, std::move(*structure), std::nullopt});
    inParallel(
        searches.size(), jobsOrDefault(inputs.request.jobs), [&](size_t index) {
          Search &search = searches[index];
          const Chooser &chooser = *seeds[search.seed].ordered.chooser;
          Result<schedule::SearchResult> result = schedule::searchSchedule(
              {&search.structure, 1}, {kSearchEffort, false});
          if (!result || result->schedule.ranks == chooser.steps().ranks)
            return;
          Result<Candidate> next = candidateFor(inputs, compiler, budget,
                                                std::move(result->schedule),
                                                origins[search.seed], &chooser);
          if (next)
            search.found = std::move(*next);
        });
    improving.clear();
    for (Search &search : searches) {
      Candidate &best = seeds[search.seed];
      if (!search.found || search.found->value() >= best.value())
        continue;
      best = std::move(*search.found);
      improving.push_back(search.seed);
    }
  }
  return seeds;
}

Result<Candidate> withWholeBackwards(const Inputs &inputs, Compiler &compiler,
                                     const PlanBudget &budget,
                                     const Candidate &split) {
  schedule::Schedule order = split.ordered.chooser->steps();
  schedule::makeBackwardsWhole(order.ranks);
  return candidateFor(inputs, compiler, budget, std::move(order),
                      split.origin + " with whole backwards", nullptr);
}

Result<Candidate> searchForUnitCosts(const Inputs &inputs, Compiler &compiler,
                                     const PlanBudget &budget) {
  schedule::ScheduleProblem problem = problemOf(inputs, {std::string(kAuto)});
  MOE_RETURN_IF_ERROR(problem.check());
  const schedule::Structure structure{problem,
                                      schedule::Costs::uniform(problem)};
  Result<schedule::SearchResult> found =
      schedule::searchSchedule({&structure, 1}, {kSearchEffort, false});
  if (!found)
    return found.error();
  return candidateFor(inputs, compiler, budget, std::move(found->schedule),
                      "stages that take the same", nullptr);
}

} // namespace moe::driver
