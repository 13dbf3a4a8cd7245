//===- PlaceReleases.cpp - end storage after the last use -----------------===//

#include "passes/Releases/PlaceReleases.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Passes.h"
#include "passes/Releases/StorageUses.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseSet.h"

namespace moe {
#define GEN_PASS_DEF_PLACERELEASES
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

void placeInPlace(Block &block) {
  for (Operation &op : block) {
    auto alias = dyn_cast<AliasOpInterface>(op);
    std::optional<unsigned> operand =
        alias ? alias.getOverwritableOperand() : std::nullopt;
    if (!operand)
      continue;
    Value value = op.getOperand(*operand);
    if (value.getType() == op.getResult(0).getType() &&
        getEndOfUses(value) == &op && !isTransferred(value) &&
        !isTransferred(op.getResult(0)))
      op.setAttr(kInPlaceName, UnitAttr::get(op.getContext()));
  }
}

/// See findReleases(), in order of definition.
SmallVector<Value> valuesEndingIn(Block &block) {
  SmallVector<Value> values(block.getArguments());
  for (Operation &op : block)
    llvm::append_range(values, op.getResults());
  llvm::SmallDenseSet<Value> yielded;
  yielded.insert_range(block.getTerminator()->getOperands());
  llvm::erase_if(values, [&](Value value) {
    return yielded.contains(value) || getOverwriter(value);
  });
  return values;
}

void placeBlockReleases(Block &block) {
  Releases releases;
  findReleases(block, releases);
  OpBuilder builder(block.getParentOp()->getContext());
  auto release = [&](Operation *behind) {
    if (auto ended = releases.find(behind); ended != releases.end())
      for (Value value : ended->second)
        pipe::ReleaseOp::create(builder, value.getLoc(), value);
  };
  Operation *terminator = block.getTerminator();
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (&op == terminator)
      builder.setInsertionPoint(&op);
    else
      builder.setInsertionPointAfter(&op);
    release(&op);
  }
  builder.setInsertionPointToStart(&block);
  release(nullptr);
}

struct PlaceReleases : public moe::impl::PlaceReleasesBase<PlaceReleases> {
  using Base::Base;

  void runOnOperation() override {
    pipe::StageOp stage = getOperation();
    bool released = false;
    stage.walk([&](pipe::ReleaseOp) { released = true; });
    if (released) {
      stage.emitOpError() << "holds releases already";
      return signalPassFailure();
    }
    placeReleases(stage, overwrite);
  }
};

} // namespace

void moe::findReleases(Block &block, Releases &releases) {
  for (Value value : valuesEndingIn(block))
    releases[getEndOfUses(value)].push_back(value);
}

void moe::placeOverwrites(pipe::StageOp stage) {
  for (pipe::Phase phase : stage.getPhases())
    placeInPlace(stage.getRegion(phase).front());
}

void moe::placeReleases(pipe::StageOp stage, bool overwrite) {
  if (overwrite)
    placeOverwrites(stage);
  for (pipe::Phase phase : stage.getPhases())
    placeBlockReleases(stage.getRegion(phase).front());
}
