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

/// The most that is live at once in a program of what it does not leave to
/// later ones of the microbatch, or take from earlier ones.
int64_t transientBytes(const plan::Stage &stage, const plan::Program &program) {
  auto bytesOf = [&](plan::ValueIndex index) {
    const plan::Value &value = stage.values[index];
    return value.placement == plan::Placement::fixed ? value.bytes : 0;
  };
  int64_t live = 0, most = 0;
  for (plan::ValueIndex input : program.inputs)
    live += bytesOf(input);
  for (const plan::Op &op : program.ops) {
    for (plan::ValueIndex output : op.outputs)
      if (output >= 0 && stage.values[output].overwrites == -1)
        live += bytesOf(output);
    most = std::max(most, live + op.scratchBytes);
    for (plan::ValueIndex released : op.releases)
      live -= bytesOf(released);
  }
  return std::max(most, live);
}

/// What a rank needs besides what schedules hold: parameters, send buffers, and
/// what lives inside one program, or inside an overlapping pair.
int64_t unchangingBytes(ArrayRef<const plan::Stage *> stages) {
  int64_t bytes = 0, mostForward = 0, mostBackward = 0;
  for (const plan::Stage *stage : stages) {
    bytes += cost::persistentBytes(*stage);
    for (const plan::Program &program : stage->programs) {
      int64_t inside = transientBytes(*stage, program);
      bool forward = program.phase == plan::Phase::forward;
      int64_t &most = forward ? mostForward : mostBackward;
      most = std::max(most, inside);
      // Sent while the next program runs. The two input gradients are one
      // buffer's worth: a rank sends one at a time.
      if (program.phase == plan::Phase::backward_input)
        continue;
      for (plan::ValueIndex output : program.outputs)
        if (stage->values[output].memoryClass == plan::MemoryClass::send)
          bytes += stage->values[output].bytes;
    }
  }
  return bytes + (stages.size() > 1 ? mostForward + mostBackward
                                    : std::max(mostForward, mostBackward));
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

} // namespace

FailureOr<schedule::Costs>
moe::measureCosts(ModuleOp module, const schedule::ScheduleProblem &problem,
                  const cost::Machine &machine, double imbalance,
                  int64_t budgetBytes, const RecomputeRequest &recompute) {
  pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
  if (!layout)
    return failure();
  OwningOpRef<ModuleOp> copy = module.clone();
  TimingInputs timing{machine, imbalance, layout.getExpertRanks()};
  std::vector<plan::Stage> stages;
  schedule::Costs costs;
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
  }
  if (problem.stagesPerRank > 1)
    for (int64_t forward = 0; forward < problem.stages(); ++forward)
      for (int64_t backward = 0; backward < problem.stages(); ++backward) {
        const plan::Program *second =
            programOf(stages[backward], plan::Phase::backward);
        if (problem.rankOf(forward) != problem.rankOf(backward) || !second)
          continue;
        schedule::Interleaving pair = schedule::interleave(
            *programOf(stages[forward], plan::Phase::forward), *second);
        costs.overlaps.push_back({forward, backward, pair.ns});
      }
  if (budgetBytes == 0)
    return costs;
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    SmallVector<const plan::Stage *> own;
    for (const plan::Stage &stage : stages)
      if (stage.rank == rank)
        own.push_back(&stage);
    int64_t needed = unchangingBytes(own) + machine.reserveBytes;
    costs.limitBytes.push_back(std::max<int64_t>(0, budgetBytes - needed));
  }
  return costs;
}
