//===- GradientNeeds.cpp - which values need a gradient -------------------===//

#include "passes/Differentiate/GradientNeeds.h"

using namespace mlir;
using namespace moe;

GradientNeeds::GradientNeeds(BlockOp block, SymbolTableCollection &symbols)
    : block(block), symbols(symbols) {
  if (block.getForward().empty())
    return;
  Block &forward = block.getForward().front();
  if (!block.getDetached())
    for (unsigned position : BlockOp::getPositions(block.getInputs(), "hidden"))
      values.insert(forward.getArgument(position));
  for (Operation &op : forward.without_terminator()) {
    bool needs = llvm::any_of(op.getOperands(),
                              [&](Value operand) { return of(operand); });
    if (auto kernel = dyn_cast<KernelOpInterface>(op))
      for (const ParameterUse &use : kernel.getParameters())
        needs |= use.symbol && isTrainable(use.symbol);
    if (needs)
      values.insert_range(op.getResults());
  }
}

bool GradientNeeds::isTrainable(FlatSymbolRefAttr parameter) {
  auto declared =
      symbols.lookupNearestSymbolFrom<ParameterOp>(block, parameter);
  return !declared || declared.getTrainable();
}

FailureOr<bool> GradientNeeds::trainsAll(Operation *weightGradient) {
  FlatSymbolRefAttr trained, frozen;
  for (const ParameterUse &use :
       cast<KernelOpInterface>(weightGradient).getParameters())
    if (use.symbol)
      (isTrainable(use.symbol) ? trained : frozen) = use.symbol;
  if (trained && frozen)
    return weightGradient->emitOpError()
           << "adds to the gradients of " << trained << " and " << frozen
           << ", of which only the first is trainable; freeze both or neither";
  return static_cast<bool>(trained);
}
