//===- LiveBytes.cpp - what lives at each op of a region ------------------===//

#include "passes/Releases/LiveBytes.h"

#include "dialects/MoE/IR/MoE.h"
#include "passes/Releases/StorageUses.h"
#include "runtime/Plan/Plan.h"

using namespace mlir;
using namespace moe;

int64_t moe::getStorageBytes(Value value) {
  return plan::alignUp(getByteSize(value.getType()));
}

int64_t moe::getScratchBytes(Operation *op) {
  auto scratch = dyn_cast<ScratchOpInterface>(op);
  return scratch ? plan::alignUp(scratch.getScratch().bytes) : 0;
}

bool moe::isExchange(Operation *op) {
  auto stream = dyn_cast<StreamOpInterface>(op);
  return stream && stream.getStreamKind() != StreamKind::compute;
}

LiveBytes::LiveBytes(Block &block) {
  auto addLife = [&](Value value, Operation *first) {
    if (Operation *end = getEndOfUses(value))
      add(getStorageBytes(value), first, end);
  };
  for (BlockArgument argument : block.getArguments())
    addLife(argument, &block.front());
  for (Operation &op : block)
    for (Value result : op.getResults())
      addLife(result, &op);
  for (Operation &op : block)
    most = std::max(most, at(&op));
}

void LiveBytes::add(int64_t bytes, Operation *first, Operation *last) {
  for (Operation *op = first;; op = op->getNextNode()) {
    live[op] += bytes;
    if (op == last)
      return;
  }
}
