//===- InsertOffload.cpp - keep values on the host ------------------------===//

#include "passes/Offload/InsertOffload.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Passes.h"
#include "passes/Policies/Targets.h"
#include "passes/Recompute/InsertRecompute.h"
#include "passes/Releases/StorageUses.h"
#include "runtime/Plan/Plan.h"
#include "support/Words.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

namespace moe {
#define GEN_PASS_DEF_INSERTOFFLOAD
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

pipe::YieldOp yieldOf(Region &region) {
  return cast<pipe::YieldOp>(region.front().getTerminator());
}

//===----------------------------------------------------------------------===//
// Where copies stand
//===----------------------------------------------------------------------===//

/// Puts the builder behind all that the forward region does with `value`: from
/// there on the copy is the last to use it, and gives its bytes back when it
/// ends, without an op of another stream that has to wait for it.
void setBehindUses(OpBuilder &builder, Value value) {
  Block *block = value.getParentBlock();
  Operation *last = value.getDefiningOp();
  auto follow = [&](Operation *end) {
    if (!last || last->isBeforeInBlock(end))
      last = end;
  };
  if (last)
    last = getEndOfUse(last);
  for (Operation *user : value.getUsers())
    if (user != block->getTerminator())
      follow(getEndOfUse(user));
  if (!last)
    builder.setInsertionPointToStart(block);
  else if (last == block->getTerminator())
    builder.setInsertionPoint(last);
  else
    builder.setInsertionPointAfter(last);
}

//===----------------------------------------------------------------------===//
// Which values stay
//===----------------------------------------------------------------------===//

/// Stages of which every microbatch runs backward right behind its forward, by
/// name.
llvm::StringSet<> findTurningStages(ModuleOp module) {
  struct Part {
    StringRef stage;
    int64_t microbatch;
    pipe::Phase phase;
  };
  SymbolTable symbols(module);
  llvm::StringSet<> forward, apart;
  for (pipe::RankOp rank : module.getOps<pipe::RankOp>()) {
    SmallVector<SmallVector<Part, 2>> executions;
    for (Operation &step : rank.getBody().front()) {
      if (auto run = dyn_cast<pipe::RunOp>(step)) {
        executions.push_back(
            {{run.getStage(), static_cast<int64_t>(run.getMicrobatch()),
              run.getPhase()}});
      } else if (auto overlap = dyn_cast<pipe::OverlapOp>(step)) {
        auto pair =
            symbols.lookup<pipe::InterleavingOp>(overlap.getInterleaving());
        executions.push_back(
            {{pair.getFirst(),
              static_cast<int64_t>(overlap.getFirstMicrobatch()),
              pair.getFirstPhase()},
             {pair.getSecond(),
              static_cast<int64_t>(overlap.getSecondMicrobatch()),
              pair.getSecondPhase()}});
      }
    }
    for (auto [index, execution] : llvm::enumerate(executions))
      for (const Part &part : execution) {
        if (part.phase != pipe::Phase::Forward)
          continue;
        forward.insert(part.stage);
        bool turns = index + 1 < executions.size() &&
                     llvm::any_of(executions[index + 1], [&](const Part &next) {
                       return next.stage == part.stage &&
                              next.microbatch == part.microbatch;
                     });
        if (!turns)
          apart.insert(part.stage);
      }
  }
  for (StringRef stage : apart.keys())
    forward.erase(stage);
  return forward;
}

/// Why the bytes of a value cannot leave the device; null when they can.
const char *whyFixed(Value value) {
  if (isa<pipe::HostType>(value.getType()))
    return "it is on the host already";
  auto yield = cast<pipe::YieldOp>(value.getParentBlock()->getTerminator());
  if (llvm::is_contained(yield.getResults(), value))
    return "it leaves the stage as well, which has its bytes sent from where "
           "they are";
  if (auto result = dyn_cast<OpResult>(value))
    if (getAliasedOperand(result.getOwner(), result.getResultNumber()))
      return "it lies in the bytes of another value";
  for (OpOperand &use : value.getUses())
    for (OpResult result : use.getOwner()->getResults())
      if (getAliasedOperand(use.getOwner(), result.getResultNumber()) ==
          use.getOperandNumber())
        return "another value lies in its bytes";
  return nullptr;
}

//===----------------------------------------------------------------------===//
// The rewrite
//===----------------------------------------------------------------------===//

/// Moves values of one stage to the host.
class StageOffload {
public:
  StageOffload(pipe::StageOp stage, const OffloadLead &lead, bool turns,
               ArrayRef<policy::Choice> choices)
      : stage(stage), lead(lead), turns(turns), choices(choices) {
    if (auto earlier =
            stage->getAttrOfType<ArrayAttr>(pipe::DecisionAttr::kListName))
      llvm::append_range(decisions, earlier);
  }

