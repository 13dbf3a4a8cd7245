//===- OrderSearch.cpp - orders of steps that suit budgets ----------------===//

#include "driver/OrderSearch.h"

#include "compiler/Schedule/Generators.h"
#include "driver/BudgetStep.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace moe::driver {

Result<Chosen> chosenBy(const Chooser &chooser, const PlanBudget &budget,
                        optimize::Effort effort) {
  return chooser.choose(budget.room(chooser.rankCount()), effort);
}

/// Orders with as many weight gradients waiting differ by little.
static constexpr int kMostAlike = 2;

void addOrder(std::vector<PromisedOrder> &orders, OrderedTrial ordered,
              const Chosen &chosen) {
  PromisedOrder made{std::move(ordered), chosen.excessBytes, chosen.stepNs};
  auto valueOf = [](const PromisedOrder &order) {
    return std::pair(order.excessBytes, order.stepNs);
  };
  const auto place = std::find_if(orders.begin(), orders.end(),
                                  [&](const PromisedOrder &order) {
                                    return valueOf(order) > valueOf(made);
                                  });
  const int64_t pending = made.ordered.trial.mostPending;
  orders.insert(place, std::move(made));
  int alike = 0;
  std::erase_if(orders, [&](const PromisedOrder &order) {
    return order.ordered.trial.mostPending == pending && ++alike > kMostAlike;
  });
}

namespace {

using Stages = std::vector<schedule::StageCosts>;

/// What compares orders.
constexpr optimize::Effort kEffort = optimize::Effort::brief;

/// How many weight gradients of a rank may wait, from what holds least on.
constexpr std::array<int64_t, 5> kPending = {0, 1, 2, 4, schedule::kAnyPending};
/// Of those in a row, that are no better for the same stages.
constexpr int kMostMisses = 2;
/// For the choices of how many orders others are made, and where steps have
/// many actions.
constexpr int kMostRounds = 8, kMostRoundsOfMany = 3;
constexpr int64_t kManyActions = 8192;
/// And for those of the best, as plans have them.
constexpr int kMostRefined = 2;
/// Beside that for any budget, those that are made for one.
constexpr int kMostSearches = 2, kMostSearchesOfMany = 1;
/// More than any machine has.
constexpr int64_t kAnyBudget = int64_t{1} << 50;

constexpr std::array kFields = {
    &schedule::StageCosts::forwardNs, &schedule::StageCosts::inputGradNs,
    &schedule::StageCosts::weightGradNs, &schedule::StageCosts::savedBytes,
    &schedule::StageCosts::weightGradBytes};

/// As many stages that all cost the mean of these.
Stages evened(const Stages &stages) {
  schedule::StageCosts mean;
  for (auto field : kFields) {
    for (const schedule::StageCosts &stage : stages)
      mean.*field += stage.*field;
    mean.*field /= static_cast<int64_t>(stages.size());
  }
  return Stages(stages.size(), mean);
}

Stages halfway(Stages stages, const Stages &others) {
  for (size_t s = 0; s < stages.size(); ++s)
    for (auto field : kFields)
      stages[s].*field = (stages[s].*field + others[s].*field) / 2;
  return stages;
}

bool hasManyActions(const schedule::Schedule &order) {
  return 3 * order.problem.stages() * order.problem.microbatches > kManyActions;
}

} // namespace

/// For one budget, best first: orders are made for the choices for the best
/// order that none have been made for.
class OrderSearch::Run {
public:
  Run(OrderSearch &search, const PlanBudget &budget)
      : search(search), budget(budget) {}

  Result<std::vector<PromisedOrder>> run() {
    Result<Chosen> chosen = chosenBy(*search.start.chooser, budget, kEffort);
    if (!chosen)
      return chosen.error();
    note(search.start, *chosen);
    const Stages &given = search.start.trial.costs.stages;
    const Stages even = evened(given);
    for (const Stages &stages : {given, even, halfway(given, even)})
      tryPending(stages, 0, kPending.size());
    for (int round = 0; round < mostRounds(); ++round) {
      auto next = std::min_element(
          orders.begin(), orders.end(), [](const Known &a, const Known &b) {
            return std::pair(a.isDone, a.value) < std::pair(b.isDone, b.value);
          });
      if (next->isDone)
        break;
      next->isDone = true;
      tryAround(Stages(next->stages), next->ordered->trial.mostPending);
    }
    // What the plan's stages cost, and not only what was compared.
    for (int round = 0; round < kMostRefined && mostRounds() > 0; ++round) {
      const OrderedTrial &first = best.front().ordered;
      Result<Chosen> fast =
          chosenBy(*first.chooser, budget, optimize::Effort::fast);
      if (!fast)
        break;
      const schedule::Schedule *before = &first.chooser->steps();
      tryAround(stagesOf(*fast), first.trial.mostPending);
      if (before == &best.front().ordered.chooser->steps())
        break;
    }
    return std::move(best);
  }

private:
  /// What choices exceed the budget by, and what they take.
  using Value = std::pair<int64_t, int64_t>;

  int mostRounds() const {
    // What needs least was among the first, or next to it.
    if (budget.wholeBytes == 0)
      return 0;
    return hasManyActions(search.start.chooser->steps()) ? kMostRoundsOfMany
                                                         : kMostRounds;
  }

  struct Known {
    const OrderedTrial *ordered;
    Stages stages; ///< what its choices cost
    Value value;
    bool isDone = false; ///< orders were made for its choices
  };

