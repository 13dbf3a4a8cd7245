//===- StepLists.cpp - step lists as IR and as plain data -----------------===//

#include "compiler/Schedule/IR/StepLists.h"

#include "mlir/IR/Builders.h"
#include "support/TokenRole.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

#include <map>
#include <tuple>

using namespace mlir;
using namespace moe;

static pipe::Phase toPhase(schedule::Phase phase) {
  return static_cast<pipe::Phase>(phase);
}

namespace {

/// Writes steps of any rank at the place of its builder.
class StepWriter {
public:
  StepWriter(ModuleOp module, ArrayRef<StringAttr> stages)
      : builder(OpBuilder::atBlockEnd(module.getBody())), loc(module.getLoc()),
        stages(stages) {}

  void run(const schedule::StepSchedule &steps) {
    for (const std::vector<schedule::Step> &list : steps.ranks)
      for (const schedule::Step &step : list)
        if (step.kind == plan::StepKind::overlap)
          addInterleaving(step);
    for (auto [rank, list] : llvm::enumerate(steps.ranks)) {
      auto op = pipe::RankOp::create(builder, loc, rank);
      OpBuilder::InsertionGuard guard(builder);
      builder.createBlock(&op.getBody());
      for (const schedule::Step &step : list)
        write(step);
    }
  }

private:
  /// Two stages and their phases.
  using Pair = std::tuple<int64_t, schedule::Phase, int64_t, schedule::Phase>;

  static Pair pairOf(const schedule::Step &step) {
    return {step.stage, step.phase, step.second.stage, step.second.phase};
  }

  FlatSymbolRefAttr symbol(int64_t stage) {
    return FlatSymbolRefAttr::get(stages[stage]);
  }

  pipe::PhaseAttr phase(schedule::Phase phase) {
    return pipe::PhaseAttr::get(builder.getContext(), toPhase(phase));
  }

  void addInterleaving(const schedule::Step &step) {
    StringAttr name =
        builder.getStringAttr("i" + std::to_string(interleavings.size()));
    if (interleavings.insert({pairOf(step), FlatSymbolRefAttr::get(name)})
            .second)
      pipe::InterleavingOp::create(builder, loc, name, symbol(step.stage),
                                   phase(step.phase), symbol(step.second.stage),
                                   phase(step.second.phase),
                                   /*order=*/DenseI64ArrayAttr());
  }

  void write(const schedule::Step &step) {
    FlatSymbolRefAttr stage;
    if (step.stage >= 0)
      stage = symbol(step.stage);
    IntegerAttr microbatch = builder.getI64IntegerAttr(step.microbatch);
    IntegerAttr peer = builder.getI64IntegerAttr(step.peer);
    switch (step.kind) {
    case plan::StepKind::load:
      pipe::LoadOp::create(builder, loc, stage, microbatch,
                           builder.getStringAttr(StringRef(step.role)));
      return;
    case plan::StepKind::receive:
      pipe::ReceiveOp::create(builder, loc, stage, microbatch,
                              phase(step.phase), peer);
      return;
    case plan::StepKind::run:
      pipe::RunOp::create(builder, loc, stage, microbatch, phase(step.phase));
      return;
    case plan::StepKind::overlap:
      pipe::OverlapOp::create(
          builder, loc, interleavings.at(pairOf(step)), microbatch,
          builder.getI64IntegerAttr(step.second.microbatch));
      return;
    case plan::StepKind::send:
      pipe::SendOp::create(builder, loc, stage, microbatch, phase(step.phase),
                           peer);
      return;
    case plan::StepKind::wait_send:
      pipe::WaitSendOp::create(builder, loc, stage, microbatch,
                               phase(step.phase), peer);
      return;
    case plan::StepKind::collect_loss:
      pipe::CollectLossOp::create(builder, loc, stage, microbatch);
      return;
    case plan::StepKind::reduce_gradients:
      pipe::ReduceGradientsOp::create(builder, loc);
      return;
    case plan::StepKind::update:
      pipe::UpdateOp::create(builder, loc);
      return;
    }
  }

