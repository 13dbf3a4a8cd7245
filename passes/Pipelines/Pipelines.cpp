//===- Pipelines.cpp - passes in the order of the design ------------------===//

#include "compiler/Schedule/Generators.h"
#include "passes/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace moe;

/// What every pass that goes by costs needs to know of them.
template <typename PassOptions>
static PassOptions withCosts(const PlanPipelineOptions &options) {
  PassOptions result;
  result.machine = options.machine;
  result.profile = options.profile;
  result.imbalance = options.imbalance;
  return result;
}

/// Where the order that is given, the options or the schedule want stages.
static PartitionStagesOptions stagesOf(const PlanPipelineOptions &options) {
  PartitionStagesOptions partition;
  if (options.order) {
    partition.stagesPerRank = options.order->problem.stagesPerRank;
    partition.placement = schedule::name(options.order->problem.placement);
    return partition;
  }
  bool published = false;
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    if (generator.name == options.schedule.getValue() && options.csv.empty()) {
      partition.stagesPerRank = generator.stagesPerRank;
      partition.placement = schedule::name(generator.placement);
      published = true;
    }
  if (!options.placement.empty())
    partition.placement = options.placement;
  if (options.stagesPerRank)
    partition.stagesPerRank = options.stagesPerRank;
  else if (!published &&
           partition.placement != schedule::name(schedule::Placement::loop))
    partition.stagesPerRank = 2; // the fewest that the others need
  return partition;
}

/// These stages, and their order.
static void addPartitionAndSchedule(OpPassManager &manager,
                                    const PlanPipelineOptions &options) {
  PartitionStagesOptions partition = stagesOf(options);
  partition.layers = llvm::to_vector(options.layers);
  manager.addPass(createPartitionStages(partition));

  auto schedule = withCosts<BuildScheduleOptions>(options);
  schedule.kind = options.schedule;
  schedule.csv = options.csv;
  schedule.groupSize = options.groupSize;
  schedule.mostPending = options.mostPending;
  schedule.budget = llvm::to_vector(options.budget);
  schedule.worthNs = options.worthNs;
  schedule.recompute = options.recompute;
  schedule.keepHandles = options.keepHandles;
  schedule.offload = options.offload;
  schedule.offloadLead = options.offloadLead;
  manager.addPass(createBuildSchedule(schedule, options.order));
}

void moe::buildDifferentiation(OpPassManager &manager,
                               const PlanPipelineOptions &options) {
  ExpandLayersOptions expand;
  expand.capacityFactor = options.capacityFactor;
  expand.mtpWeight = options.mtpWeight;
  manager.addPass(createExpandLayers(expand));
  if (!options.frozen.empty())
    manager.addPass(
        createFreezeParameters(FreezeParametersOptions{options.frozen}));
  manager.addPass(createDifferentiate());
}

void moe::buildStagesAndSteps(OpPassManager &manager,
                              const PlanPipelineOptions &options) {
  if (!options.order && options.schedule == "auto" && options.csv.empty() &&
      options.stagesPerRank == 0 && options.placement.empty()) {
    auto search = withCosts<SearchScheduleOptions>(options);
    search.budget = llvm::to_vector(options.budget);
    search.recompute = options.recompute;
    search.keepHandles = options.keepHandles;
    search.offload = options.offload;
    search.offloadLead = options.offloadLead;
    manager.addPass(createSearchSchedule(search));
  } else {
    addPartitionAndSchedule(manager, options);
  }
}

void moe::buildLifetimes(OpPassManager &manager,
                         const PlanPipelineOptions &options) {
  manager.addPass(createFuseWeightGradients());
  InsertRecomputeOptions recompute;
  recompute.targets = options.recompute;
  recompute.keepHandles = options.keepHandles;
  manager.addPass(createInsertRecompute(recompute));
  InsertOffloadOptions offload;
  offload.targets = options.offload;
  offload.leadLayers = options.offloadLead;
  manager.addPass(createInsertOffload(offload));
  manager.addNestedPass<pipe::StageOp>(
      createPlaceReleases(PlaceReleasesOptions{options.overwrite}));
  manager.addPass(createInterleave(withCosts<InterleaveOptions>(options),
                                   options.interleavings));
}

void moe::buildVerification(OpPassManager &manager,
                            const PlanPipelineOptions &) {
  manager.addPass(createVerifyPlan());
}

void moe::buildPlanPipeline(OpPassManager &manager,
                            const PlanPipelineOptions &options) {
  buildDifferentiation(manager, options);
  buildStagesAndSteps(manager, options);
  buildLifetimes(manager, options);
  buildVerification(manager, options);
}

void moe::registerAllMoEPasses() {
  registerMoEPasses();
  PassPipelineRegistration<PlanPipelineOptions>(
      "moe-plan", "From imported layers to verified stages and ranks",
      buildPlanPipeline);
}
