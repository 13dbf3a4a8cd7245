//===- BlockOptions.cpp - how each kind of block can be treated -----------===//

#include "passes/Policies/BlockOptions.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Cost/StageCosts.h"
#include "compiler/Optimize/LayerOptions.h"
#include "compiler/Schedule/Interleave.h"
#include "passes/Policies/BlockBench.h"
#include "passes/Policies/Targets.h"

#include <cstdint>
#include <map>
#include <optional>

using namespace mlir;
using namespace moe;

namespace {

/// All of a block but names: blocks with equal ones are of one kind. Of types
/// and attributes their addresses, since each exists once in a context; of
/// lists first how long they are.
class Fingerprint {
public:
  using Word = uintptr_t;

  explicit Fingerprint(const SymbolTable &symbols) : symbols(symbols) {}

  std::vector<Word> run(BlockOp block) {
    add(block.getKindAttr());
    add(block.getInputs());
    add(block.getOutputs());
    add(block.getDetachedAttr());
    for (Region &region : block->getRegions()) {
      words.push_back(region.getBlocks().size());
      for (Block &body : region)
        addBlock(body);
    }
    return std::move(words);
  }

private:
  void addBlock(Block &body) {
    addAll(body.getArguments());
    words.push_back(body.getOperations().size());
    for (Operation &op : body) {
      add(op.getName());
      words.push_back(op.getNumOperands());
      for (Value operand : op.getOperands())
        words.push_back(numbers.lookup(operand));
      const auto attributes = llvm::to_vector(op.getAttrs());
      words.push_back(attributes.size());
      for (NamedAttribute attribute : attributes) {
        add(attribute.getName());
        if (auto symbol = dyn_cast<FlatSymbolRefAttr>(attribute.getValue()))
          addParameter(symbol);
        else
          add(attribute.getValue());
      }
      addAll(op.getResults());
    }
  }

  void addAll(ValueRange values) {
    words.push_back(values.size());
    for (Value value : values) {
      numbers[value] = numbers.size();
      add(value.getType());
    }
  }

  void addParameter(FlatSymbolRefAttr symbol) {
    auto parameter = symbols.lookup<ParameterOp>(symbol.getValue());
    if (!parameter)
      return words.push_back(0);
    add(parameter.getType());
    words.push_back(static_cast<Word>(parameter.getReplication()));
    words.push_back(parameter.getTrainable());
  }

  /// A handle of something that exists once.
  template <typename Unique> void add(Unique unique) {
    words.push_back(reinterpret_cast<Word>(unique.getAsOpaquePointer()));
  }

  const SymbolTable &symbols;
  std::vector<Word> words;
  DenseMap<Value, Word> numbers;
};

bool isDecoder(BlockOp block) { return block.getKind() == BlockKind::decoder; }

/// A block of a kind and what lies around it.
struct Neighbours {
  BlockOp block;
  BlockOp above = {};           ///< null: the block is measured alone
  BlockOp below = {};           ///< null: there is none, or none above
  bool isOfOneKind = true;      ///< with the one above
  bool isBelowOfOneKind = true; ///< with the one below
};

/// A block of `kind` with as many neighbours of its kind as there are, else of
/// another one.
Neighbours findNeighbours(ArrayRef<BlockOp> blocks, ArrayRef<int64_t> kinds,
                          int64_t kind) {
  Neighbours best;
  int64_t most = -1;
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (kinds[b] != kind)
      continue;
    Neighbours found{blocks[b]};
    if (b + 1 < blocks.size() &&
        (kinds[b + 1] == kind ||
         (isDecoder(blocks[b]) && isDecoder(blocks[b + 1])))) {
      found.above = blocks[b + 1];
      found.isOfOneKind = found.isBelowOfOneKind = kinds[b + 1] == kind;
      if (b > 0 && kinds[b - 1] == kinds[b + 1])
        found.below = blocks[b - 1];
    }
    const int64_t count =
        (found.above ? 1 + 2 * found.isOfOneKind : 0) + (found.below ? 1 : 0);
    if (count > most) {
      best = found;
      most = count;
    }
  }
  return best;
}

/// The layer below the head.
std::optional<size_t> findTop(ArrayRef<BlockOp> blocks) {
  for (size_t b = 1; b < blocks.size(); ++b)
    if (isDecoder(blocks[b - 1]) && !isDecoder(blocks[b]))
      return b - 1;
  return std::nullopt;
}

/// It with the head above it.
Neighbours findTopNeighbours(ArrayRef<BlockOp> blocks, ArrayRef<int64_t> kinds,
                             size_t top) {
  Neighbours found{blocks[top], blocks[top + 1]};
  found.isOfOneKind = false;
  if (top > 0 && isDecoder(blocks[top - 1])) {
    found.below = blocks[top - 1];
    found.isBelowOfOneKind = kinds[top - 1] == kinds[top];
  }
  return found;
}

