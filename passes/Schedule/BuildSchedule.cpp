//===- BuildSchedule.cpp - order the steps of every rank ------------------===//

#include "compiler/Schedule/IR/StepLists.h"
#include "passes/Passes.h"

namespace moe {
#define GEN_PASS_DEF_BUILDSCHEDULE
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

struct BuildSchedule : public moe::impl::BuildScheduleBase<BuildSchedule> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(build(module)))
      signalPassFailure();
  }

  LogicalResult build(ModuleOp module) {
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    if (!module.getOps<pipe::RankOp>().empty())
      return module.emitError() << "the module holds a schedule already";
    SmallVector<StringAttr> stages;
    pipe::StageOp last;
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>()) {
      stages.push_back(stage.getSymNameAttr());
      last = stage;
    }
    int64_t ranks = layout.getPipelineRanks();
    if (stages.empty() || stages.size() % ranks != 0)
      return module.emitError()
             << "the module has " << stages.size() << " stages for " << ranks
             << " pipeline ranks; run pipe-partition-stages first";

    schedule::ScheduleProblem problem;
    problem.ranks = ranks;
    problem.microbatches = layout.getMicrobatches();
    problem.stagesPerRank = stages.size() / ranks;
    problem.labelRoles = labelRoles(last);
    Result<schedule::Schedule> order = schedule::generate(kind, problem);
    if (!order)
      return module.emitError() << order.error().message;
    writeSteps(module, stages, schedule::insertTransfers(*order));
    return success();
  }
};

} // namespace
