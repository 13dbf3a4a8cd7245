//===- BlockOptions.cpp - how each kind of block can be treated -----------===//

#include "passes/Policies/BlockOptions.h"

#include "compiler/Cost/Cost.h"
#include "compiler/Cost/StageCosts.h"
#include "compiler/Schedule/Interleave.h"
#include "passes/Policies/KindBench.h"

#include <algorithm>
#include <array>
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

/// Blocks of one kind that lie in a row: the first such, as many as there are,
/// at most `most`.
ArrayRef<BlockOp> findRow(ArrayRef<BlockOp> blocks, ArrayRef<int64_t> kinds,
                          int64_t kind, size_t most) {
  ArrayRef<BlockOp> longest;
  for (size_t begin = 0, end = 0; begin < blocks.size(); begin = end + 1) {
    for (end = begin; end < blocks.size() && kinds[end] == kind;)
      ++end;
    if (end - begin > longest.size())
      longest = blocks.slice(begin, end - begin);
  }
  return longest.take_front(most);
}

/// Of one layer the gaps at both ends count as much as those inside; stages
/// have several.
constexpr size_t kLayersOfPair = 4;

/// What a stream works for the ways of a stage.
schedule::BlockWork workOf(const plan::Stage &stage, plan::Stream stream) {
  std::array<int64_t, plan::kPhaseCount> ns{};
  bool isWhole = false, isSplit = false;
  for (const plan::Program &program : stage.programs) {
    isWhole |= program.phase == plan::Phase::backward;
    isSplit |= program.phase == plan::Phase::backward_input;
    for (const plan::Op &op : program.ops)
      if (op.stream == stream)
        ns[static_cast<size_t>(program.phase)] += op.timeNs;
  }
  const auto [forward, whole, inputGrad, weightGrad] = ns;
  const int64_t halves = inputGrad + weightGrad;
  return {forward,
          isWhole && isSplit ? std::min(whole, halves) : whole + halves};
}

/// See ModelOptions. `stage`: of blocks with all ways backward. Pairs have
/// whole backwards; where others are split, all are counted as their halves.
double overlapShareOf(const plan::Stage &stage, bool isSplit) {
  const plan::Program *forward = nullptr, *backward = nullptr;
  int64_t halvesNs = 0;
  for (const plan::Program &program : stage.programs) {
    if (program.phase == plan::Phase::forward)
      forward = &program;
    else if (program.phase == plan::Phase::backward)
      backward = &program;
    else
      halvesNs += schedule::durationNs(program);
  }
  if (!forward || !backward)
    return 0;
  const int64_t forwardNs = schedule::durationNs(*forward);
  const int64_t backwardNs =
      isSplit ? halvesNs : schedule::durationNs(*backward);
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
    const auto kind = static_cast<int64_t>(options.kinds.size());
    if (const auto count = llvm::count(options.blocks, kind);
        techniques.overlaps && count > most) {
      most = count;
      FailureOr<plan::Stage> several =
          buildBlockStage(findRow(blocks, options.blocks, kind, kLayersOfPair),
                          symbols, timing);
      if (failed(several))
        return failure();
      options.overlapShare =
          overlapShareOf(*several, techniques.splitsBackward);
    }
    BlockOptions told = bench.tell(*whole, found);
    told.figures.isLayer = isDecoder(block);
    told.works = {workOf(*whole, plan::Stream::compute),
                  workOf(*whole, plan::Stream::expert_communication)};
    told.works.compute.isLayer = told.works.exchange.isLayer =
        told.figures.isLayer;
    BlockBench::Output output = bench.output();
    told.output = told.figures.isLayer ? output.part : output.planName;
    options.kinds.push_back(std::move(told));
    options.boundaryBytes = std::max(options.boundaryBytes, output.bytes);
    return success();
  };
  const std::optional<size_t> top = findTop(blocks);
  optimize::LayerOptions foundForTop;
  std::optional<KindBench> benchOfTop; // which found that
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
    if (top && options.blocks[*top] == static_cast<int64_t>(kind)) {
      foundForTop = std::move(*found);
      benchOfTop.emplace(std::move(bench));
    }
  }
  // Nothing but the head itself keeps streams busy while the head runs: what
  // the layer below it makes or copies again comes sooner than below a layer.
  if (top) {
    KindBench bench(findTopNeighbours(blocks, options.blocks, *top), symbols,
                    timing,
                    {techniques.isLastTurning, techniques.splitsBackward,
                     techniques.leadLayers});
    FailureOr<optimize::LayerOptions> found =
        bench.measureAgain(std::move(foundForTop), *benchOfTop);
    if (failed(found) || failed(add(bench, blocks[*top], *found)))
      return failure();
    options.kinds.back().figures.sameOptionsAs = options.blocks[*top];
    options.blocks[*top] = static_cast<int64_t>(options.kinds.size()) - 1;
  }
  // Above a layer of which copies come early lies another one: that below the
  // head has none.
  std::vector<std::vector<optimize::LayerOption> *> all;
  for (BlockOptions &kind : options.kinds)
    if (kind.figures.isLayer)
      for (auto *places : {&kind.figures.options, &kind.figures.lastOptions})
        all.push_back(places);
  optimize::countCertainWaits(all);
  // Plans carry the rate alone.
  cost::Link local = cost::localLink(timing.machine);
  local.latencyNs = 0;
  options.localTransferNs = cost::transferNs(local, options.boundaryBytes);
  if (options.blocks.empty())
    return module.emitError() << "the module holds no moe.block; run "
                                 "moe-expand-layers first";
  return options;
}
