//===- FuseWeightGradients.cpp - weight gradients within backward ---------===//

#include "passes/Passes.h"

namespace moe {
#define GEN_PASS_DEF_FUSEWEIGHTGRADIENTS
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Moves `op` behind the definition of the last of its operands in `block`, or
/// to the front when all of them are arguments.
void sinkBehindOperands(Operation *op, Block &block) {
  Operation *last = nullptr;
  for (Value operand : op->getOperands())
    if (Operation *producer = operand.getDefiningOp())
      if (!last || last->isBeforeInBlock(producer))
        last = producer;
  if (last)
    op->moveAfter(last);
  else
    op->moveBefore(&block, block.begin());
}

struct FuseWeightGradients
    : public moe::impl::FuseWeightGradientsBase<FuseWeightGradients> {
  void runOnOperation() override {
    pipe::StageOp stage = getOperation();
    if (stage.getWeightGrad().empty())
      return;
    Block &backward = stage.getBackward().front();
    Block &weightGrad = stage.getWeightGrad().front();
    auto yield = cast<pipe::YieldOp>(backward.getTerminator());
    for (auto [argument, value] :
         llvm::zip(weightGrad.getArguments(), yield.getKept()))
      argument.replaceAllUsesWith(value);
    yield.getKeptMutable().clear();

    // In reverse, so that ops with the same last operand keep their order.
    SmallVector<Operation *> ops;
    for (Operation &op : weightGrad.without_terminator())
      ops.push_back(&op);
    for (Operation *op : llvm::reverse(ops))
      sinkBehindOperands(op, backward);
    weightGrad.erase();
  }
};

} // namespace
