//===- Trials.cpp - plans of one schedule ---------------------------------===//

#include "driver/Trials.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Cost/StageCosts.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/TorchCsv.h"
#include "driver/Corrections.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace moe::driver {

/// The stages of a trial, and where they lie.
static schedule::ScheduleProblem problemOf(const Inputs &inputs,
                                           const Trial &trial) {
  schedule::ScheduleProblem problem;
  problem.ranks = inputs.request.layout.pipeline;
  problem.microbatches = inputs.request.layout.microbatches;
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    if (generator.name == trial.schedule) {
      problem.stagesPerRank = generator.stagesPerRank;
      problem.placement = generator.placement;
    }
  if (inputs.stagesPerRank)
    problem.stagesPerRank = inputs.stagesPerRank;
  if (!inputs.placement.empty())
    problem.placement = *schedule::parsePlacement(inputs.placement);
  return problem;
}

Result<Chooser> makeChooser(const Inputs &inputs, Compiler &compiler,
                            Trial &trial, const Chooser *like) {
  const PlanRequest &request = inputs.request;
  Freedom freedom;
  freedom.techniques.recompute = request.recompute == kAuto;
  freedom.techniques.offload = request.offload == kAuto;
  schedule::ScheduleProblem problem = problemOf(inputs, trial);
  MOE_RETURN_IF_ERROR(problem.check());
  // Layers are measured before costs are known: schedules that go by costs are
  // taken to turn where they do with unit costs.
  Result<schedule::Schedule> order =
      isCsv(trial.schedule)
          ? schedule::readTorchCsvFile(trial.schedule, problem)
          : schedule::generate(trial.schedule, problem,
                               {{}, request.groupSize});
  if (!order)
    return order.error();
  freedom.techniques.splitsBackward = schedule::splitsBackwards(*order);
  freedom.techniques.leadLayers = request.offloadLead;
  freedom.techniques.overlaps = !schedule::overlappingPairs(*order).empty();
  freedom.techniques.isLastTurning = true;
  for (int64_t copy = 1; copy <= problem.replicas(); ++copy)
    freedom.techniques.isLastTurning &=
        schedule::turnsAtOnce(*order, copy * problem.stagesPerReplica() - 1);
  freedom.partition = request.partition == kAuto;
  freedom.layers = inputs.layers;
  if (request.isExact)
    freedom.effort = optimize::Effort::exact;
  Result<ModelOptions> model = compiler.options(freedom.techniques);
  if (!model)
    return model.error();
  if (Status possible = checkPins(
          inputs.pins, static_cast<int64_t>(inputs.config.layers.size()),
          problem.stagesPerReplica());
      !possible)
    return Error{"--pin " + possible.error().message};
  Result<std::vector<int64_t>> pins = pinBlocks(inputs.pins, *model);
  if (!pins)
    return pins.error();
  freedom.pins = std::move(*pins);
  cost::Link link =
      cost::pipelineLink(inputs.machine, request.layout.pipeline,
                         request.layout.expert * request.layout.data);
  int64_t transferNs = request.layout.pipeline > 1
                           ? cost::transferNs(link, model->boundaryBytes)
                           : 0;
  if (!isCsv(trial.schedule) && schedule::usesCosts(trial.schedule)) {
    if (trial.costs.stages.empty()) {
      Result<std::vector<int64_t>> counts =
          countsOf(inputs.layers, problem.stagesPerReplica(), *model);
      if (!counts)
        return counts.error();
      trial.costs = costsOfCut(*counts, problem, *model, transferNs);
    }
    order = schedule::generate(trial.schedule, problem,
                               {trial.costs, request.groupSize});
  }
  if (!order)
    return order.error();
  return Chooser::make(std::move(*model), *order, transferNs,
                       std::move(freedom), like);
}