  OpBuilder builder;
  Location loc;
  ArrayRef<StringAttr> stages;
  std::map<Pair, FlatSymbolRefAttr> interleavings;
};

} // namespace

std::vector<std::string> moe::labelRoles(pipe::StageOp last) {
  std::vector<std::string> roles;
  for (StringRef role : last.getInputs().getAsValueRange<StringAttr>())
    if (parseTokenRole(role).value_or(0) > 0)
      roles.push_back(role.str());
  return roles.empty() ? schedule::ScheduleProblem().labelRoles : roles;
}

void moe::writeSteps(ModuleOp module, ArrayRef<StringAttr> stages,
                     const schedule::StepSchedule &steps) {
  StepWriter(module, stages).run(steps);
}

/// Where the backwards of each copy of the model end: the first stage has no
/// gradient for a stage before it, all others have one.
static LogicalResult readFirstBackward(ArrayRef<pipe::StageOp> stages,
                                       schedule::ScheduleProblem &problem) {
  auto copy = stages.take_front(problem.stagesPerReplica());
  auto *first = llvm::find_if(copy, [](pipe::StageOp stage) {
    return !stage.getFirstBackward().empty();
  });
  problem.firstBackward = first - copy.begin();
  int64_t index = -1;
  for (pipe::StageOp stage : stages) {
    ++index;
    bool isThere = !stage.getFirstBackward().empty();
    if (isThere != problem.hasBackward(index)) {
      pipe::StageOp other =
          copy[isThere ? problem.positionOf(index) : problem.firstBackward];
      return (stage.emitOpError()
              << "has " << (isThere ? "a" : "no")
              << " backward region, where the stages of a model have one from "
                 "the first on in which something is trained")
                 .attachNote(other.getLoc())
             << (isThere ? "the same stage of the other copy"
                         : "this one has the first");
    }
    // A first stage may have a hidden input of its own: it belongs to no model.
    bool sends = isThere && stage.yieldsGradients();
    if (stage.getNumHiddenInputs() > 0 && problem.positionOf(index) > 0 &&
        sends != problem.sendsGradient(index))
      return stage.emitOpError()
             << (sends ? "yields a gradient of its input, which no stage "
                         "before it takes"
                       : "yields no gradient of its input, which the stage "
                         "before it needs");
  }
  return success();
}

FailureOr<schedule::ScheduleProblem>
moe::readProblem(ModuleOp module, pipe::LayoutAttr layout,
                 ArrayRef<pipe::StageOp> stages) {
  schedule::ScheduleProblem problem;
  problem.ranks = layout.getPipelineRanks();
  problem.microbatches = layout.getMicrobatches();
  if (stages.empty() || stages.size() % problem.ranks != 0)
    return module.emitError()
           << "the module has " << stages.size() << " stages for "
           << problem.ranks
           << " pipeline ranks; every rank needs the same number "
              "(pipe-partition-stages)";
  problem.stagesPerRank = stages.size() / problem.ranks;
  problem.labelRoles = labelRoles(stages.back());

  if (problem.stagesPerRank > 1) {
    // Two copies of the model lie as two passes through the ranks do.
    pipe::StageOp turned = stages[problem.ranks];
    if (problem.stagesPerRank == 2 &&
        llvm::is_contained(turned.getInputs().getAsValueRange<StringAttr>(),
                           "tokens"))
      problem.placement = schedule::Placement::bidirectional;
    else if (turned.getRank() != 0 || problem.ranks == 1)
      problem.placement = schedule::Placement::v;
  }
  int64_t index = 0;
  for (pipe::StageOp stage : stages) {
    int64_t rank = problem.rankOf(index++);
    if (stage.getRank() != static_cast<uint64_t>(rank))
      return (module.emitError()
              << "the ranks of the stages fit no placement (loop, v or "
                 "bidirectional)")
                 .attachNote(stage.getLoc())
             << "with placement "
             << StringRef(schedule::name(problem.placement))
             << ", stage number " << index << " lies on rank " << rank
             << ", not on rank " << stage.getRank();
  }
  if (failed(readFirstBackward(stages, problem)))
    return failure();
  return problem;
}