/// A kind of block under treatments: alone, as the last of a stage is, and
/// followed by another one, of its kind where the model has such neighbours.
/// What the pair takes longer than the second alone is what a block takes
/// inside a stage, where exchanges, weight gradients and copies of neighbours
/// fill each other's gaps. What is live while a block runs that has such
/// neighbours on both sides, three of them tell.
class KindBench {
public:
  KindBench(const Neighbours &neighbours, const SymbolTable &symbols,
            const TimingInputs &timing, StageHabits habits)
      : alone(neighbours.block, symbols, timing, habits) {
    const BlockOp block = neighbours.block, above = neighbours.above,
                  below = neighbours.below;
    if (!above)
      return;
    isBelowHead = !isDecoder(above);
    pair.emplace(ArrayRef<BlockOp>{block, above}, symbols, timing, habits);
    StageHabits ofOthers = habits;
    ofOthers.isTurning = false;
    if (!neighbours.isOfOneKind)
      other.emplace(above, symbols, timing, ofOthers);
    if (!below)
      return;
    three.emplace(ArrayRef<BlockOp>{below, block, above}, symbols, timing,
                  habits);
    if (!neighbours.isBelowOfOneKind)
      lower.emplace(below, symbols, timing, ofOthers);
  }

  static optimize::Treatment keep(const BlockBench::Kept &) {
    return optimize::Treatment::keep;
  }

  /// The treatments worth having.
  FailureOr<optimize::LayerOptions> find(Techniques techniques) {
    if (failed(measureBase()))
      return failure();
    optimize::LayerOptionsProblem problem = makeProblem(techniques);
    bool failedOnce = false;
    problem.evaluate = [&](const optimize::LayerTreatment &treatment) {
      FailureOr<Measured> made = measure(partsOf(treatment));
      failedOnce |= failed(made);
      return failed(made) ? optimize::LayerFigures{} : relative(*made);
    };
    optimize::LayerOptions found = optimize::findOptions(problem);
    for (auto [treatment, figures] : llvm::zip(found.treatments, found.figures))
      failedOnce |= failed(refine(treatment, figures));
    if (failedOnce)
      return failure();
    return found;
  }

  /// `split`: of the block alone, for halves that were not measured.
  static BlockTimes timesOf(const BlockFigures &figures,
                            const schedule::StageCosts &split) {
    const bool isSplit = figures.inputGradNs > 0;
    return {figures.forwardNs, figures.backwardNs,
            isSplit ? figures.inputGradNs : split.inputGradNs,
            isSplit ? figures.weightGradNs : split.weightGradNs};
  }

  /// What `found` comes to inside a stage here, where it was found elsewhere.
  FailureOr<optimize::LayerOptions> measureAgain(optimize::LayerOptions found) {
    if (failed(measureBase()))
      return failure();
    for (auto [treatment, figures] :
         llvm::zip(found.treatments, found.figures)) {
      FailureOr<Measured> made = measure(partsOf(treatment));
      if (failed(made))
        return failure();
      figures.inside = relative(*made).inside;
      if (failed(refine(treatment, figures)))
        return failure();
    }
    return found;
  }

