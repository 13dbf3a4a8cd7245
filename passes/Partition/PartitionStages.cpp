//===- PartitionStages.cpp - blocks to stages -----------------------------===//

#include "passes/Passes.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

namespace moe {
#define GEN_PASS_DEF_PARTITIONSTAGES
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Number of decoder blocks of each stage: equal shares, a remainder to the
/// stages nearest the middle's front (the first and the last stage carry the
/// embedding and the head besides).
SmallVector<int64_t> uniformShares(int64_t layers, int64_t stages) {
  SmallVector<int64_t> shares(stages, layers / stages);
  int64_t rest = layers % stages;
  for (int64_t stage = 1; stage + 1 < stages && rest > 0; ++stage, --rest)
    ++shares[stage];
  for (int64_t stage : {stages - 1, int64_t(0)})
    if (rest > 0) {
      ++shares[stage];
      --rest;
    }
  return shares;
}

/// Merges the regions of `blocks` into one stage.
class StageMerger {
public:
  StageMerger(OpBuilder &builder, int64_t index,
              MutableArrayRef<BlockOp> blocks)
      : builder(builder), index(index), blocks(blocks) {}

  void run() {
    OpBuilder::InsertionGuard guard(builder);
    Location loc = blocks.front().getLoc();
    stage = pipe::StageOp::create(
        builder, loc, "s" + std::to_string(index), uint64_t(index),
        builder.getStrArrayAttr(names()), builder.getArrayAttr({}),
        builder.getArrayAttr({}));
    mergeForward();
    mergeBackward();
    mergeWeightGrad();
    SmallVector<Attribute> inputs, outputs;
    for (auto &[role, argument] : roles)
      inputs.push_back(builder.getStringAttr(role));
    for (StringRef role : outputRoles)
      outputs.push_back(builder.getStringAttr(role));
    stage.setInputsAttr(builder.getArrayAttr(inputs));
    stage.setOutputsAttr(builder.getArrayAttr(outputs));
  }

private:
  SmallVector<StringRef> names() {
    SmallVector<StringRef> result;
    for (BlockOp block : blocks)
      result.push_back(block.getSymName());
    return result;
  }

  /// Moves the ops of `source` but its terminator to the end of `target`.
  static YieldOp splice(Block &source, Block &target) {
    auto yield = cast<YieldOp>(source.getTerminator());
    target.getOperations().splice(target.end(), source.getOperations(),
                                  source.begin(), Block::iterator(yield));
    return yield;
  }

  void mergeForward() {
    Block &target = stage.getForward().emplaceBlock();
    Value hidden;
    SmallVector<Value> losses;
    savedOf.resize(blocks.size());
    for (size_t number = 0; number < blocks.size(); ++number) {
      BlockOp block = blocks[number];
      Block &source = block.getForward().front();
      for (auto [role, argument] :
           llvm::zip(block.getInputs().getAsValueRange<StringAttr>(),
                     source.getArguments())) {
        Value given =
            role == "hidden" && hidden ? hidden : Value(roles.lookup(role));
        if (!given) {
          given = target.addArgument(argument.getType(), argument.getLoc());
          roles[role] = given;
        }
        argument.replaceAllUsesWith(given);
      }
      YieldOp yield = splice(source, target);
      hidden = nullptr;
      for (auto [role, value] :
           llvm::zip(block.getOutputs().getAsValueRange<StringAttr>(),
                     yield.getResults()))
        (role == "hidden" ? hidden : losses.emplace_back()) = value;
      llvm::append_range(savedOf[number], yield.getSaved());
    }

    SmallVector<Value> results;
    if (hidden) {
      results.push_back(hidden);
      outputRoles.push_back("hidden");
    }
    for (Value loss : losses) {
      results.push_back(loss);
      outputRoles.push_back("loss");
    }
    for (auto &saved : savedOf)
      for (Value value : saved)
        kept.insert({value, nullptr});
    SmallVector<Value> keptValues;
    for (auto &entry : kept)
      keptValues.push_back(entry.first);
    OpBuilder end = OpBuilder::atBlockEnd(&target);
    pipe::YieldOp::create(end, stage.getLoc(), results, keptValues);
  }

