//===- EmitPlan.cpp - from verified IR to the plan document ---------------===//

#include "compiler/Export/IR/EmitPlan.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Export/IR/Placement.h"
#include "compiler/Export/IR/StagePrograms.h"
#include "compiler/Schedule/IR/StepLists.h"
#include "compiler/Simulate/Simulate.h"
#include "runtime/Plan/Replay.h"

#include <cmath>
#include <set>

using namespace mlir;
using namespace moe;

namespace {

class PlanEmitter {
public:
  PlanEmitter(ModuleOp module, const EmissionInputs &inputs)
      : module(module), inputs(inputs) {}

  FailureOr<plan::Plan> run() {
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    FailureOr<StepLists> lists = readSteps(module);
    if (failed(lists))
      return failure();
    fillHeader(layout);
    TimingInputs timing{inputs.machine, inputs.imbalance,
                        layout.getExpertRanks()};
    for (pipe::StageOp stage : lists->stages) {
      FailureOr<plan::Stage> built = buildStagePrograms(stage, timing);
      if (failed(built))
        return failure();
      plan.stages.push_back(std::move(*built));
    }
    if (!plan.stages.empty() && !plan.stages.front().values.empty())
      plan.dtype = storageType();
    if (failed(fillRanks(lists->steps)))
      return failure();
    if (failed(predictTime(layout)))
      return failure();
    addAssumptions();
    if (Status legal = plan::check(plan); !legal)
      return module.emitError() << "the emitted plan is not legal (a defect of "
                                   "the compiler): "
                                << legal.error().message;
    return std::move(plan);
  }

private:
  void fillHeader(pipe::LayoutAttr layout) {
    plan.generator = inputs.generator;
    plan.model = inputs.model;
    plan.machine = {inputs.machine.name, inputs.machine.memoryBytes,
                    inputs.machine.reserveBytes, inputs.budgetBytes};
    plan.layout = {layout.getPipelineRanks(),  layout.getExpertRanks(),
                   layout.getDataRanks(),      layout.getTensorRanks(),
                   layout.getContextRanks(),   layout.getMicrobatches(),
                   layout.getMicrobatchSize(), layout.getSequenceLength()};
    plan.schedule = inputs.schedule;
    plan.capacityFactor = inputs.capacityFactor;
    plan.imbalance = inputs.imbalance;
  }

  /// The type that weights are stored in.
  DType storageType() {
    for (const plan::Stage &stage : plan.stages)
      for (const plan::Parameter &parameter : stage.parameters)
        return parameter.dtype;
    return DType::bf16;
  }

  LogicalResult fillRanks(const schedule::StepSchedule &steps) {
    schedule::SlotAssignment slots = schedule::assignSlots(steps);
    plan.ranks.resize(steps.ranks.size());
    for (size_t index = 0; index < plan.stages.size(); ++index)
      plan.ranks[plan.stages[index].rank].stages.push_back(index);
    for (auto [index, rank] : llvm::enumerate(plan.ranks)) {
      rank.rank = index;
      SmallVector<plan::Stage *> stages;
      SmallVector<int64_t> slotCounts;
      for (int64_t stage : rank.stages) {
        stages.push_back(&plan.stages[stage]);
        slotCounts.push_back(slots.slotCounts[stage]);
      }
      Result<int64_t> arena = placeRank(stages, slotCounts);
      if (!arena)
        return module.emitError() << arena.error().message;
      rank.arenaBytes = *arena;
      for (auto [number, step] : llvm::enumerate(steps.ranks[index])) {
        rank.steps.push_back(toStep(step));
        rank.steps.back().slot = slots.slots[index][number];
      }
    }
    for (plan::Rank &rank : plan.ranks) {
      Result<plan::Replay> replay = plan::replay(plan, rank.rank);
      if (!replay)
        return module.emitError() << replay.error().message;
      for (auto [step, live] : llvm::zip(rank.steps, replay->stepLive))
        step.live = live;
      rank.persistent = replay->persistent;
      rank.peak = replay->peak;
      rank.peakStep = replay->peakStep;
      rank.peakOp = replay->peakOp;
    }
    return success();
  }

  plan::Step toStep(const schedule::Step &step) {
    plan::Step made;
    made.kind = step.kind;
    made.stage = step.stage;
    made.microbatch = step.microbatch;
    made.peer = step.peer;
    made.role = step.role;
    made.phase = step.phase == schedule::Phase::forward ? plan::Phase::forward
                 : step.phase == schedule::Phase::weight_grad
                     ? plan::Phase::weight_grad
                     : plan::Phase::backward;
    if (step.stage >= 0)
      made.value = valueOf(step, plan.stages[step.stage]);
    return made;
  }

  /// The value that a step moves, by its place among inputs and outputs.
  static plan::ValueIndex valueOf(const schedule::Step &step,
                                  const plan::Stage &stage) {
    const plan::Program &forward = stage.programs.front();
    auto named = [&](StringRef name) -> plan::ValueIndex {
      for (plan::ValueIndex value : forward.inputs)
        if (stage.values[value].name == name)
          return value;
      return -1;
    };
    bool isForward = step.phase == schedule::Phase::forward;
    switch (step.kind) {
    case plan::StepKind::load:
      return named(StringRef(step.role));
    case plan::StepKind::receive:
      return isForward ? named("input") : stage.programs[1].inputs.front();
    case plan::StepKind::send:
    case plan::StepKind::wait_send:
      return stage.programs[isForward ? 0 : 1].outputs.front();
    case plan::StepKind::collect_loss:
      return forward.outputs.front();
    default:
      return -1;
    }
  }