  LogicalResult run(ArrayRef<CoveredValue> values) {
    WalkResult released =
        stage->walk([](pipe::ReleaseOp) { return WalkResult::interrupt(); });
    if (released.wasInterrupted())
      return stage->emitOpError() << "holds releases already; offload comes "
                                     "before pipe-place-releases";
    SmallVector<CoveredValue> movable;
    for (const CoveredValue &chosen : values) {
      const char *reason = whyFixed(chosen.value);
      if (reason && chosen.isNamed)
        return stage->emitOpError()
               << "offload: '" << chosen.name << "' cannot leave: " << reason;
      if (!reason && turns && isNeededAtOnce(chosen.value))
        reason = "backward follows forward at once, and needs it before it "
                 "would be back";
      if (reason)
        stay[reason].push_back(chosen.name);
      else
        movable.push_back(chosen);
    }
    for (const CoveredValue &chosen : movable)
      offload(chosen);
    reloadAll();
    if (!decisions.empty())
      stage->setAttr(pipe::DecisionAttr::kListName,
                     ArrayAttr::get(stage.getContext(), decisions));
    return success();
  }

  /// On values that stay.
  void remark() {
    for (const auto &[reason, names] : stay)
      stage->emitRemark() << "offload: "
                          << counted(static_cast<int64_t>(names.size()),
                                     "value")
                          << " of stage " << stage.getSymName()
                          << (names.size() == 1 ? " stays" : " stay")
                          << " on the device: " << reason << "; the first is '"
                          << names.front() << "'";
  }

private:
  /// A value on the host as a region takes it.
  struct Arrival {
    BlockArgument argument;
    Operation *user; ///< the first; null: none
    std::string name;
    OffloadLead lead;
  };

  SmallVector<BlockArgument> argumentsFor(unsigned kept) {
    SmallVector<BlockArgument> arguments;
    for (pipe::Phase phase :
         {pipe::Phase::Backward, pipe::Phase::BackwardInput})
      if (Region &region = stage.getRegion(phase); !region.empty())
        arguments.push_back(
            region.getArgument(stage.getNumHiddenOutputs() + kept));
    return arguments;
  }

  SmallVector<unsigned> positionsOf(Value value) {
    SmallVector<unsigned> positions;
    for (auto [index, kept] :
         llvm::enumerate(yieldOf(stage.getForward()).getKept()))
      if (kept == value)
        positions.push_back(index);
    return positions;
  }

  OffloadLead leadOf(const CoveredValue &chosen) const {
    return chosen.lead ? OffloadLead{.layers = *chosen.lead} : lead;
  }

  /// Whether its way back would begin with the backward region, with the lead
  /// that all have: with less it would have left the device for a moment only.
  bool isNeededAtOnce(Value value) {
    for (unsigned position : positionsOf(value))
      for (BlockArgument argument : argumentsFor(position))
        if (Operation *user = firstUser(argument);
            user && !pointAhead(user, lead)->getPrevNode())
          return true;
    return false;
  }

  void offload(const CoveredValue &chosen) {
    OpBuilder builder(stage.getContext());
    setBehindUses(builder, chosen.value);
    auto copy = pipe::OffloadOp::create(
        builder, nameLoc(stage.getContext(), chosen.name + ".offload"),
        chosen.value);
    SmallVector<StringAttr> ops = {
        builder.getStringAttr(chosen.name + ".offload")};
    pipe::YieldOp yield = yieldOf(stage.getForward());
    for (unsigned position : positionsOf(chosen.value)) {
      yield.getKeptMutable()[position].assign(copy.getResult());
      for (BlockArgument argument : argumentsFor(position))
        arrive({argument, firstUser(argument), chosen.name + ".reload",
                leadOf(chosen)},
               copy.getType(), ops);
    }
    decisions.push_back(pipe::DecisionAttr::get(
        stage.getContext(), pipe::Action::Offload, chosen.name,
        plan::alignUp(getByteSize(chosen.value.getType())), ops,
        policy::print({choices[chosen.choice].name,
                       choices[chosen.choice].scope, chosen.lead})));
  }

