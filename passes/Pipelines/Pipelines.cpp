//===- Pipelines.cpp - passes in the order of the design ------------------===//

#include "passes/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

void moe::buildPlanPipeline(OpPassManager &manager,
                            const PlanPipelineOptions &options) {
  ExpandLayersOptions expand;
  expand.capacityFactor = options.capacityFactor;
  expand.mtpWeight = options.mtpWeight;
  manager.addPass(createExpandLayers(expand));
  manager.addNestedPass<BlockOp>(createDifferentiate());
  manager.addPass(createPartitionStages());
  manager.addNestedPass<pipe::StageOp>(createFuseWeightGradients());
  manager.addNestedPass<pipe::StageOp>(createPlaceReleases());
  BuildScheduleOptions schedule;
  schedule.kind = options.schedule;
  manager.addPass(createBuildSchedule(schedule));
  manager.addPass(createVerifyPlan());
}

void moe::registerAllMoEPasses() {
  registerMoEPasses();
  PassPipelineRegistration<PlanPipelineOptions>(
      "moe-plan", "From imported layers to verified stages and ranks",
      buildPlanPipeline);
}