namespace {

Decided decidedBy(const Inputs &inputs) {
  const PlanRequest &request = inputs.request;
  return {inputs.layers, request.recompute == kAuto ? "" : request.recompute,
          request.offload == kAuto ? "" : request.offload};
}

/// For schedules that go by costs: orders of steps that choices are made for,
/// each by what the choices before it cost.
constexpr int kMostOrders = 3;
/// The same by the account alone, which is sooner known.
constexpr int kMostAccountedOrders = 8;
/// Of those, in a row, that are no better than the best.
constexpr int kMostMisses = 3;
/// As many of them, whatever they are like, where the best is so much longer
/// than without limits, as a share of that: near the least memory orders differ
/// by half and more.
constexpr int kMostOrdersWhereSlow = 24;
constexpr int64_t kSlow = 8;
/// Where such orders come back to one before: parts of the way from what its
/// choices cost to what they do without limits.
constexpr int64_t kParts = 4;

/// What the stages of a plan cost its schedule.
schedule::Costs costsOf(const plan::Plan &plan, int64_t transferNs) {
  schedule::Costs costs;
  costs.transferNs = transferNs;
  for (const plan::Stage &stage : plan.stages)
    costs.stages.push_back(cost::stageCosts(stage));
  return costs;
}

PlanBudget budgetOf(const Inputs &inputs) {
  return {inputs.budgetBytes, inputs.machine.reserveBytes,
          inputs.machine.hostMemoryBytes};
}

/// What the account takes to be best for a budget, with little effort.
Result<Chosen> chosenBy(const Chooser &chooser, const PlanBudget &budget) {
  return chooser.choose(budget.room(chooser.rankCount()), false,
                        optimize::Effort::fast);
}

/// A trial, and what chooses for the order of steps that its costs give.
struct OrderedTrial {
  Trial trial;
  std::shared_ptr<const Chooser> chooser;

  bool goesByCosts() const { return !trial.costs.stages.empty(); }
};

Result<OrderedTrial> orderBy(const Inputs &inputs, Compiler &compiler,
                             Trial trial, const Chooser *like) {
  Result<Chooser> made = makeChooser(inputs, compiler, trial, like);
  if (!made)
    return made.error();
  return OrderedTrial{std::move(trial),
                      std::make_shared<const Chooser>(std::move(*made))};
}

/// What stages would cost that are so many parts on the way from the first to
/// the second.
std::vector<schedule::StageCosts>
between(std::vector<schedule::StageCosts> first,
        const std::vector<schedule::StageCosts> &second, int64_t part) {
  for (size_t s = 0; s < first.size(); ++s)
    for (auto field :
         {&schedule::StageCosts::forwardNs, &schedule::StageCosts::inputGradNs,
          &schedule::StageCosts::weightGradNs})
      first[s].*field += (second[s].*field - first[s].*field) * part / kParts;
  return first;
}

/// An order of steps made for stages that keep everything need not suit those
/// that fit. Of orders each made for the choices for the one before, `best`
/// becomes the one whose choices exceed the budget least, then the quickest.
Status findOrder(const Inputs &inputs, Compiler &compiler,
                 const PlanBudget &budget, OrderedTrial &best) {
  auto valueOf = [](const Chosen &chosen) {
    return std::pair(chosen.excessBytes, chosen.stepNs);
  };
  if (!best.goesByCosts())
    return {};
  Result<Chosen> chosen = chosenBy(*best.chooser, budget);
  if (!chosen)
    return chosen.error();
  auto least = valueOf(*chosen);
  PlanBudget unlimited = budget;
  unlimited.wholeBytes = budget.reserveBytes + kUnlimited;
  Result<Chosen> free = chosenBy(*best.chooser, unlimited);
  if (!free)
    return free.error();
  const int64_t slowNs = free->stepNs + free->stepNs / kSlow;
  const int64_t replicas = best.chooser->steps().problem.replicas();
  auto orderFor = [&](const std::vector<schedule::StageCosts> &stages) {
    Trial next = best.trial;
    next.costs.stages.clear();
    for (int64_t copy = 0; copy < replicas; ++copy)
      next.costs.stages.insert(next.costs.stages.end(), stages.begin(),
                               stages.end());
    return orderBy(inputs, compiler, std::move(next), best.chooser.get());
  };
  std::vector<schedule::Schedule> known = {best.chooser->steps()};
  auto isKnown = [&](const Result<OrderedTrial> &other) {
    return other && std::find(known.begin(), known.end(),
                              other->chooser->steps()) != known.end();
  };
  int misses = 0;
  for (int round = 1; round < kMostOrdersWhereSlow; ++round) {
    const bool isSlow = least.first == 0 && least.second > slowNs;
    if (!isSlow && (round >= kMostAccountedOrders || misses >= kMostMisses))
      break;
    Result<OrderedTrial> other = orderFor(chosen->stages);
    for (int64_t part = 1; isSlow && part < kParts && isKnown(other); ++part)
      other = orderFor(between(chosen->stages, free->stages, part));
    if (!other || isKnown(other))
      break;
    chosen = chosenBy(*other->chooser, budget);
    if (!chosen)
      break;
    known.push_back(other->chooser->steps());
    if (valueOf(*chosen) < least) {
      least = valueOf(*chosen);
      best = std::move(*other);
      misses = 0;
    } else {
      ++misses;
    }
  }
  return {};
}

/// Plans of the choices that a request leaves to the planner.
class TrialPlanner {
public:
  TrialPlanner(const Inputs &inputs, Compiler &compiler, bool writes)
      : inputs(inputs), compiler(compiler), budget(budgetOf(inputs)),
        // A search over schedules tells of these.
        onProgress(inputs.request.schedule == kAuto
                       ? OnProgress()
                       : inputs.request.onProgress),
        writes(writes && (!inputs.request.irPath.empty() ||
                          !inputs.request.schedulePath.empty())) {}