  /// The ranks that hold a tied parameter send each other their gradients, both
  /// ways at once.
  static int64_t exchangeNs(const cost::Link &link, int64_t bytes) {
    if (bytes == 0 || link.bytesPerSecond <= 0)
      return bytes == 0 ? 0 : link.latencyNs;
    return link.latencyNs +
           std::llround(static_cast<double>(bytes) / link.bytesPerSecond * 1e9);
  }

  /// Nanoseconds in all programs of all ranks: a step cannot take longer but
  /// for transfers, gradient reduction and update, which are far from the
  /// limit.
  double totalNs() {
    double total = 0;
    for (const plan::Stage &stage : plan.stages)
      for (const plan::Program &program : stage.programs)
        for (const plan::Op &op : program.ops)
          total += static_cast<double>(op.timeNs) *
                   static_cast<double>(plan.layout.microbatches);
    return total;
  }

  LogicalResult predictTime(pipe::LayoutAttr layout) {
    if (totalNs() > 0x1p52)
      return module.emitError()
             << "a training step is estimated to take more than 50 days on "
             << inputs.machine.name
             << "; use shorter sequences or fewer microbatches";
    const cost::Machine &machine = inputs.machine;
    int64_t devicesPerRank = layout.getExpertRanks() * layout.getDataRanks();
    cost::Link link =
        cost::pipelineLink(machine, layout.getPipelineRanks(), devicesPerRank);
    std::set<std::string_view> tied;
    for (const plan::Stage &stage : plan.stages)
      for (const plan::Parameter &parameter : stage.parameters)
        if (!parameter.tiedTo.empty())
          tied.insert({parameter.name, parameter.tiedTo});
    simulate::Timing timing;
    timing.linkLatencyNs = link.latencyNs;
    timing.linkBytesPerSecond = link.bytesPerSecond;
    for (const plan::Rank &rank : plan.ranks) {
      int64_t dense = 0, expert = 0, shared = 0, elements = 0;
      for (int64_t stage : rank.stages)
        for (const plan::Parameter &parameter : plan.stages[stage].parameters) {
          if (!parameter.trainable)
            continue;
          int64_t count = 1;
          for (int64_t size : parameter.shape)
            count *= size;
          elements += count;
          if (tied.contains(parameter.name))
            shared += count;
          (parameter.replication == plan::Replication::dense ? dense
                                                             : expert) += count;
        }
      int64_t sumBytes = plan.dtype == DType::f64 ? 8 : 4;
      timing.reduceGradientsNs.push_back(
          cost::allReduceNs(machine, dense * sumBytes, devicesPerRank) +
          cost::allReduceNs(machine, expert * sumBytes, layout.getDataRanks()) +
          exchangeNs(link, shared * sumBytes));
      timing.updateNs.push_back(
          cost::optimizerNs(machine, elements, plan.dtype));
    }
    Result<simulate::Timeline> timeline = simulate::simulate(plan, timing);
    assert(timeline && "verified schedules can be executed");
    for (auto [rank, line] : llvm::zip(plan.ranks, timeline->ranks))
      rank.busyNs = line.busyNs;
    plan.prediction.stepNs = timeline->stepNs;
    plan.prediction.bubble = timeline->bubble;
    plan.prediction.fits = llvm::all_of(plan.ranks, [&](plan::Rank &rank) {
      return rank.arenaBytes + plan.machine.reserveBytes <=
             plan.machine.budgetBytes;
    });
    return success();
  }

  void addAssumptions() {
    auto format = [](double value) {
      char text[32];
      snprintf(text, sizeof text, "%g", value);
      return std::string(text);
    };
    plan.assumptions.push_back(
        {"routing.capacity_factor",
         inputs.capacityFactor > 0 ? format(inputs.capacityFactor) : "max",
         "option --capacity-factor: rows behind a dispatch for which memory is "
         "planned, times balanced; a step with more ends with an error"});
    plan.assumptions.push_back(
        {"routing.imbalance", format(inputs.imbalance),
         "option --imbalance: rows behind a dispatch for which time is "
         "estimated, times balanced"});
    plan.assumptions.push_back(
        {"optimizer", "adamw",
         "f32 gradients, two f32 moments, f32 master of bf16 weights; not "
         "sharded over replicas"});
    plan.assumptions.push_back(
        {"recompute", "none", "every value that backward needs is kept"});
    plan.assumptions.push_back(
        {"offload", "none", "nothing leaves the device"});
    plan.assumptions.push_back(
        {"overlap", "none",
         "exchanges, transfers and compute of a rank are estimated one after "
         "the other"});
    plan.assumptions.insert(plan.assumptions.end(), inputs.assumptions.begin(),
                            inputs.assumptions.end());
    for (plan::Assumption &each : cost::assumptions(inputs.machine))
      plan.assumptions.push_back(std::move(each));
  }

  ModuleOp module;
  const EmissionInputs &inputs;
  plan::Plan plan;
};

} // namespace

FailureOr<plan::Plan> moe::emitPlan(ModuleOp module,
                                    const EmissionInputs &inputs) {
  return PlanEmitter(module, inputs).run();
}
