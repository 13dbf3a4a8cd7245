//===- PartitionStages.cpp - blocks to stages -----------------------------===//

#include "passes/Partition/PartitionStages.h"

#include "compiler/Optimize/Partition.h"
#include "passes/Differentiate/GradientNeeds.h"
#include "passes/Passes.h"

#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

namespace moe {
#define GEN_PASS_DEF_PARTITIONSTAGES
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

std::string stageName(int64_t index) { return "s" + std::to_string(index); }

/// Merges the regions of `blocks` into one stage.
class StageMerger {
public:
  StageMerger(OpBuilder &builder, int64_t index, int64_t rank,
              MutableArrayRef<BlockOp> blocks)
      : builder(builder), index(index), rank(rank), blocks(blocks) {}

  pipe::StageOp run() {
    Location loc = blocks.front().getLoc();
    stage = pipe::StageOp::create(
        builder, loc, stageName(index), uint64_t(rank),
        builder.getStrArrayAttr(names()), builder.getArrayAttr({}),
        builder.getArrayAttr({}));
    mergeForward();
    // Gradients end before the first block that has a backward.
    while (firstTrained < blocks.size() &&
           blocks[firstTrained].getBackward().empty())
      ++firstTrained;
    if (firstTrained < blocks.size()) {
      mergeBackwardInput();
      mergeWeightGrad();
    }
    SmallVector<Attribute> inputs, outputs;
    for (auto &[role, argument] : roles)
      inputs.push_back(builder.getStringAttr(role));
    for (StringRef role : outputRoles)
      outputs.push_back(builder.getStringAttr(role));
    stage.setInputsAttr(builder.getArrayAttr(inputs));
    stage.setOutputsAttr(builder.getArrayAttr(outputs));
    return stage;
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

  void mergeBackwardInput() {
    Block &target = stage.getBackwardInput().emplaceBlock();
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
    for (size_t number = blocks.size(); number-- > firstTrained;) {
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
    for (size_t number = blocks.size(); number-- > firstTrained;)
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
    for (size_t number = blocks.size(); number-- > firstTrained;) {
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
  int64_t index, rank;
  MutableArrayRef<BlockOp> blocks;
  pipe::StageOp stage;
  /// Role -> argument of the stage's forward region, in order of first need.
  llvm::MapVector<StringRef, Value> roles;
  SmallVector<StringRef> outputRoles;
  /// Saved forward value -> argument of the stage's backward_input region.
  llvm::MapVector<Value, Value> kept;
  /// Backward value -> argument of the stage's weight_grad region.
  llvm::MapVector<Value, Value> deferred;
  SmallVector<SmallVector<Value>> savedOf, deferredOf;
  size_t firstTrained = 0; ///< of the blocks
};

/// The second copy of a model: stages like those of the first, with parameters
/// of their own that are tied to the first one's.
class Replicator {
public:
  explicit Replicator(ModuleOp module) : symbols(module) {
    replacer.addReplacement([this](FlatSymbolRefAttr symbol) {
      return FlatSymbolRefAttr::get(copyOf(symbol));
    });
  }

  /// Appends the copy of `stage` behind `last`.
  pipe::StageOp run(pipe::StageOp stage, pipe::StageOp last, int64_t index,
                    int64_t rank) {
    OpBuilder builder(stage.getContext());
    builder.setInsertionPointAfter(last);
    auto copy = cast<pipe::StageOp>(builder.clone(*stage));
    copy.setSymName(stageName(index));
    copy.setRank(rank);
    // The body of a stage names nothing but parameters.
    for (Region &region : copy->getRegions())
      for (Operation &op : region.getOps())
        replacer.replaceElementsIn(&op);
    return copy;
  }

private:
  StringAttr copyOf(FlatSymbolRefAttr symbol) {
    StringAttr &name = copies[symbol.getAttr()];
    if (name)
      return name;
    auto original = symbols.lookup<ParameterOp>(symbol.getValue());
    OpBuilder builder(original->getContext());
    builder.setInsertionPointAfter(original);
    auto copy = cast<ParameterOp>(builder.clone(*original));
    copy.setSymName((original.getSymName() + ".copy").str());
    // What the original is a copy of itself is what all copies are tied to.
    copy.setTiedToAttr(original.getTiedToAttr() ? original.getTiedToAttr()
                                                : symbol);
    return name = copy.getSymNameAttr();
  }

  SymbolTable symbols;
  AttrTypeReplacer replacer;
  DenseMap<StringAttr, StringAttr> copies;
};

/// Whether the blocks can be merged: differentiated, one value passed on.
LogicalResult checkBlocks(ModuleOp module, ArrayRef<BlockOp> blocks) {
  if (blocks.empty())
    return module.emitError()
           << "the module holds no moe.block; run moe-expand-layers and "
              "moe-differentiate first";
  for (BlockOp block : blocks)
    for (ArrayAttr roles : {block.getInputs(), block.getOutputs()})
      if (size_t count = BlockOp::getPositions(roles, "hidden").size();
          count > 1)
        return block.emitOpError()
               << "has " << count << " hidden "
               << (roles == block.getInputs() ? "inputs" : "outputs")
               << "; stages pass on one";
  SymbolTableCollection symbols;
  BlockOp trained;
  for (BlockOp block : blocks) {
    if (block.getDetached() && trained)
      return (block.emitOpError()
              << "is detached, but something before it is trained")
                 .attachNote(trained.getLoc())
             << "this block has a backward";
    if (!block.getBackward().empty() && !block.getWeightGrad().empty())
      trained = block;
    else if (GradientNeeds(block, symbols).any())
      return block.emitOpError()
             << "is not differentiated; run moe-differentiate first";
  }
  return success();
}

/// Whether every parameter belongs to one stage, where its gradient is.
LogicalResult checkParameters(ArrayRef<pipe::StageOp> stages) {
  DenseMap<StringAttr, pipe::StageOp> owners;
  for (pipe::StageOp stage : stages) {
    WalkResult result = stage.walk([&](KernelOpInterface kernel) {
      for (const ParameterUse &use : kernel.getParameters()) {
        if (!use.symbol)
          continue;
        pipe::StageOp &owner = owners[use.symbol.getAttr()];
        if (owner && owner != stage) {
          (stage.emitOpError() << "uses the parameter " << use.symbol
                               << " of another stage; use fewer stages a rank")
                  .attachNote(owner.getLoc())
              << "the other stage";
          return WalkResult::interrupt();
        }
        owner = stage;
      }
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return failure();
  }
  return success();
}

struct PartitionStages
    : public moe::impl::PartitionStagesBase<PartitionStages> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    FailureOr<schedule::ScheduleProblem> problem =
        makeProblem(module, stagesPerRank, placement);
    if (failed(problem) || failed(partitionStages(module, *problem, layers)))
      signalPassFailure();
  }
};

} // namespace

pipe::StageOp moe::mergeBlocks(OpBuilder &builder, int64_t index, int64_t rank,
                               MutableArrayRef<BlockOp> blocks) {
  return StageMerger(builder, index, rank, blocks).run();
}

int64_t moe::countDecoderBlocks(ModuleOp module) {
  return llvm::count_if(module.getOps<BlockOp>(), [](BlockOp block) {
    return block.getKind() == BlockKind::decoder;
  });
}

FailureOr<schedule::ScheduleProblem>
moe::makeProblem(ModuleOp module, int64_t stagesPerRank, StringRef placement) {
  pipe::LayoutAttr layout = pipe::LayoutAttr::get(module);
  if (!layout)
    return failure();
  std::optional<schedule::Placement> place =
      schedule::parsePlacement(placement);
  if (!place)
    return module.emitError() << "unknown placement '" << placement
                              << "'; known: loop, v, bidirectional";
  schedule::ScheduleProblem problem;
  problem.ranks = layout.getPipelineRanks();
  problem.microbatches = layout.getMicrobatches();
  problem.stagesPerRank = stagesPerRank;
  problem.placement = *place;
  if (Status possible = problem.check(); !possible)
    return module.emitError() << possible.error().message;
  return problem;
}

/// The layers of each stage of one copy of the model, as given or even.
static FailureOr<SmallVector<int64_t>> sharesOf(ModuleOp module, int64_t layers,
                                                int64_t stages,
                                                ArrayRef<int64_t> given) {
  if (given.empty())
    return llvm::to_vector(optimize::uniformShares(layers, stages));
  if (static_cast<int64_t>(given.size()) != stages)
    return module.emitError()
           << "the partition names the layers of " << given.size()
           << " stages; there are " << stages;
  int64_t sum = 0;
  for (int64_t share : given) {
    if (share < 1 || share > layers)
      return module.emitError() << "the partition gives a stage " << share
                                << " layers; every stage needs 1 to " << layers;
    sum += share;
  }
  if (sum != layers)
    return module.emitError() << "the partition has " << sum
                              << " layers; the model has " << layers;
  return llvm::to_vector(given);
}

LogicalResult moe::partitionStages(ModuleOp module,
                                   const schedule::ScheduleProblem &problem,
                                   ArrayRef<int64_t> given) {
  SmallVector<BlockOp> blocks(module.getOps<BlockOp>());
  if (failed(checkBlocks(module, blocks)))
    return failure();
  int64_t layers = countDecoderBlocks(module);
  int64_t stages = problem.stagesPerReplica();
  if (layers < stages)
    return module.emitError()
           << "the model has " << layers << " decoder layers for " << stages
           << " stages (" << problem.ranks << " pipeline ranks, "
           << stages / problem.ranks
           << " each); every stage needs a layer of its own";

  OpBuilder builder(blocks.front());
  SmallVector<pipe::StageOp> made;
  FailureOr<SmallVector<int64_t>> shares =
      sharesOf(module, layers, stages, given);
  if (failed(shares))
    return failure();
  MutableArrayRef<BlockOp> rest(blocks);
  for (int64_t stage = 0; stage < stages; ++stage) {
    size_t count = 0;
    int64_t decoders = 0;
    while (count < rest.size() &&
           (stage + 1 == stages || decoders < (*shares)[stage])) {
      decoders += rest[count].getKind() == BlockKind::decoder;
      ++count;
    }
    made.push_back(mergeBlocks(builder, stage, problem.rankOf(stage),
                               rest.take_front(count)));
    rest = rest.drop_front(count);
  }
  for (BlockOp block : blocks)
    block.erase();
  if (failed(checkParameters(made)))
    return failure();
  if (problem.replicas() == 2) {
    Replicator replicator(module);
    for (int64_t stage = 0; stage < stages; ++stage)
      made.push_back(replicator.run(made[stage], made.back(), stages + stage,
                                    problem.rankOf(stages + stage)));
  }
  return success();
}