namespace {

class StepReader {
public:
  explicit StepReader(ModuleOp module) : module(module) {}

  FailureOr<StepLists> run() {
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>()) {
      stageIndex[stage.getSymName()] = lists.stages.size();
      lists.stages.push_back(stage);
    }
    for (pipe::InterleavingOp op : module.getOps<pipe::InterleavingOp>()) {
      interleavings[op.getSymName()] = op;
      lists.interleavings.push_back(op);
    }
    FailureOr<schedule::ScheduleProblem> problem =
        readProblem(module, layout, lists.stages);
    if (failed(problem))
      return failure();
    lists.steps.problem = std::move(*problem);
    int64_t ranks = layout.getPipelineRanks();

    SmallVector<pipe::RankOp> rankOps(ranks);
    for (pipe::RankOp rank : module.getOps<pipe::RankOp>()) {
      if (rank.getRank() >= static_cast<uint64_t>(ranks))
        return rank.emitOpError()
               << "is not one of the layout's " << ranks << " pipeline ranks";
      if (rankOps[rank.getRank()])
        return (rank.emitOpError()
                << "lists the steps of rank " << rank.getRank() << " again")
                   .attachNote(rankOps[rank.getRank()].getLoc())
               << "first listed here";
      rankOps[rank.getRank()] = rank;
    }
    lists.steps.ranks.resize(ranks);
    lists.ops.resize(ranks);
    for (auto [index, rank] : llvm::enumerate(rankOps)) {
      if (!rank)
        return module.emitError() << "the module has no pipe.rank " << index;
      Block &body = rank.getBody().front();
      const auto count = std::distance(body.begin(), body.end());
      lists.steps.ranks[index].reserve(count);
      lists.ops[index].reserve(count);
      for (Operation &op : body)
        if (failed(read(op, index)))
          return failure();
    }
    return std::move(lists);
  }

private:
  LogicalResult read(Operation &op, int64_t rank) {
    schedule::Step step;
    LogicalResult known =
        llvm::TypeSwitch<Operation *, LogicalResult>(&op)
            .Case([&](pipe::LoadOp load) {
              step.kind = plan::StepKind::load;
              step.role = load.getRole().str();
              return locate(load, rank, step);
            })
            .Case([&](pipe::ReceiveOp receive) {
              step.kind = plan::StepKind::receive;
              return transfer(receive, rank, step);
            })
            .Case([&](pipe::SendOp send) {
              step.kind = plan::StepKind::send;
              return transfer(send, rank, step);
            })
            .Case([&](pipe::WaitSendOp wait) {
              step.kind = plan::StepKind::wait_send;
              return transfer(wait, rank, step);
            })
            .Case([&](pipe::RunOp run) {
              step.kind = plan::StepKind::run;
              return execution(run, run.getStageAttr(), run.getPhase(),
                               run.getMicrobatch(), rank, step.stage,
                               step.phase, step.microbatch);
            })
            .Case([&](pipe::OverlapOp overlap) {
              step.kind = plan::StepKind::overlap;
              return readOverlap(overlap, rank, step);
            })
            .Case([&](pipe::CollectLossOp collect) {
              step.kind = plan::StepKind::collect_loss;
              return locate(collect, rank, step);
            })
            .Case([&](pipe::ReduceGradientsOp) {
              step.kind = plan::StepKind::reduce_gradients;
              return success();
            })
            .Case([&](pipe::UpdateOp) {
              step.kind = plan::StepKind::update;
              return success();
            })
            .Default([](Operation *other) {
              return other->emitOpError() << "is not a step";
            });
    if (failed(known))
      return failure();
    lists.steps.ranks[rank].push_back(std::move(step));
    lists.ops[rank].push_back(&op);
    return success();
  }