  /// `whole`: the block's stage, everything kept. After one of the above.
  BlockOptions tell(const plan::Stage &whole,
                    const optimize::LayerOptions &found) {
    schedule::StageCosts split = cost::stageCosts(whole);
    BlockOptions options;
    options.inside = timesOf(base.inside, split);
    options.last = timesOf(base.alone, split);
    options.figures.forwardNs = base.inside.forwardNs;
    options.figures.backwardNs = base.inside.backwardNs;
    options.figures.persistentBytes = cost::persistentBytes(whole);
    options.weightGradBytes = split.weightGradBytes;
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
  /// A treatment of the values of one block for those of its neighbours, too.
  class ByPart {
  public:
    /// `staying`: the plan name of a value that is kept in any case.
    ByPart(BlockBench &bench, const optimize::LayerTreatment &treatment,
           std::string staying)
        : staying(std::move(staying)) {
      // Between blocks, one's input is the other's output.
      for (auto [each, how] : llvm::zip(bench.kept(), treatment)) {
        known[each.part] = how;
        if (each.isInput)
          known[bench.output().part] = how;
      }
    }
    optimize::Treatment operator()(const BlockBench::Kept &kept) const {
      if (kept.planName == staying)
        return optimize::Treatment::keep;
      auto found = known.find(kept.part);
      return found == known.end() ? optimize::Treatment::keep : found->second;
    }

  private:
    std::map<std::string, optimize::Treatment> known;
    std::string staying;
  };
  /// What the head gets from the block, it treats itself.
  ByPart partsOf(const optimize::LayerTreatment &treatment) {
    return {alone, treatment, isBelowHead ? alone.output().planName : ""};
  }

  LogicalResult measureBase() {
    FailureOr<Measured> everything = measure(keep);
    if (failed(everything))
      return failure();
    base = *everything;
    return success();
  }

  struct Measured {
    BlockFigures alone;
    BlockFigures inside; ///< times, peaks and aheadBytes only
    /// Of the last block at the time at which what the block below it has moved
    /// is back, which is not counted.
    int64_t latePeakBytes = 0;
  };

  FailureOr<Measured> measure(
      llvm::function_ref<optimize::Treatment(const BlockBench::Kept &)> how) {
    FailureOr<BlockFigures> single = alone.treated(how);
    if (failed(single))
      return failure();
    // What the block below has ahead may be there from the first op on.
    Measured measured{*single, *single, single->peakBytes.front()};
    if (!pair)
      return measured;
    FailureOr<BlockFigures> both = pair->treated(how);
    if (failed(both) || failed(measureAbove(how)))
      return failure();
    const BlockFigures &behind = above ? *above : *single;
    measured.inside.peakBytes = {both->peakBytes.front()};
    measured.inside.forwardPeakBytes = {both->forwardPeakBytes.front()};
    measured.inside.aheadBytes = both->aheadBytes;
    if (!other)
      measured.latePeakBytes =
          lateOf(both->peakBytes.back(), single->keptBytes, both->aheadBytes);
    for (auto time : {&BlockFigures::forwardNs, &BlockFigures::backwardNs,
                      &BlockFigures::inputGradNs, &BlockFigures::weightGradNs})
      measured.inside.*time =
          std::max<int64_t>(0, (*both).*time - behind.*time);
    return measured;
  }

  /// Of the neighbour above, where its kind is another; the head is always the
  /// same.
  LogicalResult measureAbove(
      llvm::function_ref<optimize::Treatment(const BlockBench::Kept &)> how) {
    if (!other || (isBelowHead && above))
      return success();
    FailureOr<BlockFigures> made = other->treated(how);
    if (succeeded(made))
      above = std::move(*made);
    return made;
  }

  /// What a block has live besides what the one below it keeps and has ahead,
  /// if both together have `bytes`.
  static int64_t lateOf(int64_t bytes, int64_t kept, int64_t ahead) {
    return std::max<int64_t>(0, bytes - kept - ahead);
  }

  /// Tells of a block between others what it has live at the time at which what
  /// the block below it has moved is back.
  LogicalResult refine(const optimize::LayerTreatment &treatment,
                       optimize::LayerFigures &figures) {
    if (!three)
      return success();
    // Where the last block of a pair, which has nothing above it, peaks as high
    // as the first, which has nothing ahead below it, neither matters: of some
    // 340 such treatments three blocks told the same of every one.
    if (!other && figures.last.latePeakBytes == figures.inside.latePeakBytes)
      return success();
    const ByPart how = partsOf(treatment);
    FailureOr<BlockFigures> all = three->treated(how);
    if (failed(all))
      return failure();
    int64_t below = figures.inside.keptBytes;
    if (lower) {
      FailureOr<BlockFigures> other = lower->treated(how);
      if (failed(other))
        return failure();
      below = other->keptBytes;
    }
    figures.inside.latePeakBytes =
        lateOf(all->peakBytes[1], below, all->aheadBytes);
    return success();
  }

  /// What `figures` take longer backward than `base`.
  static int64_t longer(const BlockFigures &figures, const BlockFigures &base) {
    return std::max<int64_t>(0, figures.backwardNs - base.backwardNs);
  }

  optimize::LayerFigures relative(const Measured &measured) const {
    const BlockFigures &figures = measured.alone;
    const int64_t peak =
        std::max(figures.keptBytes, measured.inside.peakBytes.front());
    // Nothing but copies makes the forward longer. Alone, it ends with them.
    const int64_t tail =
        std::max<int64_t>(0, figures.forwardNs - base.alone.forwardNs);
    auto queue = [&](const BlockFigures &all) {
      return std::min(tail, figures.copyOutNs - all.forwardNs);
    };
    return {{longer(measured.inside, base.inside), figures.keptBytes, peak,
             figures.hostBytes, measured.inside.aheadBytes, peak, tail,
             queue(base.inside), figures.pendingBytes.front(),
             measured.inside.forwardPeakBytes.front()},
            {longer(figures, base.alone), figures.keptBytes,
             std::max(figures.keptBytes, figures.peakBytes.front()),
             figures.hostBytes, 0, measured.latePeakBytes, tail,
             queue(base.alone), figures.pendingBytes.front(),
             figures.forwardPeakBytes.front()}};
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
    // A dispatch makes a new handle where that is dropped as well.
    std::vector<size_t> dispatched;
    for (auto [index, each] : llvm::enumerate(alone.kept()))
      if (each.isDispatched && each.isReplayable)
        dispatched.push_back(index);
    if (dispatched.size() > 1)
      problem.siblings.push_back(std::move(dispatched));
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
  std::optional<BlockBench> other; ///< the neighbour, where its kind is another
  std::optional<BlockFigures> above; ///< of `other`, as measured last
  std::optional<BlockBench> three;
  std::optional<BlockBench> lower; ///< as `other`, of the one below
  bool isBelowHead = false;
  Measured base;
};

/// See ModelOptions. `whole`: a block with a whole backward.
double overlapShareOf(const plan::Stage &whole) {
  const plan::Program *forward = nullptr, *backward = nullptr;
  for (const plan::Program &program : whole.programs) {
    if (program.phase == plan::Phase::forward)
      forward = &program;
    if (program.phase == plan::Phase::backward)
      backward = &program;
  }
  if (!forward || !backward)
    return 0;
  const int64_t forwardNs = schedule::durationNs(*forward);
  const int64_t backwardNs = schedule::durationNs(*backward);
  const int64_t shorter = std::min(forwardNs, backwardNs);
  const int64_t saved =
      forwardNs + backwardNs - schedule::interleave(*forward, *backward).ns;
  return shorter == 0
             ? 0
             : static_cast<double>(saved) / static_cast<double>(shorter);
}

} // namespace

FailureOr<ModelOptions> moe::findModelOptions(ModuleOp module,
                                              const TimingInputs &timing,
                                              Techniques techniques) {
  SymbolTable symbols(module);
  ModelOptions options;
  options.hostBytesPerNs =
      cost::hostLink(timing.machine, cost::HostCopy::to_host, false)
          .bytesPerSecond /
      1e9;
  auto blocks = llvm::to_vector(module.getOps<BlockOp>());
  std::map<std::vector<Fingerprint::Word>, int64_t> known;
  for (BlockOp block : blocks) {
    auto entry =
        known.try_emplace(Fingerprint(symbols).run(block), known.size());
    options.blocks.push_back(entry.first->second);
    options.names.push_back(block.getSymName().str());
  }
  std::ptrdiff_t most = 0; // blocks of a kind so far
  auto add = [&](KindBench &bench, BlockOp block,
                 const optimize::LayerOptions &found) -> LogicalResult {
    FailureOr<plan::Stage> whole = buildBlockStage(block, symbols, timing);
    if (failed(whole))
      return failure();
    if (const auto count = llvm::count(options.blocks, options.kinds.size());
        techniques.overlaps && count > most) {
      most = count;
      options.overlapShare = overlapShareOf(*whole);
    }
    BlockOptions told = bench.tell(*whole, found);
    told.figures.isLayer = isDecoder(block);
    BlockBench::Output output = bench.output();
    told.output = told.figures.isLayer ? output.part : output.planName;
    options.kinds.push_back(std::move(told));
    options.boundaryBytes = std::max(options.boundaryBytes, output.bytes);
    return success();
  };
  const std::optional<size_t> top = findTop(blocks);
  optimize::LayerOptions ofTop;
  for (size_t kind = 0; kind < known.size(); ++kind) {
    const Neighbours neighbours =
        findNeighbours(blocks, options.blocks, static_cast<int64_t>(kind));
    KindBench bench(neighbours, symbols, timing,
                    {techniques.isLastTurning && !isDecoder(neighbours.block) &&
                         neighbours.block != blocks.front(),
                     techniques.splitsBackward, techniques.leadLayers});
    FailureOr<optimize::LayerOptions> found = bench.find(techniques);
    if (failed(found) || failed(add(bench, neighbours.block, *found)))
      return failure();
    if (top && options.blocks[*top] == static_cast<int64_t>(kind))
      ofTop = std::move(*found);
  }
  // Nothing but the head itself keeps streams busy while the head runs: what
  // the layer below it makes or copies again comes sooner than below a layer.
  if (top) {
    KindBench bench(findTopNeighbours(blocks, options.blocks, *top), symbols,
                    timing,
                    {techniques.isLastTurning, techniques.splitsBackward,
                     techniques.leadLayers});
    FailureOr<optimize::LayerOptions> found =
        bench.measureAgain(std::move(ofTop));
    if (failed(found) || failed(add(bench, blocks[*top], *found)))
      return failure();
    options.kinds.back().figures.sameOptionsAs = options.blocks[*top];
    options.blocks[*top] = static_cast<int64_t>(options.kinds.size()) - 1;
  }
  if (options.blocks.empty())
    return module.emitError() << "the module holds no moe.block; run "
                                 "moe-expand-layers first";
  return options;
}
