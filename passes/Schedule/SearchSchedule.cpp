//===- SearchSchedule.cpp - stages and the order of steps together --------===//

#include "passes/Schedule/SearchSchedule.h"

#include "compiler/Schedule/IR/StepLists.h"
#include "passes/Partition/PartitionStages.h"
#include "passes/Passes.h"
#include "passes/Schedule/ScheduleCosts.h"
#include "support/Words.h"

namespace moe {
#define GEN_PASS_DEF_SEARCHSCHEDULE
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

std::string milliseconds(double ns) {
  char text[32];
  snprintf(text, sizeof text, "%.3f ms", ns / 1e6);
  return text;
}

std::string percent(double share) {
  char text[32];
  snprintf(text, sizeof text, "%.1f %%", share * 100);
  return text;
}

struct SearchSchedule : public moe::impl::SearchScheduleBase<SearchSchedule> {
  using Base::Base;

  void runOnOperation() override {
    if (failed(search(getOperation())))
      signalPassFailure();
  }

  LogicalResult search(ModuleOp module) {
    FailureOr<cost::Machine> model = loadMachine(module, machine, profile);
    FailureOr<schedule::ScheduleProblem> single =
        makeProblem(module, 1, "loop");
    if (failed(model) || failed(single))
      return failure();
    SmallVector<OwningOpRef<ModuleOp>> modules;
    SmallVector<schedule::Structure> structures;
    SmallVector<size_t> moduleOf; // of each structure
    for (schedule::ScheduleProblem problem :
         admitted(*single, countDecoderBlocks(module))) {
      OwningOpRef<ModuleOp> copy = module.clone();
      if (failed(partitionStages(*copy, problem)))
        return failure();
      SmallVector<pipe::StageOp> stages(copy->getOps<pipe::StageOp>());
      problem.labelRoles = labelRoles(stages.back());
      FailureOr<MeasuredCosts> costs =
          measureCosts(*copy, problem, *model, imbalance, budget,
                       {recompute, {keepHandles}}, {offload, {offloadLead}});
      if (failed(costs))
        return failure();
      modules.push_back(std::move(copy));
      for (schedule::Structure &structure : costs->structures(problem)) {
        structures.push_back(std::move(structure));
        moduleOf.push_back(modules.size() - 1);
      }
    }
    FailureOr<schedule::SearchResult> found =
        searchSchedules(module, structures);
    if (failed(found))
      return failure();
    module.getBodyRegion().takeBody(
        modules[moduleOf[found->structure]]->getBodyRegion());
    SmallVector<pipe::StageOp> stages(module.getOps<pipe::StageOp>());
    return emitSchedule(module, stages, found->schedule);
  }

  /// One and two stages a rank in every placement that admits them; the first
  /// even where the model has too few layers, for its error. Two copies of the
  /// model are left out: a V has the same schedules with half the parameters,
  /// and no gradients to sum between copies.
  static SmallVector<schedule::ScheduleProblem>
  admitted(const schedule::ScheduleProblem &single, int64_t layers) {
    SmallVector<schedule::ScheduleProblem> problems = {single};
    for (schedule::Placement placement :
         {schedule::Placement::loop, schedule::Placement::v}) {
      schedule::ScheduleProblem problem = single;
      problem.stagesPerRank = 2;
      problem.placement = placement;
      if (single.ranks > 1 && problem.check() &&
          problem.stagesPerReplica() <= layers)
        problems.push_back(problem);
    }
    return problems;
  }
};

} // namespace

FailureOr<schedule::SearchResult>
moe::searchSchedules(ModuleOp module,
                     ArrayRef<schedule::Structure> structures) {
  Result<schedule::SearchResult> found =
      schedule::searchSchedule({structures.data(), structures.size()});
  if (!found)
    return module.emitError()
           << "schedule auto: " << found.error().message
           << " (beside parameters, buffers and the machine's reserve)";
  const schedule::ScheduleProblem &problem = found->schedule.problem;
  const schedule::SearchCandidate *published = nullptr;
  for (const schedule::SearchCandidate &candidate : found->candidates)
    if (candidate.origin != "search" &&
        (!published || candidate.makespanNs < published->makespanNs))
      published = &candidate;
  InFlightDiagnostic remark = module.emitRemark();
  remark << "schedule auto: "
         << (found->origin == "search" ? std::string("an order of its own")
                                       : found->origin)
         << " with " << counted(problem.stagesPerRank, "stage")
         << " a rank, placement "
         << StringRef(schedule::name(problem.placement))
         << ": by estimates of its stages "
         << milliseconds(found->evaluation.makespanNs) << ", bubble "
         << percent(found->evaluation.bubble)
         << "; with the stages as they are here, no order takes less than "
         << milliseconds(found->bound.makespanNs) << " (gap "
         << percent(found->gap) << "), ";
  if (published)
    remark << "the best published one within the estimated limits, "
           << published->origin << ", takes "
           << milliseconds(published->makespanNs);
  else
    remark << "no published one is within the estimated limits";
  return std::move(*found);
}

/// The order without the backwards that the stages have no region for.
static schedule::Schedule trained(ArrayRef<pipe::StageOp> stages,
                                  const schedule::Schedule &order) {
  auto copy = stages.take_front(order.problem.stagesPerReplica());
  auto *first = llvm::find_if(copy, [](pipe::StageOp stage) {
    return !stage.getFirstBackward().empty();
  });
  std::vector<bool> hasWeightGradients;
  for (pipe::StageOp stage : stages)
    hasWeightGradients.push_back(
        !stage.getWeightGrad().empty() &&
        !stage.getWeightGrad().front().without_terminator().empty());
  return schedule::leaveOutUntrained(order, first - copy.begin(),
                                     hasWeightGradients);
}

LogicalResult moe::emitSchedule(ModuleOp module, ArrayRef<pipe::StageOp> stages,
                                const schedule::Schedule &order) {
  schedule::StepSchedule steps =
      schedule::insertTransfers(trained(stages, order));
  if (Status legal = schedule::verify(steps); !legal)
    return module.emitError()
           << "schedule " << order.name
           << " has more messages under way between its stages than they have "
              "buffers for (a smaller group, or other stages per rank, may "
              "help): "
           << legal.error().message;
  SmallVector<StringAttr> names;
  for (pipe::StageOp stage : stages)
    names.push_back(stage.getSymNameAttr());
  writeSteps(module, names, steps);
  module->setAttr(kScheduleAttr,
                  StringAttr::get(module.getContext(), order.name));
  return success();
}
