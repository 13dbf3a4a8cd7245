//===- Prediction.cpp - how long a plan takes, and what that rests on -----===//

#include "compiler/Export/IR/Prediction.h"

#include "compiler/Cost/StageCosts.h"
#include "compiler/Simulate/Simulate.h"
#include "dialects/MoE/IR/MoE.h"

#include <map>
#include <set>

using namespace mlir;
using namespace moe;

/// Nanoseconds in all programs of all ranks: a step cannot take longer but for
/// transfers, gradient reduction and update, which are far from the limit.
static double totalNs(const plan::Plan &plan) {
  double total = 0;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops)
        total += static_cast<double>(op.timeNs) *
                 static_cast<double>(plan.layout.microbatches);
  return total;
}

static int64_t countElements(const plan::Parameter &parameter) {
  int64_t count = 1;
  for (int64_t size : parameter.shape)
    count *= size;
  return count;
}

/// For each rank, the elements of tied parameters that it shares with another
/// one: copies on one rank are summed there first.
static std::vector<int64_t> sharedElements(const plan::Plan &plan) {
  struct Tie {
    int64_t elements = 0;
    std::set<int64_t> ranks;
  };
  std::map<std::string_view, Tie> ties; ///< by name of the original
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Parameter &parameter : stage.parameters)
      if (!parameter.tiedTo.empty() && parameter.trainable)
        ties[parameter.tiedTo].ranks.insert(stage.rank);
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Parameter &parameter : stage.parameters)
      if (auto tie = ties.find(parameter.name); tie != ties.end()) {
        tie->second.elements = countElements(parameter);
        tie->second.ranks.insert(stage.rank);
      }
  std::vector<int64_t> shared(plan.ranks.size());
  for (const auto &[name, tie] : ties)
    for (int64_t rank : tie.ranks)
      shared[rank] += tie.ranks.size() > 1 ? tie.elements : 0;
  return shared;
}

/// Gradient reduction and update of every rank.
static void estimateEndOfStep(const cost::Machine &machine,
                              const cost::Link &link, plan::Plan &plan) {
  const cost::EndOfStep end{&machine, plan.layout.expert, plan.layout.data,
                            plan.dtype};
  std::vector<int64_t> shared = sharedElements(plan);
  for (plan::Rank &rank : plan.ranks) {
    cost::TrainableElements elements;
    for (int64_t stage : rank.stages)
      elements += cost::trainableElements(plan.stages[stage]);
    rank.reduceGradientsNs =
        end.reduceNs(elements) + end.reduceSharedNs(link, shared[rank.rank]);
    rank.updateNs = end.updateNs(elements);
  }
}

/// Floating-point operations of one run of a region on one device, at balanced
/// routing, without what runs again: the model does not need it.
static double regionFlops(Region &region) {
  double flops = 0;
  for (Operation &op : region.front())
    if (auto costs = dyn_cast<CostOpInterface>(op); costs && !isReplay(&op))
      flops += costs.getCost().flops;
  return flops;
}

/// Those of all programs that the steps run, on all devices.
static double modelFlops(const StepLists &lists, const plan::Plan &plan) {
  std::map<std::pair<int64_t, plan::Phase>, double> runs;
  for (const std::vector<schedule::Step> &steps : lists.steps.ranks)
    for (const schedule::Step &step : steps) {
      if (plan::isExecution(step.kind))
        ++runs[{step.stage, step.phase}];
      if (step.kind == plan::StepKind::overlap)
        ++runs[{step.second.stage, step.second.phase}];
    }
  double flops = 0;
  for (auto [program, count] : runs) {
    pipe::StageOp stage = lists.stages[program.first];
    flops +=
        count *
        regionFlops(stage.getRegion(static_cast<pipe::Phase>(program.second)));
  }
  return flops * static_cast<double>(plan.layout.expert * plan.layout.data);
}

