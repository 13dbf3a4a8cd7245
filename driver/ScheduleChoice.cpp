//===- ScheduleChoice.cpp - the schedule that suits choices ---------------===//

#include "driver/ScheduleChoice.h"

#include "compiler/Schedule/Generators.h"
#include "driver/ChoiceNotes.h"
#include "driver/OwnOrders.h"
#include "driver/TrialPlanner.h"
#include "support/Parallel.h"
#include "support/Words.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moe::driver {

namespace {

/// Of a step, by what a brief account that says it is longer may be wrong.
constexpr int64_t kWrongTime = 32;
/// What orders take that are worth a search, as a multiple of the best.
constexpr int64_t kMostTimes = 2;
/// By which parts of the budget the search has less.
constexpr std::array<int64_t, 4> kLess = {0, 1, 2, 4};
constexpr int64_t kLessOf = 32;
/// Where nothing fits, of how many orders the least plan is made.
constexpr size_t kMostLeast = 3;

class ScheduleChoice {
public:
  ScheduleChoice(const Inputs &inputs, Compiler &compiler, bool writes)
      : inputs(inputs), compiler(compiler), budget(budgetOf(inputs)),
        writes(writes), planner(inputs, compiler, /*writes=*/false, {}) {}

  Result<PlanAnswer> run() {
    MOE_RETURN_IF_ERROR(findPublished());
    findOwn();
    sortCandidates();
    for (const Candidate &candidate : candidates)
      tryToFit(candidate);
    const bool isLeast = !best;
    if (isLeast)
      findLeast();
    return finish(isLeast);
  }

private:
  static Prepared preparedOf(const Candidate &candidate) {
    return {candidate.ordered,
            {{candidate.ordered, candidate.promised.excessBytes,
              candidate.promised.stepNs}}};
  }

  static bool isBetterThan(const Candidate &a, const Candidate &b) {
    return a.value() < b.value();
  }

  void sortCandidates() {
    std::sort(candidates.begin(), candidates.end(), isBetterThan);
  }

  /// Makes some that share nothing at the same time, and leaves out those that
  /// cannot be.
  std::vector<Candidate>
  candidatesOf(size_t count, const std::string &progress,
               const std::function<Result<Candidate>(size_t)> &make) {
    std::vector<Result<Candidate>> made(count, Error());
    auto report = [&](size_t done) { tellOf(progress, done); };
    report(0);
    inParallel(
        count, jobsOrDefault(inputs.request.jobs),
        [&](size_t number) { made[number] = make(number); }, report);
    std::vector<Candidate> found;
    for (Result<Candidate> &each : made)
      if (each)
        found.push_back(std::move(*each));
      else if (!failure)
        failure = each.error();
    return found;
  }

  /// Errors: that of any order of such stages, where no schedule has them.
  Status findPublished() {
    for (const schedule::GeneratorInfo &generator : schedule::generators()) {
      // Two copies of the model take twice its parameters and sum gradients in
      // two halves: for those who ask for it.
      if (generator.placement == schedule::Placement::bidirectional)
        continue;
      Result<OrderedTrial> first =
          orderBy(inputs, compiler, {std::string(generator.name)});
      if (first)
        published.push_back(std::move(*first));
      else if (!failure)
        failure = first.error();
    }
    candidates = candidatesOf(
        published.size(), "published orders made for the budget",
        [&](size_t number) -> Result<Candidate> {
          const OrderedTrial &first = published[number];
          Result<Prepared> prepared =
              planner.prepare(first, /*isOneOfMany=*/true);
          if (!prepared)
            return prepared.error();
          return candidateOf(std::move(prepared->orders.front().ordered),
                             budget, first.trial.schedule);
        });
    if (!candidates.empty())
      return {};
    Result<Candidate> unit = searchForUnitCosts(inputs, compiler, budget);
    if (!unit)
      return unit.error();
    published.push_back(unit->ordered);
    candidates.push_back(std::move(*unit));
    return {};
  }

  /// What the search makes of each, and of each with whole backwards: for what
  /// choices cost within the budget, and within somewhat less, which leads to
  /// other orders.
  void findOwn() {
    if (budget.wholeBytes <= budget.reserveBytes)
      return;
    addWhole();
    const std::vector<Candidate> starts = candidates;
    const int64_t leastNs = leastOf(starts);
    std::vector<const Candidate *> worthIt;
    for (const Candidate &start : starts)
      if (start.promised.stepNs / kMostTimes <= leastNs)
        worthIt.push_back(&start);
    for (int64_t less : kLess) {
      PlanBudget smaller = budget;
      smaller.wholeBytes -= budget.wholeBytes * less / kLessOf;
      std::vector<Candidate> seeds = candidatesOf(
          worthIt.size(), "starts of the search weighed", [&](size_t number) {
            const Candidate &start = *worthIt[number];
            return candidateOf(start.ordered, smaller, start.origin);
          });
      tellOf("orders weighed; next those of the search", candidates.size());
      for (Candidate &found :
           searchFrom(inputs, compiler, smaller, std::move(seeds)))
        if (isNew(found)) // before choices are made for it
          addNew(candidateOf(std::move(found.ordered), budget,
                             std::move(found.origin)));
    }
  }

