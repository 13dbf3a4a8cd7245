//===- FreezeParameters.cpp - what is not trained -------------------------===//

#include "passes/Differentiate/GradientNeeds.h"
#include "passes/Freeze/NamePattern.h"
#include "passes/Passes.h"

#include "llvm/ADT/MapVector.h"

namespace moe {
#define GEN_PASS_DEF_FREEZEPARAMETERS
#include "passes/Passes.h.inc"
} // namespace moe

using namespace mlir;
using namespace moe;

namespace {

struct FreezeParameters
    : public moe::impl::FreezeParametersBase<FreezeParameters> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(freeze(module)))
      return signalPassFailure();
    detach(module);
  }

private:
  /// Marks what the patterns name, and copies of it.
  LogicalResult freeze(ModuleOp module) {
    DenseMap<StringAttr, SmallVector<StringRef>> blocksOf;
    for (BlockOp block : module.getOps<BlockOp>())
      block.walk([&](KernelOpInterface kernel) {
        for (const ParameterUse &use : kernel.getParameters())
          if (use.symbol)
            blocksOf[use.symbol.getAttr()].push_back(block.getSymName());
      });
    SmallVector<NamePattern> patterns;
    SmallVector<StringRef> items;
    StringRef(parameters.getValue()).split(items, ',', -1, /*KeepEmpty=*/false);
    for (StringRef item : items) {
      FailureOr<NamePattern> pattern = NamePattern::parse(item);
      if (failed(pattern))
        return module.emitError()
               << "'" << item.trim()
               << "' is no pattern of names to freeze; expected e.g. "
                  "embedding, layers.0-3 or layers.*.moe.router";
      patterns.push_back(std::move(*pattern));
    }

    SmallVector<bool> isUsed(patterns.size());
    DenseSet<StringAttr> frozen;
    for (ParameterOp parameter : module.getOps<ParameterOp>()) {
      if (parameter.getTiedToAttr())
        continue;
      for (auto [pattern, used] : llvm::zip(patterns, isUsed)) {
        if (!pattern.matches(parameter.getSymName()) &&
            llvm::none_of(
                blocksOf.lookup(parameter.getSymNameAttr()),
                [&](StringRef block) { return pattern.matches(block); }))
          continue;
        used = true;
        frozen.insert(parameter.getSymNameAttr());
      }
    }
    for (auto [item, used] : llvm::zip(items, isUsed))
      if (!used)
        return module.emitError()
               << "nothing to freeze is called '" << item.trim()
               << "': neither a parameter nor a block";
    for (ParameterOp parameter : module.getOps<ParameterOp>()) {
      StringAttr name = parameter.getTiedToAttr()
                            ? parameter.getTiedToAttr().getAttr()
                            : parameter.getSymNameAttr();
      if (!frozen.contains(name))
        continue;
      parameter.setTrainable(false);
      parameter.setDecay(false);
    }
    return success();
  }

  /// Gradients end before the first block that needs any.
  static void detach(ModuleOp module) {
    SymbolTableCollection symbols;
    bool reached = false;
    for (BlockOp block : module.getOps<BlockOp>()) {
      if (!reached &&
          !BlockOp::getPositions(block.getInputs(), "hidden").empty())
        block.setDetached(true);
      reached |= GradientNeeds(block, symbols).any();
    }
  }
};

} // namespace
