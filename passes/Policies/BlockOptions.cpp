//===- BlockOptions.cpp - how each kind of block can be treated -----------===//

#include "passes/Policies/BlockOptions.h"

#include "compiler/Cost/StageCosts.h"
#include "compiler/Optimize/LayerOptions.h"
#include "passes/Policies/BlockBench.h"
#include "passes/Policies/Targets.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/raw_ostream.h"

#include <map>
#include <optional>

using namespace mlir;
using namespace moe;

namespace {

/// All of a block but names, as text: equal texts are blocks of one kind.
class Fingerprint {
public:
  explicit Fingerprint(const SymbolTable &symbols)
      : symbols(symbols), stream(text) {}

  std::string run(BlockOp block) {
    stream << block.getKind() << block.getInputs() << block.getOutputs()
           << block.getDetached();
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

/// A kind of block under treatments: alone, as the last of a stage is, and
/// followed by another one, of its kind where the model has such neighbours.
/// What the pair takes longer than the second alone is what a block takes
/// inside a stage, where exchanges, weight gradients and copies of neighbours
/// fill each other's gaps.
class KindBench {
public:
  /// `next`: the block behind it; null: none. `isSame`: of its kind.
  KindBench(BlockOp block, BlockOp next, bool isSame,
            const SymbolTable &symbols, const TimingInputs &timing)
      : alone(block, symbols, timing) {
    if (next)
      pair.emplace(ArrayRef<BlockOp>{block, next}, symbols, timing);
    if (next && !isSame)
      second.emplace(next, symbols, timing);
  }
  static optimize::Treatment keep(const BlockBench::Kept &) {
    return optimize::Treatment::keep;
  }

  /// `whole`: the block's stage, everything kept.
  FailureOr<BlockOptions> run(const plan::Stage &whole, Techniques techniques) {
    FailureOr<Measured> everything = measure(keep);
    if (failed(everything))
      return failure();
    base = *everything;
    stageLayers = techniques.stageLayers;

    optimize::LayerOptionsProblem problem = makeProblem(techniques);
    bool failedOnce = false;
    problem.evaluate = [&](const optimize::LayerTreatment &treatment) {
      std::map<std::string, optimize::Treatment> byPart;
      // Between the blocks of a pair, one's input is the other's output.
      for (auto [each, how] : llvm::zip(alone.kept(), treatment)) {
        byPart[each.part] = how;
        if (each.isInput)
          byPart[alone.output().part] = how;
      }
      FailureOr<Measured> made = measure([&](const BlockBench::Kept &kept) {
        auto known = byPart.find(kept.part);
        return known == byPart.end() ? optimize::Treatment::keep
                                     : known->second;
      });
      failedOnce |= failed(made);
      return failed(made) ? optimize::LayerFigures{} : relative(*made);
    };
    optimize::LayerOptions found = optimize::findOptions(problem);
    if (failedOnce)
      return failure();

    schedule::StageCosts split = cost::stageCosts(whole);
    BlockOptions options;
    options.lastForwardNs = base.alone.forwardNs;
    options.lastBackwardNs = base.alone.backwardNs;
    options.inputGradNs = split.inputGradNs;
    options.weightGradNs = split.weightGradNs;
    options.figures.forwardNs = base.inside.forwardNs;
    options.figures.backwardNs = base.inside.backwardNs;
    options.figures.persistentBytes = cost::persistentBytes(whole);
    options.figures.pendingBytes = split.weightGradBytes;
    for (auto [treatment, figures] :
         llvm::zip(found.treatments, found.figures)) {
      options.figures.options.push_back(figures.inside);
      options.figures.lastOptions.push_back(figures.last);
      BlockOption &option = options.options.emplace_back();
      for (auto [how, each] : llvm::zip(treatment, alone.kept()))
        if (how == optimize::Treatment::recompute)
          option.recomputed.push_back(each.part);
        else if (how == optimize::Treatment::offload && each.isInput)
          option.offloadsInput = true;
        else if (how == optimize::Treatment::offload)
          option.offloaded.push_back(each.part);
    }
    return options;
  }

  BlockBench::Output output() { return alone.output(); }

private:
  struct Measured {
    BlockFigures alone;
    BlockFigures inside; ///< times and peak only
  };

  FailureOr<Measured> measure(
      llvm::function_ref<optimize::Treatment(const BlockBench::Kept &)> how) {
    FailureOr<BlockFigures> single = alone.treated(how);
    if (failed(single))
      return failure();
    Measured measured{*single, *single};
    if (!pair)
      return measured;
    FailureOr<BlockFigures> both = pair->treated(how);
    FailureOr<BlockFigures> behind = second ? second->treated(how) : single;
    if (failed(both) || failed(behind))
      return failure();
    // While the second runs, the first holds what it keeps. What exceeds that
    // is live while the first runs.
    bool isOfFirst =
        both->peakBytes > measured.alone.keptBytes + behind->peakBytes;
    measured.inside.peakBytes =
        isOfFirst ? both->peakBytes
                  : std::min(both->peakBytes, measured.alone.peakBytes +
                                                  measured.alone.reloadedBytes);
    measured.inside.forwardNs =
        std::max<int64_t>(0, both->forwardNs - behind->forwardNs);
    measured.inside.backwardNs =
        std::max<int64_t>(0, both->backwardNs - behind->backwardNs);
    return measured;
  }

  /// What `figures` take longer than `base`, both ways together.
  static int64_t longer(const BlockFigures &figures, const BlockFigures &base) {
    return std::max<int64_t>(0, figures.forwardNs - base.forwardNs) +
           std::max<int64_t>(0, figures.backwardNs - base.backwardNs);
  }

  /// What a layer leaves to be copied when the next one begins, where the link
  /// is slower than layers are.
  int64_t lagOf(const BlockFigures &figures) const {
    if (figures.copyOutNs <= base.inside.forwardNs)
      return 0;
    return static_cast<int64_t>(
        static_cast<double>(figures.hostBytes) *
        (1 - static_cast<double>(base.inside.forwardNs) /
                 static_cast<double>(figures.copyOutNs)));
  }

  optimize::LayerFigures relative(const Measured &measured) const {
    const BlockFigures &figures = measured.alone;
    return {{longer(measured.inside, base.inside), figures.keptBytes,
             measured.inside.peakBytes + (stageLayers - 1) * lagOf(figures),
             figures.hostBytes},
            {longer(figures, base.alone), figures.keptBytes, figures.peakBytes,
             figures.hostBytes}};
  }

  optimize::LayerOptionsProblem makeProblem(Techniques techniques) const {
    optimize::LayerOptionsProblem problem;
    int64_t all = 0;
    for (const BlockBench::Kept &each : alone.kept())
      all += each.bytes;
    for (const BlockBench::Kept &each : alone.kept()) {
      problem.valueBytes.push_back(each.bytes);
      problem.mayRecompute.push_back(techniques.recompute && each.isReplayable);
      // What takes less than a hundredth of what the block keeps stays: to move
      // it gains nothing, and to weigh that costs.
      bool isOwn = !each.opPart.empty() && !each.isOutput;
      problem.mayOffload.push_back(techniques.offload &&
                                   (isOwn || each.isInput) &&
                                   each.bytes >= all / 100);
    }
    for (const policy::Target &target : policy::targets()) {
      std::vector<size_t> covered;
      for (auto [index, each] : llvm::enumerate(alone.kept()))
        if (!each.opPart.empty() && policy::covers(target, each.opPart))
          covered.push_back(index);
      if (!covered.empty())
        problem.targets.push_back(std::move(covered));
    }
    return problem;
  }

  BlockBench alone;
  std::optional<BlockBench> pair;
  std::optional<BlockBench> second; ///< of the pair, where its kind is another
  BlockFigures behind;              ///< the second alone, everything kept
  Measured base;
  int64_t stageLayers = 1; ///< Techniques::stageLayers
};

} // namespace

FailureOr<ModelOptions> moe::findModelOptions(ModuleOp module,
                                              const TimingInputs &timing,
                                              Techniques techniques) {
  SymbolTable symbols(module);
  ModelOptions options;
  auto blocks = llvm::to_vector(module.getOps<BlockOp>());
  llvm::StringMap<int64_t> known;
  std::vector<BlockOp> firstOfKind, nextOfKind;
  for (BlockOp block : blocks) {
    auto [entry, isNew] =
        known.try_emplace(Fingerprint(symbols).run(block), firstOfKind.size());
    int64_t kind = entry->second;
    if (isNew) {
      firstOfKind.push_back(block);
      nextOfKind.push_back(nullptr);
    } else if (!nextOfKind[kind] && options.blocks.back() == kind) {
      nextOfKind[kind] = block;
      firstOfKind[kind] = blocks[options.blocks.size() - 1];
    }
    options.blocks.push_back(kind);
    options.names.push_back(block.getSymName().str());
  }
  auto isDecoder = [](BlockOp block) {
    return block.getKind() == BlockKind::decoder;
  };
  std::vector<bool> hasOther(firstOfKind.size(), false);
  for (size_t b = 0; b + 1 < blocks.size(); ++b) {
    auto kind = static_cast<size_t>(options.blocks[b]);
    if (nextOfKind[kind] || !isDecoder(blocks[b]) || !isDecoder(blocks[b + 1]))
      continue;
    firstOfKind[kind] = blocks[b];
    nextOfKind[kind] = blocks[b + 1];
    hasOther[kind] = true;
  }
  for (auto [block, next, other] :
       llvm::zip(firstOfKind, nextOfKind, hasOther)) {
    KindBench bench(block, next, !other, symbols, timing);
    FailureOr<plan::Stage> whole = buildBlockStage(block, symbols, timing);
    if (failed(whole))
      return failure();
    FailureOr<BlockOptions> found = bench.run(*whole, techniques);
    if (failed(found))
      return failure();
    found->figures.isLayer = isDecoder(block);
    BlockBench::Output output = bench.output();
    found->output = found->figures.isLayer ? output.part : output.planName;
    options.kinds.push_back(std::move(*found));
    options.boundaryBytes = std::max(options.boundaryBytes, output.bytes);
  }
  if (options.blocks.empty())
    return module.emitError() << "the module holds no moe.block; run "
                                 "moe-expand-layers first";
  return options;
}