  /// The published ones with whole backwards.
  void addWhole() {
    std::vector<const Candidate *> split;
    for (const Candidate &each : candidates)
      if (schedule::splitsBackwards(each.ordered.chooser->steps()))
        split.push_back(&each);
    for (Candidate &whole :
         candidatesOf(split.size(), "orders with whole backwards made",
                      [&](size_t number) {
                        return withWholeBackwards(inputs, compiler, budget,
                                                  *split[number]);
                      }))
      addNew(std::move(whole));
  }

  static int64_t leastOf(const std::vector<Candidate> &all) {
    return std::min_element(all.begin(), all.end(), isBetterThan)
        ->promised.stepNs;
  }

  bool isNew(const Candidate &found) const {
    const schedule::Schedule &steps = found.ordered.chooser->steps();
    return std::none_of(
        candidates.begin(), candidates.end(), [&](const Candidate &candidate) {
          const schedule::Schedule &own = candidate.ordered.chooser->steps();
          return own.problem == steps.problem && own.ranks == steps.ranks;
        });
  }

  void addNew(Result<Candidate> found) {
    if (found && isNew(*found))
      candidates.push_back(std::move(*found));
  }

  /// As long as that may be quicker than the best.
  void tryToFit(const Candidate &candidate) {
    const int64_t ns = candidate.promised.stepNs;
    if (best && (!candidate.promised.fits() ||
                 ns - ns / kWrongTime >= best->plan.prediction.stepNs))
      return;
    tell(candidate);
    Result<std::optional<PlanAnswer>> fitting =
        planner.fitting(preparedOf(candidate));
    if (!fitting)
      take(candidate, fitting.error());
    else if (*fitting)
      take(candidate, std::move(**fitting));
  }

  /// What needs least, of the orders that exceed no memory at all least:
  /// whatever the budget, the same.
  void findLeast() {
    PlanBudget none = budget;
    none.wholeBytes = 0;
    candidates.clear();
    for (const OrderedTrial &each : published)
      if (Result<Candidate> found =
              candidateOf(each, none, each.trial.schedule))
        candidates.push_back(std::move(*found));
      else if (!failure)
        failure = found.error();
    sortCandidates();
    for (size_t i = 0; i < std::min(kMostLeast, candidates.size()); ++i) {
      tell(candidates[i]);
      take(candidates[i], planner.least(candidates[i].ordered));
    }
  }

  /// An order that no plan can be made of is none to choose from.
  void take(const Candidate &candidate, Result<PlanAnswer> made) {
    if (!made && !failure)
      failure = made.error();
    if (!made || (best && !isBetter(made->plan, best->plan)))
      return;
    best = std::move(*made);
    taken = &candidate;
  }

  void tell(const Candidate &candidate) {
    tellOf("plans tried; next " + candidate.origin, plans++);
  }

  void tellOf(const std::string &what, size_t count) const {
    if (inputs.request.onProgress)
      inputs.request.onProgress(count, 0, what);
  }

  /// `isLeast`: the best is what needs least, whether it fits or not.
  Result<PlanAnswer> finish(bool isLeast) {
    if (!best)
      return *failure;
    if (writes) {
      const TrialPlanner writer(inputs, compiler, true, {});
      Status written = isLeast ? statusOf(writer.least(taken->ordered))
                               : statusOf(writer.fitting(preparedOf(*taken)));
      MOE_RETURN_IF_ERROR(std::move(written));
    }
    std::string note =
        "schedule auto: of " +
        counted(static_cast<int64_t>(candidates.size()), "order") +
        " of steps, weighed with choices, and " +
        counted(static_cast<int64_t>(plans), "plan") +
        " of the most promising, that of " + taken->origin +
        " is the best by its own simulation";
    best->notes.push_back(note);
    best->plan.assumptions.push_back({"schedule", "auto", std::move(note)});
    if (!isLeast)
      best->plan.assumptions.push_back(
          gapOfAnyOrder(*taken->ordered.chooser, best->plan));
    return std::move(*best);
  }

  template <typename Value>
  static Status statusOf(const Result<Value> &result) {
    return result ? Status() : result.error();
  }

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget budget;
  const bool writes;
  const TrialPlanner planner;
  std::vector<OrderedTrial> published; ///< as made for everything kept
  std::vector<Candidate> candidates;
  std::optional<Error> failure; ///< the first
  std::optional<PlanAnswer> best;
  const Candidate *taken = nullptr; ///< that `best` is of
  size_t plans = 0;
};

} // namespace

Result<PlanAnswer> chooseSchedule(const Inputs &inputs, Compiler &compiler,
                                  bool writes) {
  return ScheduleChoice(inputs, compiler, writes).run();
}

} // namespace moe::driver
