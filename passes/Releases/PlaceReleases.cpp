//===- PlaceReleases.cpp - end storage after the last use -----------------===//

#include "passes/Releases/PlaceReleases.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Passes.h"
#include "passes/Releases/StorageUses.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

namespace moe {
#define GEN_PASS_DEF_PLACERELEASES
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Lets ops overwrite operands of which nothing is read later.
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

/// Arguments and results of `block` that its terminator does not yield and no
/// op overwrites, in order of definition.
SmallVector<Value> valuesEndingIn(Block &block) {
  SmallVector<Value> values(block.getArguments());
  for (Operation &op : block)
    llvm::append_range(values, op.getResults());
  llvm::erase_if(values, [&](Value value) {
    return getOverwriter(value) ||
           llvm::is_contained(block.getTerminator()->getOperands(), value);
  });
  return values;
}

void placeBlockReleases(Block &block) {
  // Null: the front of the block.
  llvm::MapVector<Operation *, SmallVector<Value>> releasesBehind;
  for (Value value : valuesEndingIn(block))
    releasesBehind[getEndOfUses(value)].push_back(value);
  for (auto &[op, values] : releasesBehind) {
    OpBuilder builder(block.getParentOp()->getContext());
    if (!op)
      builder.setInsertionPointToStart(&block);
    else if (op == block.getTerminator())
      builder.setInsertionPoint(op);
    else
      builder.setInsertionPointAfter(op);
    for (Value value : values)
      pipe::ReleaseOp::create(builder, value.getLoc(), value);
  }
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

void moe::placeReleases(pipe::StageOp stage, bool overwrite) {
  for (pipe::Phase phase : stage.getPhases()) {
    Block &block = stage.getRegion(phase).front();
    if (overwrite)
      placeInPlace(block);
    placeBlockReleases(block);
  }
}