  /// Of all copies of the model.
  Stages stagesOf(const Chosen &chosen) const {
    Stages stages;
    const schedule::ScheduleProblem &steps =
        search.start.chooser->steps().problem;
    for (int64_t copy = 0; copy < steps.replicas(); ++copy)
      stages.insert(stages.end(), chosen.stages.begin(), chosen.stages.end());
    return stages;
  }

  Value note(const OrderedTrial &ordered, const Chosen &chosen) {
    const Value value(chosen.excessBytes, chosen.stepNs);
    orders.push_back({&ordered, stagesOf(chosen), value});
    addOrder(best, ordered, chosen);
    return value;
  }

  bool isKnown(const schedule::Schedule &steps) const {
    return std::any_of(orders.begin(), orders.end(), [&](const Known &known) {
      return known.ordered->chooser->steps() == steps;
    });
  }

  /// With as many weight gradients waiting, and the next fewer and more.
  void tryAround(const Stages &stages, int64_t mostPending) {
    const auto at = static_cast<size_t>(
        std::find(kPending.begin(), kPending.end(), mostPending) -
        kPending.begin());
    tryPending(stages, at > 0 ? at - 1 : at, std::min(at + 2, kPending.size()));
  }

  /// Orders for such stages, with so many weight gradients waiting as a part of
  /// kPending says.
  void tryPending(const Stages &stages, size_t from, size_t to) {
    std::optional<Value> least;
    int misses = 0;
    for (size_t i = from; i < to && misses < kMostMisses; ++i) {
      std::optional<Value> value = tryOrder(stages, kPending[i]);
      if (!value)
        continue;
      const bool isBetter = !least || *value < *least;
      misses = isBetter ? 0 : misses + 1;
      if (isBetter)
        least = value;
    }
  }

  /// None: there is no such order, or it is known.
  std::optional<Value> tryOrder(const Stages &stages, int64_t mostPending) {
    const OrderedTrial *ordered = search.orderFor(stages, mostPending);
    if (!ordered || isKnown(ordered->chooser->steps()))
      return std::nullopt;
    Result<Chosen> chosen = chosenBy(*ordered->chooser, budget, kEffort);
    if (!chosen)
      return std::nullopt;
    return note(*ordered, *chosen);
  }

  OrderSearch &search;
  const PlanBudget &budget;
  std::vector<Known> orders;
  std::vector<PromisedOrder> best; ///< best first
};

OrderSearch::OrderSearch(const Inputs &inputs, Compiler &compiler,
                         OrderedTrial first)
    : inputs(inputs), compiler(compiler), start(std::move(first)) {}

const OrderedTrial *OrderSearch::orderFor(const Stages &stages,
                                          int64_t mostPending) {
  // Choices for different orders, and within different budgets, often cost the
  // same.
  for (const Made &each : made)
    if (each.mostPending == mostPending && each.stages == stages)
      return each.ordered ? &*each.ordered : nullptr;
  Made &added = made.emplace_back(Made{stages, mostPending, std::nullopt});
  Trial trial = start.trial;
  trial.costs.stages = stages;
  trial.mostPending = mostPending;
  Result<OrderedTrial> ordered =
      orderBy(inputs, compiler, std::move(trial), start.chooser.get());
  if (!ordered)
    return nullptr;
  added.ordered = std::move(*ordered);
  return &*added.ordered;
}

Result<std::vector<PromisedOrder>>
OrderSearch::findFor(const PlanBudget &budget) {
  if (!start.goesByCosts())
    return std::vector<PromisedOrder>{{start, 0, 0}};
  auto known = found.find(budget.wholeBytes);
  if (known == found.end()) {
    Result<std::vector<PromisedOrder>> orders = Run(*this, budget).run();
    if (!orders)
      return orders.error();
    known = found.emplace(budget.wholeBytes, std::move(*orders)).first;
  }
  return known->second;
}

Result<std::vector<PromisedOrder>>
OrderSearch::findWithin(const PlanBudget &budget) {
  if (!start.goesByCosts())
    return findFor(budget);
  std::vector<PromisedOrder> best;
  std::vector<const schedule::Schedule *> weighed;
  auto add = [&](int64_t bytes) -> Result<bool> {
    PlanBudget searched = budget;
    searched.wholeBytes = bytes;
    Result<std::vector<PromisedOrder>> orders = findFor(searched);
    if (!orders)
      return orders.error();
    for (const PromisedOrder &each : *orders) {
      const schedule::Schedule &steps = each.ordered.chooser->steps();
      if (std::any_of(
              weighed.begin(), weighed.end(),
              [&](const schedule::Schedule *other) { return *other == steps; }))
        continue;
      weighed.push_back(&steps);
      Result<Chosen> chosen = chosenBy(*each.ordered.chooser, budget, kEffort);
      if (chosen)
        addOrder(best, each.ordered, *chosen);
    }
    return orders->front().fits();
  };
  Result<bool> fits = add(kAnyBudget);
  BudgetStep step = BudgetStep::within(budget.wholeBytes)
                        .roundedDown(BudgetStep::kOfFourBits);
  const int most = hasManyActions(start.chooser->steps()) ? kMostSearchesOfMany
                                                          : kMostSearches;
  for (int searches = 0;
       searches < most && fits && *fits && step.bytes() > budget.reserveBytes;
       ++searches) {
    fits = add(step.bytes());
    step.index = std::max<int64_t>(0, step.index - BudgetStep::kOfFourBits);
  }
  if (!fits)
    return fits.error();
  return best;
}

} // namespace moe::driver
