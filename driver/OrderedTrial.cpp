//===- OrderedTrial.cpp - what chooses for an order of steps
//---------------===//

#include "driver/OrderedTrial.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/TorchCsv.h"
#include "support/Words.h"

#include <utility>
#include <vector>

namespace moe::driver {

schedule::ScheduleProblem problemOf(const Inputs &inputs, const Trial &trial) {
  if (trial.order)
    return trial.order->problem;
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

Techniques techniquesOf(const PlanRequest &request,
                        const schedule::Schedule &order) {
  Techniques techniques;
  techniques.recompute = request.recompute == kAuto;
  techniques.offload = request.offload == kAuto;
  techniques.leadLayers = request.offloadLead;
  techniques.splitsBackward = schedule::splitsBackwards(order);
  techniques.overlaps = !schedule::overlappingPairs(order).empty();
  techniques.isLastTurning = true;
  const schedule::ScheduleProblem &problem = order.problem;
  for (int64_t copy = 1; copy <= problem.replicas(); ++copy)
    techniques.isLastTurning &=
        schedule::turnsAtOnce(order, copy * problem.stagesPerReplica() - 1);
  return techniques;
}

static Result<Chooser> makeChooser(const Inputs &inputs, Compiler &compiler,
                                   Trial &trial, const Chooser *like) {
  const PlanRequest &request = inputs.request;
  schedule::ScheduleProblem problem = problemOf(inputs, trial);
  MOE_RETURN_IF_ERROR(problem.check());
  // Layers are measured before costs are known: schedules that go by costs are
  // taken to turn where they do with unit costs.
  Result<schedule::Schedule> order =
      trial.order ? *trial.order
      : isCsv(trial.schedule)
          ? schedule::readTorchCsvFile(trial.schedule, problem)
          : schedule::generate(trial.schedule, problem,
                               {{}, request.groupSize});
  if (!order)
    return order.error();
  Freedom freedom;
  freedom.techniques = techniquesOf(request, *order);
  freedom.partition = request.partition == kAuto;
  freedom.layers = inputs.layers;
  if (request.isExact)
    freedom.effort = optimize::Effort::exact;
  Result<ModelOptions> model = compiler.options(freedom.techniques);
  if (!model)
    return model.error();
  const auto layers = static_cast<int64_t>(inputs.config.layers.size());
  const int64_t stages = problem.stagesPerReplica();
  if (layers < stages)
    return Error{"the model has " + counted(layers, "layer") + " for " +
                 counted(stages, "stage") +
                 "; every stage needs a layer of its own"};
  if (Status possible = checkPins(inputs.pins, layers, stages); !possible)
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
  if (!trial.order && !isCsv(trial.schedule) &&
      schedule::usesCosts(trial.schedule)) {
    if (trial.costs.stages.empty()) {
      Result<std::vector<int64_t>> counts =
          countsOf(inputs.layers, problem.stagesPerReplica(), *model);
      if (!counts)
        return counts.error();
      trial.costs = costsOfCut(*counts, problem, *model, transferNs);
    }
    order = schedule::generate(
        trial.schedule, problem,
        {trial.costs, request.groupSize, mostPendingOf(request, trial)});
  }
  if (!order)
    return order.error();
  return Chooser::make(std::move(*model), *order, transferNs,
                       std::move(freedom), like);
}

Result<OrderedTrial> orderBy(const Inputs &inputs, Compiler &compiler,
                             Trial trial, const Chooser *like) {
  Result<Chooser> made = makeChooser(inputs, compiler, trial, like);
  if (!made)
    return made.error();
  return OrderedTrial{std::move(trial),
                      std::make_shared<const Chooser>(std::move(*made))};
}

} // namespace moe::driver