LogicalResult moe::predict(ModuleOp module, const StepLists &lists,
                           const cost::Machine &machine, plan::Plan &plan) {
  if (totalNs(plan) > 0x1p52)
    return module.emitError()
           << "a training step is estimated to take more than 50 days on "
           << machine.name << "; use shorter sequences or fewer microbatches";
  cost::Link link = cost::pipelineLink(machine, plan.layout.pipeline,
                                       plan.layout.expert * plan.layout.data);
  plan.machine.flopsPerSecond = machine.peakFlops(plan.dtype);
  plan.machine.linkLatencyNs = link.latencyNs;
  plan.machine.linkBytesPerSecond = link.bytesPerSecond;
  plan.machine.localBytesPerSecond = cost::localLink(machine).bytesPerSecond;
  plan.machine.toHostBytesPerSecond = machine.deviceToHostBytesPerSecond;
  plan.machine.toDeviceBytesPerSecond = machine.hostToDeviceBytesPerSecond;
  plan.machine.hostCombinedBytesPerSecond = machine.hostCombinedBytesPerSecond;
  plan.machine.hostLinkDevices = machine.hostLinkDevices;
  estimateEndOfStep(machine, link, plan);
  plan.prediction.modelFlops = modelFlops(lists, plan);

  Result<simulate::Timeline> timeline = simulate::simulate(plan);
  if (!timeline)
    return module.emitError()
           << "the plan cannot be simulated: " << timeline.error().message;
  for (auto [rank, line] : llvm::zip(plan.ranks, timeline->ranks)) {
    rank.busyNs = line.busyNs;
    rank.exposedCommunicationNs = line.exposedCommunicationNs;
    rank.exposedCopyNs = line.exposedCopyNs;
  }
  plan.prediction.stepNs = timeline->stepNs;
  plan.prediction.bubble = timeline->bubble;
  plan.prediction.modelFlopsUtilization = timeline->modelFlopsUtilization;
  plan.prediction.fits = llvm::all_of(plan.ranks, [&](plan::Rank &rank) {
    return plan::fitsMachine(plan.machine, rank);
  });
  return success();
}

std::vector<plan::Assumption>
moe::listAssumptions(const EmissionInputs &inputs) {
  auto format = [](double value) {
    char text[32];
    snprintf(text, sizeof text, "%g", value);
    return std::string(text);
  };
  std::vector<plan::Assumption> list = {
      {"routing.capacity_factor",
       inputs.capacityFactor > 0 ? format(inputs.capacityFactor) : "max",
       "option --capacity-factor: rows behind a dispatch for which memory is "
       "planned, times balanced; a step with more ends with an error"},
      {"routing.imbalance", format(inputs.imbalance),
       "option --imbalance: rows behind a dispatch for which time is "
       "estimated, "
       "times balanced"},
      {"optimizer", "adamw",
       "f32 gradients, two f32 moments, f32 master of bf16 weights; not "
       "sharded over replicas"},
      {"recompute", inputs.recompute.empty() ? "none" : inputs.recompute,
       inputs.recompute.empty()
           ? "every value that backward needs is kept"
           : "option --recompute: what these targets cover is made again"},
      {"offload", inputs.offload.empty() ? "none" : inputs.offload,
       inputs.offload.empty()
           ? "nothing leaves the device"
           : "option --offload: what these targets cover waits on the host"},
      {"overwrite", inputs.overwrite ? "gradients" : "none",
       inputs.overwrite
           ? "a gradient lies in the bytes of what it is the gradient of, "
             "where nothing reads that later"
           : "option --no-overwrite: every value has bytes of its own"},
      {"overlap", "streams",
       "compute, exchanges and transfers of a rank run at the same time but "
       "for "
       "what waits for what"}};
  list.insert(list.end(), inputs.assumptions.begin(), inputs.assumptions.end());
  for (plan::Assumption &each : cost::assumptions(inputs.machine))
    list.push_back(std::move(each));
  return list;
}