  Result<PlanAnswer> run(const Trial &trial) {
    Result<OrderedTrial> first = orderBy(inputs, compiler, trial, nullptr);
    if (!first)
      return first.error();
    if (budget.wholeBytes <= budget.reserveBytes)
      return least(std::move(*first));
    OrderedTrial ordered = *first;
    MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, budget, ordered));
    const bool isOnlyOrder = !ordered.goesByCosts();
    Result<std::optional<PlanAnswer>> fitting =
        choose(ordered, writes && isOnlyOrder);
    // What suits less may have room for what fits.
    if (fitting && !*fitting && !isOnlyOrder) {
      PlanBudget smaller = budget;
      smaller.wholeBytes -= budget.wholeBytes / kSmaller;
      MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, smaller, ordered));
      fitting = choose(ordered, false);
    }
    if (!fitting)
      return fitting.error();
    if (!*fitting)
      return least(std::move(*first));
    PlanAnswer answer = std::move(**fitting);
    if (isOnlyOrder)
      return answer;
    // Choices are made for an order of steps, and this for what stages cost.
    for (int round = 1; round < kMostOrders; ++round) {
      Trial next = ordered.trial;
      next.costs = costsOf(answer.plan, next.costs.transferNs);
      Result<OrderedTrial> other =
          orderBy(inputs, compiler, std::move(next), ordered.chooser.get());
      if (!other || other->chooser->steps() == ordered.chooser->steps())
        break;
      Result<Chosen> promised = chosenBy(*other->chooser, budget);
      if (!promised || promised->stepNs >= answer.plan.prediction.stepNs)
        break;
      Result<std::optional<PlanAnswer>> again = choose(*other, false);
      if (!again || !*again || !isBetter((*again)->plan, answer.plan))
        break;
      answer = std::move(**again);
      ordered = std::move(*other);
    }
    if (writes)
      if (Result<std::optional<PlanAnswer>> written = choose(ordered, true);
          !written)
        return written.error();
    return answer;
  }

private:
  Result<std::optional<PlanAnswer>> choose(const OrderedTrial &ordered,
                                           bool writesFiles) {
    return choosePlan(ordered.chooser, budget, writesFiles, draftsOf(ordered),
                      onProgress);
  }

  /// Whatever the budget, this is the same plan: where it says that a budget is
  /// enough, it is.
  Result<PlanAnswer> least(OrderedTrial ordered) {
    PlanBudget none = budget;
    none.wholeBytes = 0;
    MOE_RETURN_IF_ERROR(findOrder(inputs, compiler, none, ordered));
    return leastPlan(ordered.chooser, budget, writes, draftsOf(ordered),
                     onProgress);
  }

  MakeDraft draftsOf(const OrderedTrial &ordered) {
    return [this, &ordered](const Chosen &chosen, int64_t budgetBytes,
                            bool isAnswer) {
      Decided decided = decidedBy(inputs);
      decided.layers = chosen.layers;
      if (inputs.request.recompute == kAuto)
        decided.recompute = chosen.recompute;
      if (inputs.request.offload == kAuto)
        decided.offload = chosen.offload;
      return compiler.draft(ordered.trial, decided, budgetBytes, isAnswer);
    };
  }

  const Inputs &inputs;
  Compiler &compiler;
  const PlanBudget budget;
  const OnProgress onProgress;
  const bool writes; ///< files besides the plan
};

} // namespace

Result<PlanAnswer> planTrial(const Inputs &inputs, Compiler &compiler,
                             const Trial &trial, bool writes) {
  if (leavesChoices(inputs.request) && trial.schedule != kAuto)
    return TrialPlanner(inputs, compiler, writes).run(trial);
  Decided decided = decidedBy(inputs);
  if (inputs.request.recompute == kAuto)
    decided.recompute = trial.recompute;
  if (inputs.request.offload == kAuto)
    decided.offload = trial.offload;
  Result<Draft> draft =
      compiler.draft(trial, decided, inputs.budgetBytes, writes);
  return draft ? draft->finish() : Result<PlanAnswer>(draft.error());
}

} // namespace moe::driver