  LogicalResult locate(Operation *op, FlatSymbolRefAttr name,
                       int64_t microbatch, int64_t rank, int64_t &index) {
    auto found = stageIndex.find(name.getValue());
    if (found == stageIndex.end())
      return op->emitOpError()
             << "names " << name << ", which is no pipe.stage of the module";
    index = found->second;
    pipe::StageOp stage = lists.stages[index];
    if (stage.getRank() != static_cast<uint64_t>(rank))
      return (op->emitOpError() << "uses " << name << " on rank " << rank)
                 .attachNote(stage.getLoc())
             << "the stage lies on rank " << stage.getRank();
    if (microbatch >= lists.steps.problem.microbatches)
      return op->emitOpError() << "names microbatch " << microbatch << " of "
                               << lists.steps.problem.microbatches;
    return success();
  }

  template <typename Op>
  LogicalResult locate(Op op, int64_t rank, schedule::Step &step) {
    step.microbatch = op.getMicrobatch();
    return locate(op, op.getStageAttr(), step.microbatch, rank, step.stage);
  }

  template <typename Op>
  LogicalResult transfer(Op op, int64_t rank, schedule::Step &step) {
    if (failed(locate(op, rank, step)))
      return failure();
    if (op.getPhase() != pipe::Phase::Forward &&
        op.getPhase() != pipe::Phase::Backward)
      return op.emitOpError()
             << "moves nothing in phase " << pipe::stringifyPhase(op.getPhase())
             << "; transfers are forward or backward";
    step.phase = op.getPhase() == pipe::Phase::Forward
                     ? schedule::Phase::forward
                     : schedule::Phase::backward;
    step.peer = op.getPeer();
    if (step.peer >= lists.steps.problem.ranks)
      return op.emitOpError() << "names rank " << step.peer << " of "
                              << lists.steps.problem.ranks;
    return success();
  }

  /// What `op` runs of one stage.
  LogicalResult execution(Operation *op, FlatSymbolRefAttr name,
                          pipe::Phase phase, int64_t microbatch, int64_t rank,
                          int64_t &index, schedule::Phase &stepPhase,
                          int64_t &stepMicrobatch) {
    if (failed(locate(op, name, microbatch, rank, index)))
      return failure();
    stepPhase = static_cast<schedule::Phase>(phase);
    stepMicrobatch = microbatch;
    pipe::StageOp stage = lists.stages[index];
    if (stage.getRegion(phase).empty())
      return (op->emitOpError() << "runs the " << pipe::stringifyPhase(phase)
                                << " region of " << name << ", which is empty")
                 .attachNote(stage.getLoc())
             << "the stage is defined here";
    return success();
  }

  LogicalResult readOverlap(pipe::OverlapOp overlap, int64_t rank,
                            schedule::Step &step) {
    auto found = interleavings.find(overlap.getInterleaving());
    if (found == interleavings.end())
      return overlap.emitOpError()
             << "names " << overlap.getInterleavingAttr()
             << ", which is no pipe.interleaving of the module";
    pipe::InterleavingOp pair = found->second;
    if (failed(execution(overlap, pair.getFirstAttr(), pair.getFirstPhase(),
                         overlap.getFirstMicrobatch(), rank, step.stage,
                         step.phase, step.microbatch)))
      return failure();
    return execution(overlap, pair.getSecondAttr(), pair.getSecondPhase(),
                     overlap.getSecondMicrobatch(), rank, step.second.stage,
                     step.second.phase, step.second.microbatch);
  }

  ModuleOp module;
  StepLists lists;
  llvm::StringMap<int64_t> stageIndex;
  llvm::StringMap<pipe::InterleavingOp> interleavings;
};

} // namespace

FailureOr<StepLists> moe::readSteps(ModuleOp module) {
  return StepReader(module).run();
}
