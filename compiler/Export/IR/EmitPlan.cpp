//===- EmitPlan.cpp - from verified IR to the plan document ---------------===//

#include "compiler/Export/IR/EmitPlan.h"

#include "compiler/Export/IR/PlanRanks.h"
#include "compiler/Export/IR/Prediction.h"
#include "compiler/Export/IR/StagePrograms.h"
#include "dialects/MoE/IR/MoE.h"
#include "runtime/Plan/Proof.h"
#include "runtime/Plan/Replay.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace moe;

static plan::Plan makeHeader(pipe::LayoutAttr layout,
                             const EmissionInputs &inputs) {
  plan::Plan plan;
  plan.generator = inputs.generator;
  plan.model = inputs.model;
  plan.machine.name = inputs.machine.name;
  plan.machine.memoryBytes = inputs.machine.memoryBytes;
  plan.machine.reserveBytes = inputs.machine.reserveBytes;
  plan.machine.hostMemoryBytes = inputs.machine.hostMemoryBytes;
  plan.machine.budgetBytes = inputs.budgetBytes;
  plan.layout = {layout.getPipelineRanks(),  layout.getExpertRanks(),
                 layout.getDataRanks(),      layout.getTensorRanks(),
                 layout.getContextRanks(),   layout.getMicrobatches(),
                 layout.getMicrobatchSize(), layout.getSequenceLength()};
  plan.schedule = inputs.schedule;
  plan.capacityFactor = inputs.capacityFactor;
  plan.imbalance = inputs.imbalance;
  plan.assumptions = listAssumptions(inputs);
  return plan;
}

/// The type that weights are stored in.
static DType storageType(const plan::Plan &plan) {
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Parameter &parameter : stage.parameters)
      return parameter.dtype;
  return DType::bf16;
}

/// How far the arenas are from what no packing could beat.
static plan::Assumption packingAssumption(const PlanDraft &draft) {
  double most = 0;
  size_t worst = 0;
  for (auto [index, arena] : llvm::enumerate(draft.arenas)) {
    auto bytes = static_cast<double>(draft.plan.ranks[index].arenaBytes);
    double above = bytes / static_cast<double>(arena.boundBytes) - 1;
    if (arena.boundBytes > 0 && above > most) {
      most = above;
      worst = index;
    }
  }
  char text[32];
  snprintf(text, sizeof text, "%.2f %%", most * 100);
  return {
      "packing.gap_to_bound", text,
      "by how much the arena of rank " + std::to_string(worst) +
          " is larger than the most bytes that have to lie apart, less on the "
          "others; no packing of the same lifetimes is below that"};
}

/// Reports a plan that is not safe: the rule, what breaks it, and the events
/// that lead there, each at the op that it is about.
static LogicalResult reportUnsafe(ModuleOp module,
                                  const plan::Counterexample &example) {
  llvm::StringMap<Location> locations;
  module.walk([&](KernelOpInterface kernel) {
    locations.try_emplace(getOpName(kernel), kernel.getLoc());
  });
  InFlightDiagnostic error = module.emitError()
                             << "the plan is not safe: " << example.message
                             << " [" << example.rule << "]";
  for (const std::string &event : example.trace) {
    // "rank 0, stage s0, forward, op 3: layers.0.moe.dispatch (dispatch) on..."
    StringRef name = StringRef(event).split(": ").second.split(" (").first;
    auto found = locations.find(name);
    error.attachNote(found == locations.end() ? module.getLoc() : found->second)
        << event;
  }
  return error;
}

FailureOr<PlanDraft> moe::draftPlan(ModuleOp module,
                                    const EmissionInputs &inputs,
                                    PlacedRanks *known) {
  pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
  if (!layout)
    return failure();
  FailureOr<StepLists> lists = readSteps(module);
  if (failed(lists))
    return failure();
  PlanDraft draft{makeHeader(layout, inputs), std::move(*lists), {}};
  TimingInputs timing{inputs.machine, inputs.imbalance,
                      layout.getExpertRanks()};
  for (pipe::StageOp stage : draft.lists.stages) {
    FailureOr<plan::Stage> built = buildStagePrograms(stage, timing);
    if (failed(built))
      return failure();
    draft.plan.stages.push_back(std::move(*built));
  }
  draft.plan.dtype = storageType(draft.plan);
  FailureOr<std::vector<RankArena>> arenas =
      placeRanks(module, draft.lists, draft.plan, known, inputs.jobs);
  if (failed(arenas))
    return failure();
  draft.arenas = std::move(*arenas);
  draft.jobs = inputs.jobs;
  return draft;
}

FailureOr<plan::Plan> moe::finishPlan(ModuleOp module,
                                      const cost::Machine &machine,
                                      PlanDraft draft) {
  plan::Plan &plan = draft.plan;
  for (auto [index, stage] : llvm::enumerate(draft.lists.stages)) {
    FailureOr<std::vector<plan::Decision>> decisions =
        listDecisions(stage, plan.stages[index], static_cast<int64_t>(index));
    if (failed(decisions))
      return failure();
    llvm::append_range(plan.decisions, *decisions);
  }
  if (failed(accountForRanks(module, plan, draft.jobs)) ||
      failed(predict(module, draft.lists, machine, plan)))
    return failure();
  plan.assumptions.push_back(packingAssumption(draft));
  if (Status legal = plan::checkReplayed(plan); !legal) {
    const std::string &message = legal.error().message;
    plan::Counterexample without{plan::ruleOf(message), message, {}};
    return reportUnsafe(module,
                        plan::prove(plan).counterexample.value_or(without));
  }
  return std::move(plan);
}
