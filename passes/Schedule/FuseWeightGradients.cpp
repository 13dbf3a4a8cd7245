//===- FuseWeightGradients.cpp - weight gradients within backward ---------===//

#include "passes/Passes.h"

namespace moe {
#define GEN_PASS_DEF_FUSEWEIGHTGRADIENTS
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

/// Puts ops into a block, each behind the definition of the last of its
/// operands there, or at the front when all of them are arguments. Ops of the
/// same place keep the order in which they are put.
class OpPlacer {
public:
  explicit OpPlacer(Block &block) : block(block) {}

  void place(Operation *op) {
    Operation *last = nullptr;
    for (Operation *producer :
         llvm::map_range(op->getOperands(),
                         [](Value operand) { return operand.getDefiningOp(); }))
      if (producer && (!last || last->isBeforeInBlock(producer)))
        last = producer;
    Operation *&newest = newestBehind[last];
    if (newest)
      op->moveAfter(newest);
    else if (last)
      op->moveAfter(last);
    else
      op->moveBefore(&block, block.begin());
    newest = op;
  }

private:
  Block &block;
  /// Last operand's definition (null: the front) -> op placed there last.
  DenseMap<Operation *, Operation *> newestBehind;
};

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

    OpPlacer placer(backward);
    for (Operation &op :
         llvm::make_early_inc_range(weightGrad.without_terminator()))
      placer.place(&op);
    weightGrad.erase();
  }
};

} // namespace