  void mergeBackward() {
    Block &target = stage.getBackward().emplaceBlock();
    Value gradient;
    if (llvm::is_contained(outputRoles, "hidden")) {
      Value hidden =
          cast<pipe::YieldOp>(stage.getForward().front().getTerminator())
              .getResults()
              .front();
      gradient = target.addArgument(hidden.getType(), hidden.getLoc());
    }
    for (auto &[value, argument] : kept)
      argument = target.addArgument(value.getType(), value.getLoc());

    deferredOf.resize(blocks.size());
    for (size_t number = blocks.size(); number-- > 0;) {
      BlockOp block = blocks[number];
      Block &source = block.getBackward().front();
      unsigned entering = 0;
      for (StringRef role : block.getOutputs().getAsValueRange<StringAttr>())
        if (role == "hidden")
          source.getArgument(entering++).replaceAllUsesWith(gradient);
      for (auto [argument, value] : llvm::zip(
               source.getArguments().drop_front(entering), savedOf[number]))
        argument.replaceAllUsesWith(kept.lookup(value));
      YieldOp yield = splice(source, target);
      gradient = nullptr;
      for (Value leaving : yield.getResults())
        gradient = leaving;
      llvm::append_range(deferredOf[number], yield.getSaved());
    }

    SmallVector<Value> results;
    if (gradient && roles.contains("hidden"))
      results.push_back(gradient);
    for (size_t number = blocks.size(); number-- > 0;)
      for (Value value : deferredOf[number])
        deferred.insert({value, nullptr});
    SmallVector<Value> deferredValues;
    for (auto &entry : deferred)
      deferredValues.push_back(entry.first);
    OpBuilder end = OpBuilder::atBlockEnd(&target);
    pipe::YieldOp::create(end, stage.getLoc(), results, deferredValues);
  }

  void mergeWeightGrad() {
    Block &target = stage.getWeightGrad().emplaceBlock();
    for (auto &[value, argument] : deferred)
      argument = target.addArgument(value.getType(), value.getLoc());
    for (size_t number = blocks.size(); number-- > 0;) {
      Block &source = blocks[number].getWeightGrad().front();
      for (auto [argument, value] :
           llvm::zip(source.getArguments(), deferredOf[number]))
        argument.replaceAllUsesWith(deferred.lookup(value));
      splice(source, target);
    }
    OpBuilder end = OpBuilder::atBlockEnd(&target);
    pipe::YieldOp::create(end, stage.getLoc(), ValueRange{}, ValueRange{});
  }

  OpBuilder &builder;
  int64_t index;
  MutableArrayRef<BlockOp> blocks;
  pipe::StageOp stage;
  /// Role -> argument of the stage's forward region, in order of first need.
  llvm::MapVector<StringRef, Value> roles;
  SmallVector<StringRef> outputRoles;
  /// Saved forward value -> argument of the stage's backward region.
  llvm::MapVector<Value, Value> kept;
  /// Backward value -> argument of the stage's weight_grad region.
  llvm::MapVector<Value, Value> deferred;
  SmallVector<SmallVector<Value>> savedOf, deferredOf;
};

struct PartitionStages
    : public moe::impl::PartitionStagesBase<PartitionStages> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
    if (!layout)
      return signalPassFailure();
    SmallVector<BlockOp> blocks(module.getOps<BlockOp>());
    if (blocks.empty()) {
      module.emitError()
          << "the module holds no moe.block; run moe-expand-layers and "
             "moe-differentiate first";
      return signalPassFailure();
    }
    for (BlockOp block : blocks)
      for (ArrayAttr roles : {block.getInputs(), block.getOutputs()})
        if (size_t count = BlockOp::getPositions(roles, "hidden").size();
            count > 1) {
          block.emitOpError()
              << "has " << count << " hidden "
              << (roles == block.getInputs() ? "inputs" : "outputs")
              << "; stages pass on one";
          return signalPassFailure();
        }
    for (BlockOp block : blocks)
      if (block.getBackward().empty() || block.getWeightGrad().empty()) {
        block.emitOpError() << "is not differentiated; run moe-differentiate "
                               "first";
        return signalPassFailure();
      }
    int64_t layers = llvm::count_if(blocks, [](BlockOp block) {
      return block.getKind() == BlockKind::decoder;
    });
    int64_t stages = layout.getPipelineRanks();
    if (layers < stages) {
      module.emitError() << "the model has " << layers << " decoder layers for "
                         << stages
                         << " pipeline ranks; use at most one rank a layer";
      return signalPassFailure();
    }

    OpBuilder builder(blocks.front());
    SmallVector<int64_t> shares = uniformShares(layers, stages);
    MutableArrayRef<BlockOp> rest(blocks);
    for (int64_t stage = 0; stage < stages; ++stage) {
      size_t count = 0;
      int64_t decoders = 0;
      while (count < rest.size() &&
             (stage + 1 == stages || decoders < shares[stage])) {
        decoders += rest[count].getKind() == BlockKind::decoder;
        ++count;
      }
      StageMerger(builder, stage, rest.take_front(count)).run();
      rest = rest.drop_front(count);
    }
    for (BlockOp block : blocks)
      block.erase();
  }
};

} // namespace
