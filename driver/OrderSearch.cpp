//===- OrderSearch.cpp - the order of steps that suits a budget -----------===//

#include "driver/OrderSearch.h"

#include "compiler/Schedule/Generators.h"

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
/// For the choices of how many orders others are made, and where steps have few
/// or many actions.
constexpr int kMostRounds = 12, kMostRoundsOfFew = 40, kMostRoundsOfMany = 3;
constexpr int64_t kFewActions = 1024, kManyActions = 8192;

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

/// Best first: orders are made for the choices for the best order that none
/// have been made for.
class OrderSearch {
public:
  OrderSearch(const Inputs &inputs, Compiler &compiler,
              const PlanBudget &budget, const OrderedTrial &first,
              bool isOneOfMany)
      : inputs(inputs), compiler(compiler), budget(budget), first(first),
        isOneOfMany(isOneOfMany) {}

  /// Errors: nothing can be chosen for the first order.
  Result<std::vector<PromisedOrder>> run() {
    Result<Chosen> chosen = chosenBy(*first.chooser, budget, kEffort);
    if (!chosen)
      return chosen.error();
    note(first, *chosen);
    const Stages &given = first.trial.costs.stages;
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
      const auto at = static_cast<size_t>(
          std::find(kPending.begin(), kPending.end(), next->mostPending) -
          kPending.begin());
      tryPending(Stages(next->stages), at > 0 ? at - 1 : at,
                 std::min(at + 2, kPending.size()));
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
    const schedule::ScheduleProblem &steps = first.chooser->steps().problem;
    const int64_t actions = 3 * steps.stages() * steps.microbatches;
    if (actions > kManyActions)
      return kMostRoundsOfMany;
    return actions > kFewActions || isOneOfMany ? kMostRounds
                                                : kMostRoundsOfFew;
  }

  struct Known {
    schedule::Schedule steps;
    int64_t mostPending = 0;
    Stages stages; ///< what its choices cost, of all copies of the model
    Value value;
    bool isDone = false; ///< orders were made for its choices
  };

  Value note(const OrderedTrial &ordered, const Chosen &chosen) {
    const schedule::Schedule &steps = ordered.chooser->steps();
    Stages stages;
    for (int64_t copy = 0; copy < steps.problem.replicas(); ++copy)
      stages.insert(stages.end(), chosen.stages.begin(), chosen.stages.end());
    const Value value(chosen.excessBytes, chosen.stepNs);
    orders.push_back(
        {steps, ordered.trial.mostPending, std::move(stages), value});
    addOrder(best, ordered, chosen);
    return value;
  }

  bool isKnown(const schedule::Schedule &steps) const {
    return std::any_of(orders.begin(), orders.end(), [&](const Known &known) {
      return known.steps == steps;
    });
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
    // Choices for different orders often cost the same.
    const std::pair asked(stages, mostPending);
    if (std::find(made.begin(), made.end(), asked) != made.end())
      return std::nullopt;
    made.push_back(asked);
    Trial trial = first.trial;
    trial.costs.stages = stages;
    trial.mostPending = mostPending;
    Result<OrderedTrial> ordered =
        orderBy(inputs, compiler, std::move(trial), first.chooser.get());
    if (!ordered || isKnown(ordered->chooser->steps()))
      return std::nullopt;
    Result<Chosen> chosen = chosenBy(*ordered->chooser, budget, kEffort);
    if (!chosen)
      return std::nullopt;
    return note(*ordered, *chosen);
  }

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget &budget;
  const OrderedTrial &first;
  const bool isOneOfMany;
  std::vector<Known> orders;
  /// What orders were made for.
  std::vector<std::pair<Stages, int64_t>> made;
  std::vector<PromisedOrder> best; ///< best first
};

} // namespace

Result<std::vector<PromisedOrder>>
findOrders(const Inputs &inputs, Compiler &compiler, const PlanBudget &budget,
           const OrderedTrial &first, bool isOneOfMany) {
  if (!first.goesByCosts())
    return std::vector<PromisedOrder>{{first, 0, 0}};
  return OrderSearch(inputs, compiler, budget, first, isOneOfMany).run();
}

} // namespace moe::driver
