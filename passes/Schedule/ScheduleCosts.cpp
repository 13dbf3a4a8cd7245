//===- ScheduleCosts.cpp - what stages cost a schedule --------------------===//

#include "passes/Schedule/ScheduleCosts.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Cost/Profile.h"
#include "compiler/Cost/StageCosts.h"
#include "compiler/Export/IR/StagePrograms.h"
#include "compiler/Schedule/Interleave.h"
#include "dialects/MoE/IR/MoE.h"
#include "passes/Releases/PlaceReleases.h"
#include "passes/Schedule/FusedBackward.h"

#include "llvm/ADT/StringSet.h"

#include <cmath>

using namespace mlir;
using namespace moe;

FailureOr<cost::Machine> moe::loadMachine(ModuleOp module,
                                          const std::string &name,
                                          const std::string &profile) {
  Result<cost::Machine> machine =
      cost::loadMachine(name, cost::machineDirectories());
  if (!machine)
    return module.emitError() << machine.error().message;
  if (profile.empty())
    return std::move(*machine);
  Result<cost::Profile> measured = cost::readProfile(profile);
  if (!measured)
    return module.emitError() << measured.error().message;
  Result<cost::Machine> calibrated = cost::calibrate(*machine, *measured);
  if (!calibrated)
    return module.emitError() << calibrated.error().message;
  return std::move(*calibrated);
}

namespace {

const plan::Program *programOf(const plan::Stage &stage, plan::Phase phase) {
  for (const plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

/// What a rank needs besides what schedules hold: parameters and send buffers.
int64_t unchangingBytes(ArrayRef<const plan::Stage *> stages) {
  int64_t bytes = 0;
  for (const plan::Stage *stage : stages) {
    bytes += cost::persistentBytes(*stage);
    for (const plan::Program &program : stage->programs) {
      // Sent while the next program runs. The two input gradients are one
      // buffer's worth: a rank sends one at a time.
      if (program.phase == plan::Phase::backward_input)
        continue;
      for (plan::ValueIndex output : program.outputs)
        if (stage->values[output].memoryClass == plan::MemoryClass::send)
          bytes += stage->values[output].bytes;
    }
  }
  return bytes;
}

/// From the end of a run to the arrival of what it yields on the next rank.
int64_t transferNs(pipe::StageOp first, pipe::LayoutAttr layout,
                   const cost::Machine &machine) {
  auto yield = cast<pipe::YieldOp>(first.getForward().front().getTerminator());
  if (first.getNumHiddenOutputs() == 0 || layout.getPipelineRanks() == 1)
    return 0;
  cost::Link link =
      cost::pipelineLink(machine, layout.getPipelineRanks(),
                         layout.getExpertRanks() * layout.getDataRanks());
  double seconds = 0;
  if (link.bytesPerSecond > 0)
    seconds =
        static_cast<double>(getByteSize(yield.getResults().front().getType())) /
        link.bytesPerSecond;
  return link.latencyNs + static_cast<int64_t>(std::ceil(seconds * 1e9));
}

/// Orders of overlapping pairs are found anew for the steps that have them.
constexpr int64_t kStatesOfEstimate = 2;

} // namespace

SmallVector<schedule::Structure, 2>
MeasuredCosts::structures(const schedule::ScheduleProblem &problem) const {
  SmallVector<schedule::Structure, 2> all = {{problem, whole, true}};
  if (split.stages != whole.stages)
    all.push_back({problem, split, false});
  return all;
}

schedule::Costs MeasuredCosts::shortest() const {
  schedule::Costs costs = split;
  for (auto [stage, inOne] : llvm::zip(costs.stages, whole.stages)) {
    stage.inputGradNs = std::min(stage.inputGradNs, inOne.inputGradNs);
    stage.weightGradNs =
        std::min(stage.weightGradNs, inOne.inputGradNs - stage.inputGradNs);
  }
  return costs;
}

FailureOr<MeasuredCosts>
moe::measureCosts(ModuleOp module, const schedule::ScheduleProblem &problem,
                  const cost::Machine &machine, double imbalance,
                  ArrayRef<int64_t> budgetBytes,
                  const RecomputeRequest &recompute,
                  const OffloadRequest &offload) {
  pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
  if (!layout)
    return failure();
  OwningOpRef<ModuleOp> copy = module.clone();
  TimingInputs timing{machine, imbalance, layout.getExpertRanks()};
  std::vector<plan::Stage> stages;
  MeasuredCosts measured;
  schedule::Costs &costs = measured.split;
  for (pipe::StageOp stage : copy->getOps<pipe::StageOp>())
    if (!stage.getBackwardInput().empty())
      addFusedBackward(stage);
  {
    // The plan's own stages get the same remarks.
    ScopedDiagnosticHandler quiet(module.getContext(), [](Diagnostic &each) {
      return success(each.getSeverity() == DiagnosticSeverity::Remark);
    });
    if (failed(insertRecompute(*copy, recompute)))
      return failure();
    // There is no order yet. In nearly every one the last stage of a copy sends
    // each microbatch back at once.
    llvm::StringSet<> turning;
    for (auto [index, stage] : llvm::enumerate(copy->getOps<pipe::StageOp>()))
      if (problem.isLast(static_cast<int64_t>(index)))
        turning.insert(stage.getSymName());
    if (failed(insertOffload(*copy, offload, turning)))
      return failure();
  }
  for (pipe::StageOp stage : copy->getOps<pipe::StageOp>()) {
    if (stages.empty())
      costs.transferNs = transferNs(stage, layout, machine);
    placeReleases(stage);
    FailureOr<plan::Stage> built =
        buildStagePrograms(stage, timing, StageDetail::figures);
    if (failed(built))
      return failure();
    stages.push_back(std::move(*built));
    costs.stages.push_back(cost::stageCosts(stages.back()));
    measured.whole.stages.push_back(cost::wholeStageCosts(stages.back()));
  }
  if (problem.stagesPerRank > 1)
    for (int64_t forward = 0; forward < problem.stages(); ++forward)
      for (int64_t backward = 0; backward < problem.stages(); ++backward) {
        const plan::Program *second =
            programOf(stages[backward], plan::Phase::backward);
        if (problem.rankOf(forward) != problem.rankOf(backward) || !second)
          continue;
        schedule::Interleaving pair = schedule::interleave(
            *programOf(stages[forward], plan::Phase::forward), *second,
            kStatesOfEstimate);
        costs.overlaps.push_back({forward, backward, pair.ns});
      }
  auto finish = [&] {
    measured.whole.transferNs = costs.transferNs;
    measured.whole.overlaps = costs.overlaps;
    measured.whole.limitBytes = costs.limitBytes;
    return std::move(measured);
  };
  if (budgetBytes.empty())
    return finish();
  if (budgetBytes.size() != 1 &&
      static_cast<int64_t>(budgetBytes.size()) != problem.ranks)
    return module.emitError() << "schedule auto: " << budgetBytes.size()
                              << " budgets are given for " << problem.ranks
                              << " ranks; one for each, or one for all";
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    SmallVector<const plan::Stage *> own;
    for (const plan::Stage &stage : stages)
      if (stage.rank == rank)
        own.push_back(&stage);
    int64_t needed = unchangingBytes(own) + machine.reserveBytes;
    int64_t budget =
        budgetBytes[budgetBytes.size() == 1 ? 0 : static_cast<size_t>(rank)];
    costs.limitBytes.push_back(std::max<int64_t>(0, budget - needed));
  }
  return finish();
}
