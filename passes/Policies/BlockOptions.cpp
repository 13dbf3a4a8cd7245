//===- BlockOptions.cpp - how each kind of block can be treated -----------===//

#include "passes/Policies/BlockOptions.h"

#include "compiler/Cost/StageCosts.h"
#include "compiler/Optimize/LayerOptions.h"
#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Interleave.h"
#include "passes/Offload/InsertOffload.h"
#include "passes/Partition/PartitionStages.h"
#include "passes/Policies/Targets.h"
#include "passes/Recompute/ReplayRewriter.h"
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

const plan::Program *programOf(const plan::Stage &stage, plan::Phase phase) {
  for (const plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

/// The most that lives while a program runs, inputs included.
int64_t peakOf(const plan::Stage &stage, const plan::Program &program) {
  int64_t inputs = 0, most = 0;
  for (plan::ValueIndex input : program.inputs)
    if (!stage.values[input].isOnHost())
      inputs += stage.values[input].bytes;
  for (const plan::Op &op : program.ops)
    most = std::max(most, op.live.total());
  return inputs + most;
}

/// A block as the one stage of a module of its own, which can be treated again
/// and again.
class BlockBench {
public:
  BlockBench(BlockOp block, const SymbolTable &symbols,
             const TimingInputs &timing)
      : timing(timing), module(ModuleOp::create(block.getLoc())),
        prefix((block.getSymName() + ".").str()) {
    OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
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
    if (!stage.getBackwardInput().empty())
      addFusedBackward(stage);
  }

  FailureOr<BlockOptions> run(Techniques techniques) {
    pipe::StageOp stage = *module->getOps<pipe::StageOp>().begin();
    FailureOr<plan::Stage> whole = treated({});
    if (failed(whole))
      return failure();
    schedule::StageCosts split = cost::stageCosts(*whole);
    base = figuresOf(*whole);

    optimize::LayerOptionsProblem problem;
    for (Value value : keptBy(stage)) {
      problem.valueBytes.push_back(plan::alignUp(getByteSize(value.getType())));
      Operation *op = value.getDefiningOp();
      problem.mayRecompute.push_back(techniques.recompute && op &&
                                     isReplayable(op));
      problem.mayOffload.push_back(
          techniques.offload && op &&
          !llvm::is_contained(yieldOf(stage).getResults(), value));
      planNames.push_back(getPlanName(stage, value));
      names.push_back(partOf(planNames.back()));
      opParts.push_back(op ? partOf(getOpName(op).str()) : "");
    }
    keepSmallOnes(problem);
    for (const policy::Target &target : policy::targets()) {
      std::vector<size_t> covered;
      for (auto [index, part] : llvm::enumerate(opParts))
        if (!part.empty() && policy::covers(target, part))
          covered.push_back(index);
      if (!covered.empty())
        problem.targets.push_back(std::move(covered));
    }
    bool failedOnce = false;
    problem.evaluate = [&](const optimize::LayerTreatment &treatment) {
      FailureOr<plan::Stage> made = treated(treatment);
      failedOnce |= failed(made);
      return failed(made) ? optimize::LayerFigures{} : relativeTo(*made);
    };
    optimize::LayerOptions found = optimize::findOptions(problem);
    if (failedOnce)
      return failure();

    BlockOptions options;
    options.inputGradNs = split.inputGradNs;
    options.weightGradNs = split.weightGradNs;
    options.figures.forwardNs = base.forwardNs;
    options.figures.backwardNs = base.backwardNs;
    options.figures.persistentBytes = cost::persistentBytes(*whole);
    options.figures.pendingBytes = split.weightGradBytes;
    for (auto [treatment, figures] :
         llvm::zip(found.treatments, found.figures)) {
      options.figures.options.push_back(figures.inside);
      options.figures.lastOptions.push_back(figures.last);
      BlockOption &option = options.options.emplace_back();
      for (auto [value, name] : llvm::zip(treatment, names))
        if (value == optimize::Treatment::recompute)
          option.recomputed.push_back(name);
        else if (value == optimize::Treatment::offload)
          option.offloaded.push_back(name);
    }
    return options;
  }

  /// Of what the block hands on; 0: nothing.
  int64_t outputBytes() {
    pipe::StageOp stage = *module->getOps<pipe::StageOp>().begin();
    for (auto [role, value] :
         llvm::zip(stage.getOutputs().getAsValueRange<StringAttr>(),
                   yieldOf(stage).getResults()))
      if (role == "hidden")
        return plan::alignUp(getByteSize(value.getType()));
    return 0;
  }

private:
  struct Figures {
    int64_t forwardNs = 0, backwardNs = 0; ///< where nothing else runs
    /// Where copies have the blocks before and behind to hide in, too.
    int64_t insideForwardNs = 0, insideBackwardNs = 0;
    int64_t keptBytes = 0, peakBytes = 0;
    int64_t reloadedBytes = 0; ///< on the device a block early, inside
  };

  static pipe::YieldOp yieldOf(pipe::StageOp stage) {
    return cast<pipe::YieldOp>(stage.getForward().front().getTerminator());
  }
  static OperandRange keptBy(pipe::StageOp stage) {
    return yieldOf(stage).getKept();
  }

  std::string partOf(const std::string &name) const {
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  }

  /// The stage with these values treated; none: all kept.
  FailureOr<plan::Stage> treated(const optimize::LayerTreatment &treatment) {
    OwningOpRef<ModuleOp> copy = module->clone();
    pipe::StageOp stage = *copy->getOps<pipe::StageOp>().begin();
    SmallVector<Value> dropped;
    for (auto [value, how] : llvm::zip(keptBy(stage), treatment))
      if (how == optimize::Treatment::recompute)
        dropped.push_back(value);
    if (!dropped.empty()) {
      ReplayOptions options;
      insertReplays(stage, findReplays(stage, dropped, options), options);
    }
    std::vector<policy::Choice> moved;
    for (auto [name, how] : llvm::zip(planNames, treatment))
      if (how == optimize::Treatment::offload)
        moved.push_back({name, {}});
    if (!moved.empty() && failed(insertOffload(*copy, moved, {})))
      return failure();
    placeReleases(stage);
    return buildStagePrograms(stage, timing);
  }

  /// What takes less than a hundredth of what the block keeps stays: to move it
  /// gains nothing, and to weigh that costs.
  static void keepSmallOnes(optimize::LayerOptionsProblem &problem) {
    int64_t all = 0;
    for (int64_t bytes : problem.valueBytes)
      all += bytes;
    for (auto [index, bytes] : llvm::enumerate(problem.valueBytes))
      if (bytes < all / 100)
        problem.mayOffload[index] = false;
  }

  /// A program as if its copies to and from the host took no time, and theirs.
  static std::pair<plan::Program, int64_t>
  withoutCopies(const plan::Program &program) {
    std::pair<plan::Program, int64_t> parts{program, 0};
    for (plan::Op &op : parts.first.ops)
      if (op.stream == plan::Stream::copy_out ||
          op.stream == plan::Stream::copy_in) {
        parts.second += op.timeNs;
        op.timeNs = 0;
      }
    return parts;
  }

  static Figures figuresOf(const plan::Stage &stage) {
    const plan::Program &forward = *programOf(stage, plan::Phase::forward);
    const plan::Program *whole = programOf(stage, plan::Phase::backward);
    const plan::Program backward = whole ? *whole : plan::Program();
    Figures figures;
    for (auto [program, alone, inside] :
         {std::tuple(&forward, &figures.forwardNs, &figures.insideForwardNs),
          std::tuple(&backward, &figures.backwardNs,
                     &figures.insideBackwardNs)}) {
      *alone = schedule::durationNs(*program);
      auto [others, copiesNs] = withoutCopies(*program);
      *inside = std::max(schedule::durationNs(others), copiesNs);
    }
    for (const plan::Op &op : backward.ops)
      if (op.stream == plan::Stream::copy_in)
        figures.reloadedBytes += stage.values[op.outputs.front()].bytes;
    llvm::SmallDenseSet<plan::ValueIndex> taken(backward.inputs.begin(),
                                                backward.inputs.end());
    for (plan::ValueIndex value : forward.outputs)
      if (taken.contains(value) && !stage.values[value].isOnHost())
        figures.keptBytes += stage.values[value].bytes;
    figures.peakBytes = std::max(
        {figures.keptBytes, peakOf(stage, forward), peakOf(stage, backward)});
    return figures;
  }

  optimize::LayerFigures relativeTo(const plan::Stage &stage) const {
    Figures figures = figuresOf(stage);
    optimize::LayerOption last{
        std::max<int64_t>(0, figures.forwardNs - base.forwardNs +
                                 figures.backwardNs - base.backwardNs),
        figures.keptBytes, figures.peakBytes};
    optimize::LayerOption inside{
        std::max<int64_t>(0, figures.insideForwardNs - base.forwardNs +
                                 figures.insideBackwardNs - base.backwardNs),
        figures.keptBytes, figures.peakBytes + figures.reloadedBytes};
    return {inside, last};
  }

  const TimingInputs &timing;
  OwningOpRef<ModuleOp> module;
  std::string prefix; ///< of names inside the block
  Figures base;
  /// By kept value, the first as plans have them, the others inside the block.
  std::vector<std::string> planNames, names, opParts;
};

} // namespace

FailureOr<ModelOptions> moe::findModelOptions(ModuleOp module,
                                              const TimingInputs &timing,
                                              Techniques techniques) {
  SymbolTable symbols(module);
  ModelOptions options;
  llvm::StringMap<int64_t> known;
  for (BlockOp block : module.getOps<BlockOp>()) {
    auto [entry, isNew] = known.try_emplace(Fingerprint(symbols).run(block),
                                            options.kinds.size());
    if (isNew) {
      BlockBench bench(block, symbols, timing);
      FailureOr<BlockOptions> found = bench.run(techniques);
      if (failed(found))
        return failure();
      found->figures.isLayer = block.getKind() == BlockKind::decoder;
      options.kinds.push_back(std::move(*found));
      options.boundaryBytes =
          std::max(options.boundaryBytes, bench.outputBytes());
    }
    options.blocks.push_back(entry->second);
    options.names.push_back(block.getSymName().str());
  }
  if (options.blocks.empty())
    return module.emitError() << "the module holds no moe.block; run "
                                 "moe-expand-layers first";
  return options;
}
