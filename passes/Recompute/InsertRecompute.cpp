//===- InsertRecompute.cpp - run ops again instead of keeping -------------===//

#include "passes/Recompute/InsertRecompute.h"

#include "passes/Passes.h"
#include "passes/Policies/Targets.h"
#include "passes/Recompute/ReplayRewriter.h"
#include "runtime/Plan/Plan.h"
#include "support/Words.h"

#include "mlir/IR/Builders.h"

namespace moe {
#define GEN_PASS_DEF_INSERTRECOMPUTE
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

int64_t bytesOf(Value value) {
  return plan::alignUp(getByteSize(value.getType()));
}

/// What is kept besides, over all stages, for the remark.
struct Additions {
  int64_t values = 0, bytes = 0;
  std::string first;

  void add(pipe::StageOp stage, Value value) {
    if (values++ == 0)
      first = getPlanName(stage, value);
    bytes += bytesOf(value);
  }
};

/// The values of one stage that are to be recomputed.
struct StageChoices {
  SmallVector<Value> values;
  DenseMap<Value, const CoveredValue *> covered;
};

/// Every value that a user named must be one that can be made again. Of
/// targets, what cannot stays.
LogicalResult checkNamed(ModuleOp module, const CoveredValue &covered,
                         const ReplayOptions &options) {
  if (!covered.isNamed)
    return success();
  Operation *op = covered.value.getDefiningOp();
  if (!op)
    return module.emitError() << "recompute: '" << covered.name
                              << "' enters the stage; nothing there makes it";
  if (!isReplayable(op))
    return module.emitError() << "recompute: '" << covered.name
                              << "' cannot be recomputed: a second run of '"
                              << op->getName() << "' may decide differently";
  if (options.keepHandles && isKeptWithHandle(cast<OpResult>(covered.value)))
    return module.emitError()
           << "recompute: '" << covered.name
           << "' is kept with the handle that replays follow (keep-handles)";
  return success();
}

void recordDecisions(pipe::StageOp stage, const Replays &replays,
                     const StageChoices &chosen,
                     ArrayRef<policy::Choice> choices) {
  MLIRContext *context = stage.getContext();
  SmallVector<Attribute> decisions;
  if (auto earlier =
          stage->getAttrOfType<ArrayAttr>(pipe::DecisionAttr::kListName))
    llvm::append_range(decisions, earlier);
  for (auto &[value, ops] : replays.dropped) {
    const CoveredValue &covered = *chosen.covered.lookup(value);
    SmallVector<StringAttr> names =
        llvm::map_to_vector(ops, [&](Operation *op) {
          return StringAttr::get(context, getOpName(op) + kReplaySuffix);
        });
    decisions.push_back(pipe::DecisionAttr::get(
        context, pipe::Action::Recompute, covered.name, bytesOf(value), names,
        policy::print(choices[covered.choice])));
  }
  for (Value value : replays.added)
    decisions.push_back(pipe::DecisionAttr::get(
        context, pipe::Action::Keep, getPlanName(stage, value), -bytesOf(value),
        {}, "replays need it"));
  if (!decisions.empty())
    stage->setAttr(pipe::DecisionAttr::kListName,
                   ArrayAttr::get(context, decisions));
}

struct InsertRecompute
    : public moe::impl::InsertRecomputeBase<InsertRecompute> {
  using Base::Base;

  void runOnOperation() override {
    if (failed(insertRecompute(getOperation(), {targets, {keepHandles}})))
      signalPassFailure();
  }
};

} // namespace

LogicalResult moe::insertRecompute(ModuleOp module,
                                   const RecomputeRequest &request) {
  if (request.targets.empty())
    return success();
  Result<std::vector<policy::Choice>> parsed =
      policy::parseChoices(request.targets);
  if (!parsed)
    return module.emitError() << "recompute: " << parsed.error().message;
  const std::vector<policy::Choice> &choices = *parsed;
  const ReplayOptions &options = request.options;
  FailureOr<SmallVector<CoveredValue>> covered =
      resolveChoices(module, choices, "recompute");
  if (failed(covered))
    return failure();
  llvm::MapVector<Operation *, StageChoices> chosenOf;
  for (const CoveredValue &each : *covered) {
    if (failed(checkNamed(module, each, options)))
      return failure();
    StageChoices &chosen = chosenOf[each.stage];
    chosen.values.push_back(each.value);
    chosen.covered[each.value] = &each;
  }
  for (auto &[op, chosen] : chosenOf) {
    WalkResult released =
        op->walk([](pipe::ReleaseOp) { return WalkResult::interrupt(); });
    if (released.wasInterrupted())
      return op->emitOpError() << "holds releases already; recompute comes "
                                  "before pipe-place-releases";
  }

  Additions additions;
  for (auto &[op, chosen] : chosenOf) {
    auto stage = cast<pipe::StageOp>(op);
    Replays replays = findReplays(stage, chosen.values, options);
    recordDecisions(stage, replays, chosen, choices);
    for (Value value : replays.added)
      additions.add(stage, value);
    insertReplays(stage, replays);
  }
  if (additions.values)
    module.emitRemark() << "recompute: " << counted(additions.values, "value")
                        << (additions.values == 1 ? " becomes" : " become")
                        << " kept that replays need and that "
                           "cannot be, or are hardly worth being, made again, "
                        << additions.bytes << " bytes a microbatch over all "
                        << "stages; the first is '" << additions.first << "'";
  return success();
}