  /// The value comes to a region on the host, and from there to the one behind
  /// it.
  void arrive(const Arrival &arrival, Type type,
              SmallVectorImpl<StringAttr> &ops) {
    BlockArgument argument = arrival.argument;
    argument.setType(type);
    if (arrival.user) {
      arrivals[argument.getOwner()].push_back(arrival);
      auto op = StringAttr::get(stage.getContext(), arrival.name);
      if (!llvm::is_contained(ops, op))
        ops.push_back(op);
    }
    Region *region = argument.getParentRegion();
    if (region != &stage.getBackwardInput())
      return;
    for (auto [index, kept] : llvm::enumerate(yieldOf(*region).getKept()))
      if (kept == argument) {
        BlockArgument behind = stage.getWeightGrad().getArgument(index);
        arrive({behind, firstUser(behind), arrival.name + "_for_weights",
                arrival.lead},
               type, ops);
      }
  }

  /// Copies back what arrived: what is used first comes first.
  void reloadAll() {
    for (auto &[block, list] : arrivals) {
      // Arrivals with one first user keep the order of arguments.
      llvm::sort(list, [](const Arrival &a, const Arrival &b) {
        return a.user != b.user
                   ? a.user->isBeforeInBlock(b.user)
                   : a.argument.getArgNumber() < b.argument.getArgNumber();
      });
      for (Arrival &arrival : list) {
        OpBuilder builder(pointAhead(arrival.user, arrival.lead));
        auto reload = pipe::ReloadOp::create(
            builder, nameLoc(stage.getContext(), arrival.name),
            arrival.argument);
        arrival.argument.replaceUsesWithIf(
            reload.getResult(), [&](OpOperand &use) {
              return use.getOwner() != reload &&
                     !isa<pipe::YieldOp>(use.getOwner());
            });
      }
    }
  }

  pipe::StageOp stage;
  const OffloadLead &lead;
  bool turns;
  ArrayRef<policy::Choice> choices;
  SmallVector<Attribute> decisions;
  llvm::MapVector<Block *, SmallVector<Arrival>> arrivals;
  llvm::MapVector<const char *, SmallVector<std::string>> stay; ///< by reason
};

struct InsertOffload : public moe::impl::InsertOffloadBase<InsertOffload> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(insertOffload(module, {targets, {leadLayers, leadOps}},
                             findTurningStages(module))))
      signalPassFailure();
  }
};

} // namespace

LogicalResult moe::offloadValues(pipe::StageOp stage,
                                 ArrayRef<CoveredValue> values,
                                 ArrayRef<policy::Choice> choices,
                                 const OffloadLead &lead, bool isTurning) {
  return StageOffload(stage, lead, isTurning, choices).run(values);
}

LogicalResult moe::insertOffload(ModuleOp module,
                                 ArrayRef<policy::Choice> choices,
                                 const OffloadLead &lead,
                                 const llvm::StringSet<> &turning) {
  if (lead.layers < 0 || lead.ops < 0)
    return module.emitError()
           << "offload: a lead of " << (lead.ops < 0 ? lead.ops : lead.layers)
           << " is behind the first use";
  FailureOr<SmallVector<CoveredValue>> covered =
      resolveChoices(module, choices, "offload");
  if (failed(covered))
    return failure();
  llvm::MapVector<Operation *, SmallVector<CoveredValue>> valuesOf;
  for (const CoveredValue &each : *covered)
    valuesOf[each.stage].push_back(each);
  for (auto &[op, values] : valuesOf) {
    auto stage = cast<pipe::StageOp>(op);
    StageOffload offload(stage, lead, turning.contains(stage.getSymName()),
                         choices);
    if (failed(offload.run(values)))
      return failure();
    offload.remark();
  }
  return success();
}

LogicalResult moe::insertOffload(ModuleOp module, const OffloadRequest &request,
                                 const llvm::StringSet<> &turning) {
  if (request.targets.empty())
    return success();
  Result<std::vector<policy::Choice>> choices =
      policy::parseChoices(request.targets, policy::Leads::taken);
  if (!choices)
    return module.emitError() << "offload: " << choices.error().message;
  return insertOffload(module, *choices, request.lead, turning);
}
