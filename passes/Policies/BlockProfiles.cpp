//===- BlockProfiles.cpp - what each kind of block takes ------------------===//

#include "passes/Policies/BlockProfiles.h"

#include "passes/Partition/PartitionStages.h"
#include "passes/Releases/PlaceReleases.h"
#include "passes/Schedule/FusedBackward.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace moe;

namespace {

/// All of a block but names, as text: equal texts are blocks of one kind.
class Fingerprint {
public:
  explicit Fingerprint(const SymbolTable &symbols)
      : symbols(symbols), stream(text) {}

  std::string run(BlockOp block) {
    stream << block.getKind() << block.getInputs() << block.getOutputs();
    for (Region &region : block->getRegions()) {
      stream << '{';
      for (Block &body : region)
        addBlock(body);
      stream << '}';
    }
    return text;
  }

private:
  void addBlock(Block &body) {
    for (BlockArgument argument : body.getArguments())
      add(argument);
    for (Operation &op : body) {
      stream << op.getName() << '(';
      for (Value operand : op.getOperands())
        stream << numbers.lookup(operand) << ',';
      stream << ')';
      for (NamedAttribute attribute : op.getAttrs()) {
        stream << attribute.getName().strref() << '=';
        if (auto symbol = dyn_cast<FlatSymbolRefAttr>(attribute.getValue()))
          addParameter(symbol);
        else
          stream << attribute.getValue();
        stream << ',';
      }
      for (Value result : op.getResults())
        add(result);
      stream << ';';
    }
  }

  void add(Value value) {
    numbers[value] = static_cast<int64_t>(numbers.size());
    stream << value.getType() << ' ';
  }

  void addParameter(FlatSymbolRefAttr symbol) {
    if (auto parameter = symbols.lookup<ParameterOp>(symbol.getValue()))
      stream << parameter.getType() << parameter.getReplication()
             << parameter.getTrainable();
  }

  const SymbolTable &symbols;
  std::string text;
  llvm::raw_string_ostream stream;
  DenseMap<Value, int64_t> numbers;
};

/// The block as the one stage of a module of its own.
FailureOr<plan::Stage> measure(BlockOp block, const SymbolTable &symbols,
                               const TimingInputs &timing) {
  OwningOpRef<ModuleOp> scratch = ModuleOp::create(block.getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(scratch->getBody());
  llvm::SmallDenseSet<StringRef> declared;
  block.walk([&](KernelOpInterface kernel) {
    for (const ParameterUse &use : kernel.getParameters())
      if (use.symbol && declared.insert(use.symbol.getValue()).second)
        if (Operation *parameter = symbols.lookup(use.symbol.getValue()))
          builder.clone(*parameter);
  });
  auto copy = cast<BlockOp>(builder.clone(*block));
  pipe::StageOp stage = mergeBlocks(builder, 0, 0, copy);
  copy.erase();
  addFusedBackward(stage);
  placeReleases(stage);
  return buildStagePrograms(stage, timing);
}

} // namespace

FailureOr<BlockProfiles> moe::profileBlocks(ModuleOp module,
                                            const TimingInputs &timing) {
  SymbolTable symbols(module);
  BlockProfiles profiles;
  llvm::StringMap<int64_t> known;
  for (BlockOp block : module.getOps<BlockOp>()) {
    if (block.getBackward().empty() || block.getWeightGrad().empty())
      return block.emitOpError()
             << "is not differentiated; run moe-differentiate first";
    auto [entry, isNew] = known.try_emplace(Fingerprint(symbols).run(block),
                                            profiles.kinds.size());
    if (isNew) {
      FailureOr<plan::Stage> measured = measure(block, symbols, timing);
      if (failed(measured))
        return failure();
      profiles.kinds.push_back(
          {std::move(*measured), block.getKind() == BlockKind::decoder});
    }
    profiles.blocks.push_back(entry->second);
    profiles.names.push_back(block.getSymName().str());
  }
  if (profiles.blocks.empty())
    return module.emitError() << "the module holds no moe.block; run "
                                 "moe-expand-layers first";
  return profiles;
}
