//===- BlockOptions.cpp - how each kind of block can be treated -----------===//

#include "passes/Policies/BlockOptions.h"

#include "compiler/Cost/StageCosts.h"
#include "compiler/Optimize/LayerOptions.h"
#include "compiler/Optimize/Placement.h"
#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Interleave.h"
#include "passes/Offload/InsertOffload.h"
#include "passes/Partition/PartitionStages.h"
#include "passes/Policies/Targets.h"
#include "passes/Recompute/ReplayRewriter.h"
#include "passes/Releases/PlaceReleases.h"
#include "passes/Schedule/FusedBackward.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/ScopeExit.h"
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

plan::Program *programOf(plan::Stage &stage, plan::Phase phase) {
  for (plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

/// What the programs of a stage come to.
struct Figures {
  int64_t forwardNs = 0, backwardNs = 0;
  int64_t keptBytes = 0, peakBytes = 0;
  int64_t hostBytes = 0; ///< kept there
  /// On the device before its block runs, where there is one before it.
  int64_t reloadedBytes = 0;

  int64_t ns() const { return forwardNs + backwardNs; }
};

Figures figuresOf(plan::Stage &stage) {
  plan::Program none;
  plan::Program &forward = *programOf(stage, plan::Phase::forward);
  plan::Program *whole = programOf(stage, plan::Phase::backward);
  plan::Program &backward = whole ? *whole : none;
  Figures figures;
  figures.forwardNs = schedule::durationNs(forward);
  figures.backwardNs = schedule::durationNs(backward);
  for (const plan::Op &op : backward.ops)
    if (op.stream == plan::Stream::copy_in)
      figures.reloadedBytes += stage.values[op.outputs.front()].bytes;
  llvm::SmallDenseSet<plan::ValueIndex> taken(backward.inputs.begin(),
                                              backward.inputs.end());
  for (plan::ValueIndex value : forward.outputs)
    if (taken.contains(value))
      (stage.values[value].isOnHost() ? figures.hostBytes
                                      : figures.keptBytes) +=
          stage.values[value].bytes;
  figures.peakBytes =
      std::max({figures.keptBytes, optimize::peakWithoutWaits(stage, forward),
                optimize::peakWithoutWaits(stage, backward)});
  return figures;
}

/// Blocks of one kind as the one stage of a module of its own, which can be
/// treated again and again.
class BlockBench {
public:
  /// A value that the stage keeps from forward to backward.
  struct Kept {
    std::string planName; ///< as plans have it
    std::string part;     ///< the same inside its block
    std::string opPart;   ///< of the op that makes it; empty: none does
    int64_t bytes = 0;
    bool isReplayable = false, isOutput = false;
    bool isInput = false; ///< what the block before hands on
  };

  BlockBench(Location location, ArrayRef<BlockOp> blocks,
             const SymbolTable &symbols, const TimingInputs &timing)
      : timing(timing), module(ModuleOp::create(location)),
        workbench(ModuleOp::create(location)) {
    OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
    SmallVector<BlockOp> copies;
    llvm::SmallDenseSet<StringRef> declared;
    for (BlockOp block : blocks) {
      prefixes.push_back((block.getSymName() + ".").str());
      block.walk([&](KernelOpInterface kernel) {
        for (const ParameterUse &use : kernel.getParameters())
          if (use.symbol && declared.insert(use.symbol.getValue()).second)
            if (Operation *parameter = symbols.lookup(use.symbol.getValue()))
              builder.clone(*parameter);
      });
    }
    for (BlockOp block : blocks)
      copies.push_back(cast<BlockOp>(builder.clone(*block)));
    pipe::StageOp stage = mergeBlocks(builder, 0, 0, copies);
    for (BlockOp copy : copies)
      copy.erase();
    if (!stage.getBackwardInput().empty())
      addFusedBackward(stage);
    stage->walk([&](KernelOpInterface kernel) {
      times.push_back({kernel, estimateNs(kernel, timing)});
    });
    for (Value value : keptBy(stage)) {
      Kept &each = values.emplace_back();
      Operation *op = value.getDefiningOp();
      each.planName = getPlanName(stage, value);
      each.part = partOf(each.planName);
      each.opPart = op ? partOf(getOpName(op).str()) : "";
      each.bytes = plan::alignUp(getByteSize(value.getType()));
      each.isReplayable = op && isReplayable(op);
      each.isOutput = llvm::is_contained(yieldOf(stage).getResults(), value);
      each.isInput = isHiddenInput(stage, value);
    }
  }

  const std::vector<Kept> &kept() const { return values; }

  /// The stage with everything kept, and its parameters.
  FailureOr<plan::Stage> whole() {
    OwningOpRef<ModuleOp> copy = module->clone();
    pipe::StageOp stage = stageOf(*copy);
    placeReleases(stage);
    return buildStagePrograms(stage, timing, StageDetail::figures);
  }

  /// The stage with values treated as `how` says by their part; no parameters.
  FailureOr<plan::Stage>
  treated(llvm::function_ref<optimize::Treatment(const std::string &)> how) {
    IRMapping copies;
    OpBuilder builder = OpBuilder::atBlockEnd(workbench->getBody());
    auto stage = cast<pipe::StageOp>(builder.clone(*stageOf(*module), copies));
    llvm::scope_exit erase([&] { stage.erase(); });
    KnownOfOps known;
    for (auto [op, ns] : times)
      known.times[copies.lookup(op)] = ns;
    SmallVector<Value> dropped;
    std::vector<policy::Choice> moved;
    for (auto [value, each] : llvm::zip(keptBy(stage), values)) {
      optimize::Treatment treatment = how(each.part);
      if (treatment == optimize::Treatment::recompute)
        dropped.push_back(value);
      else if (treatment == optimize::Treatment::offload)
        moved.push_back({each.planName, {}});
    }
    if (!dropped.empty()) {
      ReplayOptions options;
      insertReplays(stage, findReplays(stage, dropped, options), options);
    }
    if (!moved.empty() && failed(insertOffload(*workbench, moved, {})))
      return failure();
    placeOverwrites(stage);
    for (pipe::Phase phase : stage.getPhases())
      for (auto &[op, ended] : findReleases(stage.getRegion(phase).front()))
        known.releases[op] = std::move(ended);
    return buildStageFigures(stage, timing, known);
  }

  /// What the stage hands on.
  struct Output {
    std::string planName; ///< empty: nothing
    std::string part;     ///< the same inside its block
    int64_t bytes = 0;
  };
  Output output() {
    pipe::StageOp stage = stageOf(*module);
    for (auto [role, value] :
         llvm::zip(stage.getOutputs().getAsValueRange<StringAttr>(),
                   yieldOf(stage).getResults()))
      if (role == "hidden") {
        std::string name = getPlanName(stage, value);
        return {name, partOf(name),
                plan::alignUp(getByteSize(value.getType()))};
      }
    return {};
  }

private:
  static pipe::StageOp stageOf(ModuleOp module) {
    return *module.getOps<pipe::StageOp>().begin();
  }
  static pipe::YieldOp yieldOf(pipe::StageOp stage) {
    return cast<pipe::YieldOp>(stage.getForward().front().getTerminator());
  }
  static OperandRange keptBy(pipe::StageOp stage) {
    return yieldOf(stage).getKept();
  }

  static bool isHiddenInput(pipe::StageOp stage, Value value) {
    auto argument = dyn_cast<BlockArgument>(value);
    return argument &&
           cast<StringAttr>(stage.getInputs()[argument.getArgNumber()]) ==
               "hidden";
  }

  std::string partOf(const std::string &name) const {
    for (const std::string &prefix : prefixes)
      if (name.starts_with(prefix))
        return name.substr(prefix.size());
    return name;
  }

  const TimingInputs &timing;
  OwningOpRef<ModuleOp> module;      ///< the stage and its parameters
  OwningOpRef<ModuleOp> workbench;   ///< where copies of the stage are treated
  std::vector<std::string> prefixes; ///< of names inside each block
  std::vector<std::pair<Operation *, int64_t>> times; ///< of ops of the stage
  std::vector<Kept> values;
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
      : alone(block.getLoc(), block, symbols, timing) {
    if (next)
      pair.emplace(block.getLoc(), ArrayRef<BlockOp>{block, next}, symbols,
                   timing);
    if (next && !isSame)
      second.emplace(next.getLoc(), next, symbols, timing);
  }

  FailureOr<BlockOptions> run(Techniques techniques) {
    auto keepAll = [](const std::string &) {
      return optimize::Treatment::keep;
    };
    FailureOr<plan::Stage> whole = alone.whole();
    if (failed(whole))
      return failure();
    FailureOr<Measured> everything = measure(keepAll);
    if (failed(everything))
      return failure();
    base = *everything;

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
      FailureOr<Measured> made = measure([&](const std::string &part) {
        auto known = byPart.find(part);
        return known == byPart.end() ? optimize::Treatment::keep
                                     : known->second;
      });
      failedOnce |= failed(made);
      return failed(made) ? optimize::LayerFigures{} : relative(*made);
    };
    optimize::LayerOptions found = optimize::findOptions(problem);
    if (failedOnce)
      return failure();

    schedule::StageCosts split = cost::stageCosts(*whole);
    BlockOptions options;
    options.inputGradNs = split.inputGradNs;
    options.weightGradNs = split.weightGradNs;
    options.figures.forwardNs = base.inside.forwardNs;
    options.figures.backwardNs = base.inside.backwardNs;
    options.figures.persistentBytes = cost::persistentBytes(*whole);
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
    Figures alone;
    Figures inside; ///< times and peak only
  };

  FailureOr<Measured>
  measure(llvm::function_ref<optimize::Treatment(const std::string &)> how) {
    FailureOr<plan::Stage> single = alone.treated(how);
    if (failed(single))
      return failure();
    Measured measured;
    measured.alone = measured.inside = figuresOf(*single);
    if (!pair)
      return measured;
    FailureOr<plan::Stage> both = pair->treated(how);
    if (failed(both))
      return failure();
    Figures figures = figuresOf(*both), behind = measured.alone;
    if (second) {
      FailureOr<plan::Stage> other = second->treated(how);
      if (failed(other))
        return failure();
      behind = figuresOf(*other);
    }
    // While the second runs, the first holds what it keeps. What exceeds that
    // is live while the first runs.
    bool isOfFirst =
        figures.peakBytes > measured.alone.keptBytes + behind.peakBytes;
    measured.inside.peakBytes =
        isOfFirst
            ? figures.peakBytes
            : std::min(figures.peakBytes,
                       measured.alone.peakBytes + measured.alone.reloadedBytes);
    measured.inside.forwardNs =
        std::max<int64_t>(0, figures.forwardNs - behind.forwardNs);
    measured.inside.backwardNs =
        std::max<int64_t>(0, figures.backwardNs - behind.backwardNs);
    return measured;
  }

  optimize::LayerFigures relative(const Measured &measured) const {
    const Figures &figures = measured.alone;
    return {{std::max<int64_t>(0, measured.inside.ns() - base.inside.ns()),
             figures.keptBytes, measured.inside.peakBytes, figures.hostBytes},
            {std::max<int64_t>(0, figures.ns() - base.alone.ns()),
             figures.keptBytes, figures.peakBytes, figures.hostBytes}};
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
  Measured base;
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
    FailureOr<BlockOptions> found = bench.run(techniques);
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
