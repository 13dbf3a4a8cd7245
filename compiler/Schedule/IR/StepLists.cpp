//===- StepLists.cpp - step lists as IR and as plain data -----------------===//

#include "compiler/Schedule/IR/StepLists.h"

#include "mlir/IR/Builders.h"
#include "support/TokenRole.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moe;

static pipe::Phase toPhase(schedule::Phase phase) {
  switch (phase) {
  case schedule::Phase::forward:
    return pipe::Phase::Forward;
  case schedule::Phase::backward:
  case schedule::Phase::backward_input:
    return pipe::Phase::Backward;
  case schedule::Phase::weight_grad:
    return pipe::Phase::WeightGrad;
  }
  llvm_unreachable("all phases are named");
}

static void writeStep(OpBuilder &builder, Location loc,
                      ArrayRef<StringAttr> stages, const schedule::Step &step) {
  FlatSymbolRefAttr stage;
  if (step.stage >= 0)
    stage = FlatSymbolRefAttr::get(stages[step.stage]);
  IntegerAttr microbatch = builder.getI64IntegerAttr(step.microbatch);
  IntegerAttr peer = builder.getI64IntegerAttr(step.peer);
  auto phase = pipe::PhaseAttr::get(builder.getContext(), toPhase(step.phase));
  switch (step.kind) {
  case plan::StepKind::load:
    pipe::LoadOp::create(builder, loc, stage, microbatch,
                         builder.getStringAttr(StringRef(step.role)));
    return;
  case plan::StepKind::receive:
    pipe::ReceiveOp::create(builder, loc, stage, microbatch, phase, peer);
    return;
  case plan::StepKind::run:
    pipe::RunOp::create(builder, loc, stage, microbatch, phase);
    return;
  case plan::StepKind::send:
    pipe::SendOp::create(builder, loc, stage, microbatch, phase, peer);
    return;
  case plan::StepKind::wait_send:
    pipe::WaitSendOp::create(builder, loc, stage, microbatch, phase, peer);
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

std::vector<std::string> moe::labelRoles(pipe::StageOp last) {
  std::vector<std::string> roles;
  for (StringRef role : last.getInputs().getAsValueRange<StringAttr>())
    if (parseTokenRole(role).value_or(0) > 0)
      roles.push_back(role.str());
  return roles.empty() ? schedule::ScheduleProblem().labelRoles : roles;
}

void moe::writeSteps(ModuleOp module, ArrayRef<StringAttr> stages,
                     const schedule::StepSchedule &steps) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  Location loc = module.getLoc();
  for (auto [rank, list] : llvm::enumerate(steps.ranks)) {
    auto op = pipe::RankOp::create(builder, loc, rank);
    OpBuilder::InsertionGuard guard(builder);
    builder.createBlock(&op.getBody());
    for (const schedule::Step &step : list)
      writeStep(builder, loc, stages, step);
  }
}

namespace {

class StepReader {
public:
  explicit StepReader(ModuleOp module) : module(module) {}

  FailureOr<StepLists> run() {
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return failure();
    lists.steps.problem.ranks = layout.getPipelineRanks();
    lists.steps.problem.microbatches = layout.getMicrobatches();
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>()) {
      stageIndex[stage.getSymName()] = lists.stages.size();
      lists.stages.push_back(stage);
    }
    int64_t ranks = layout.getPipelineRanks();
    if (lists.stages.empty() || lists.stages.size() % ranks != 0)
      return module.emitError()
             << "the module has " << lists.stages.size() << " stages for "
             << ranks << " pipeline ranks; every rank needs the same number";
    lists.steps.problem.stagesPerRank = lists.stages.size() / ranks;
    lists.steps.problem.labelRoles = labelRoles(lists.stages.back());

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
      for (Operation &op : rank.getBody().front())
        if (failed(read(op, index)))
          return failure();
    }
    return std::move(lists);
  }

private:
  LogicalResult read(Operation &op, int64_t rank) {
    schedule::Step step;
    LogicalResult known = llvm::TypeSwitch<Operation *, LogicalResult>(&op)
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
                                if (failed(locate(run, rank, step)))
                                  return failure();
                                return runPhase(run, step);
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
    lists.steps.ranks[rank].push_back(step);
    lists.ops[rank].push_back(&op);
    return success();
  }

  template <typename Op>
  LogicalResult locate(Op op, int64_t rank, schedule::Step &step) {
    auto found = stageIndex.find(op.getStage());
    if (found == stageIndex.end())
      return op.emitOpError() << "names " << op.getStageAttr()
                              << ", which is no pipe.stage of the module";
    step.stage = found->second;
    step.microbatch = op.getMicrobatch();
    pipe::StageOp stage = lists.stages[step.stage];
    if (stage.getRank() != static_cast<uint64_t>(rank))
      return (op.emitOpError()
              << "uses " << op.getStageAttr() << " on rank " << rank)
                 .attachNote(stage.getLoc())
             << "the stage lies on rank " << stage.getRank();
    if (step.microbatch >= lists.steps.problem.microbatches)
      return op.emitOpError() << "names microbatch " << step.microbatch
                              << " of " << lists.steps.problem.microbatches;
    return success();
  }

  template <typename Op>
  LogicalResult transfer(Op op, int64_t rank, schedule::Step &step) {
    if (failed(locate(op, rank, step)))
      return failure();
    if (op.getPhase() == pipe::Phase::WeightGrad)
      return op.emitOpError() << "moves nothing in phase weight_grad";
    step.phase = op.getPhase() == pipe::Phase::Forward
                     ? schedule::Phase::forward
                     : schedule::Phase::backward;
    step.peer = op.getPeer();
    if (step.peer >= lists.steps.problem.ranks)
      return op.emitOpError() << "names rank " << step.peer << " of "
                              << lists.steps.problem.ranks;
    return success();
  }

  LogicalResult runPhase(pipe::RunOp run, schedule::Step &step) {
    pipe::StageOp stage = lists.stages[step.stage];
    if (stage.getRegion(run.getPhase()).empty())
      return (run.emitOpError() << "runs an empty region")
                 .attachNote(stage.getLoc())
             << "the stage is defined here";
    switch (run.getPhase()) {
    case pipe::Phase::Forward:
      step.phase = schedule::Phase::forward;
      break;
    case pipe::Phase::Backward:
      step.phase = stage.getWeightGrad().empty()
                       ? schedule::Phase::backward
                       : schedule::Phase::backward_input;
      break;
    case pipe::Phase::WeightGrad:
      step.phase = schedule::Phase::weight_grad;
      break;
    }
    return success();
  }

  ModuleOp module;
  StepLists lists;
  llvm::StringMap<int64_t> stageIndex;
};

} // namespace

FailureOr<StepLists> moe::readSteps(ModuleOp module) {
  return StepReader(module).run();
}
