//===- Driver.cpp - from a configuration file to a plan -------------------===//

#include "driver/Driver.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Cost/StageCosts.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/TorchCsv.h"
#include "driver/Compile.h"
#include "driver/Levers.h"

#include <memory>
#include <utility>

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
                            Trial &trial) {
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
                       std::move(freedom));
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

/// Whether by its account `chooser` could have something quicker than the plan.
bool promisesMore(const Chooser &chooser, const PlanBudget &budget,
                  const plan::Plan &plan) {
  Result<Chosen> chosen = chooser.choose(budget.room(chooser.rankCount()));
  return chosen &&
         (!plan.prediction.fits || chosen->stepNs < plan.prediction.stepNs);
}

/// The plan of what `chooser` chooses for the trial.
Result<PlanAnswer> planChoices(const Inputs &inputs, Compiler &compiler,
                               const std::shared_ptr<const Chooser> &chooser,
                               const Trial &trial, bool writesFiles) {
  return choosePlan(
      chooser, budgetOf(inputs), writesFiles,
      [&](const Chosen &chosen, int64_t budgetBytes, bool isAnswer) {
        Decided decided = decidedBy(inputs);
        decided.layers = chosen.layers;
        if (inputs.request.recompute == kAuto)
          decided.recompute = chosen.recompute;
        if (inputs.request.offload == kAuto)
          decided.offload = chosen.offload;
        return compiler.draft(trial, decided, budgetBytes, isAnswer);
      },
      inputs.request.onProgress);
}

/// The plan of a trial, with what the request leaves to the planner. The search
/// over orders of steps goes by what stages keep: it is given choices.
Result<PlanAnswer> planTrial(const Inputs &inputs, Compiler &compiler,
                             Trial trial, bool writes) {
  if (!leavesChoices(inputs.request) || trial.schedule == kAuto) {
    Decided decided = decidedBy(inputs);
    if (inputs.request.recompute == kAuto)
      decided.recompute = trial.recompute;
    if (inputs.request.offload == kAuto)
      decided.offload = trial.offload;
    Result<Draft> draft =
        compiler.draft(trial, decided, inputs.budgetBytes, writes);
    return draft ? draft->finish() : Result<PlanAnswer>(draft.error());
  }
  const PlanRequest &request = inputs.request;
  bool writesFiles =
      writes && (!request.irPath.empty() || !request.schedulePath.empty());
  Result<Chooser> made = makeChooser(inputs, compiler, trial);
  if (!made)
    return made.error();
  auto chooser = std::make_shared<const Chooser>(std::move(*made));
  const bool goesByCosts = !trial.costs.stages.empty();
  Result<PlanAnswer> answer = planChoices(inputs, compiler, chooser, trial,
                                          writesFiles && !goesByCosts);
  if (!goesByCosts)
    return answer;
  // Choices are made for an order of steps, and this for what stages cost.
  for (int round = 1; round < kMostOrders && answer; ++round) {
    Trial next = trial;
    next.costs = costsOf(answer->plan, trial.costs.transferNs);
    Result<Chooser> other = makeChooser(inputs, compiler, next);
    if (!other || other->steps() == chooser->steps() ||
        !promisesMore(*other, budgetOf(inputs), answer->plan))
      break;
    auto better = std::make_shared<const Chooser>(std::move(*other));
    Result<PlanAnswer> again =
        planChoices(inputs, compiler, better, next, false);
    if (!again || !isBetter(again->plan, answer->plan))
      break;
    answer = std::move(again);
    chooser = std::move(better);
    trial = std::move(next);
  }
  return writesFiles && answer
             ? planChoices(inputs, compiler, chooser, trial, true)
             : std::move(answer);
}

} // namespace

Result<PlanAnswer> makePlan(const PlanRequest &request) {
  Result<Inputs> inputs = gatherInputs(request);
  if (!inputs)
    return inputs.error();
  model::ModelConfig &config = inputs->config;
  std::vector<std::string> notes = config.notes;
  if (request.mtp && config.mtpLayers.empty())
    return Error{"--mtp on: the configuration has no multi-token prediction "
                 "modules (num_nextn_predict_layers)"};
  if (!request.mtp && !config.mtpLayers.empty()) {
    notes.push_back(
        "the configuration has " + std::to_string(config.mtpLayers.size()) +
        " multi-token prediction module(s), which the plan leaves out; --mtp "
        "on plans them");
    config.mtpLayers.clear();
  }

  Result<Compiler> compiler = Compiler::make(*inputs);
  if (!compiler)
    return compiler.error();
  auto make = [&](const Trial &trial, bool writes) {
    return planTrial(*inputs, *compiler, trial, writes);
  };
  bool writes = !request.irPath.empty() || !request.schedulePath.empty();
  Result<PlanAnswer> answer =
      request.schedule == "auto"
          ? searchPlans({inputs->budgetBytes, request.layout.pipeline,
                         leavesChoices(request), writes, request.onProgress},
                        make)
          : make({request.schedule}, true);
  if (!answer)
    return answer.error();
  if (answer->plan.prediction.fits && answer->findGap)
    answer->plan.assumptions.push_back(std::exchange(answer->findGap, {})());
  if (!answer->plan.prediction.fits)
    describeLeastBudget(request, answer->plan);
  answer->notes.insert(answer->notes.begin(), notes.begin(), notes.end());
  return answer;
}

} // namespace moe::driver
