//===- BlockBench.cpp - blocks as a stage that can be treated -------------===//

#include "passes/Policies/BlockBench.h"

#include "compiler/Cost/Cost.h"
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

using namespace mlir;
using namespace moe;

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

static plan::Program *programOf(plan::Stage &stage, plan::Phase phase) {
  for (plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

static BlockFigures figuresOf(plan::Stage &stage) {
  const plan::Program &forward = *programOf(stage, plan::Phase::forward);
  BlockFigures figures;
  llvm::SmallDenseSet<plan::ValueIndex> taken; // behind the forward
  for (const plan::Program &program : stage.programs) {
    const int64_t ns = schedule::durationNs(program);
    if (program.phase == plan::Phase::forward) {
      figures.forwardNs = ns;
      continue;
    }
    figures.backwardNs += ns;
    if (program.phase == plan::Phase::backward_input)
      figures.inputGradNs = ns;
    if (program.phase == plan::Phase::weight_grad)
      figures.weightGradNs = ns;
    taken.insert(program.inputs.begin(), program.inputs.end());
  }
  for (const plan::Op &op : forward.ops)
    if (op.stream == plan::Stream::copy_out)
      figures.copyOutNs += op.timeNs;
  for (plan::ValueIndex value : forward.outputs)
    if (taken.contains(value))
      (stage.values[value].isOnHost() ? figures.hostBytes
                                      : figures.keptBytes) +=
          stage.values[value].bytes;
  return figures;
}

static bool isCopy(const plan::Op &op) {
  return op.stream == plan::Stream::copy_out ||
         op.stream == plan::Stream::copy_in;
}

/// A module with the parameters of `blocks` and one stage made of them, with a
/// split backward where they have any.
static OwningOpRef<ModuleOp> makeModule(ArrayRef<BlockOp> blocks,
                                        const SymbolTable &symbols) {
  OwningOpRef<ModuleOp> module = ModuleOp::create(blocks.front()->getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
  llvm::SmallDenseSet<StringRef> declared;
  for (BlockOp block : blocks)
    block.walk([&](KernelOpInterface kernel) {
      for (const ParameterUse &use : kernel.getParameters())
        if (use.symbol && declared.insert(use.symbol.getValue()).second)
          if (Operation *parameter = symbols.lookup(use.symbol.getValue()))
            builder.clone(*parameter);
    });
  SmallVector<BlockOp> copies;
  for (BlockOp block : blocks)
    copies.push_back(cast<BlockOp>(builder.clone(*block)));
  mergeBlocks(builder, 0, 0, copies);
  for (BlockOp copy : copies)
    copy.erase();
  return module;
}

/// Gives the stage the whole backward that it may have instead.
static void fuse(pipe::StageOp stage) {
  if (!stage.getBackwardInput().empty())
    addFusedBackward(stage);
}

FailureOr<plan::Stage> moe::buildBlockStage(ArrayRef<BlockOp> blocks,
                                            const SymbolTable &symbols,
                                            const TimingInputs &timing) {
  OwningOpRef<ModuleOp> module = makeModule(blocks, symbols);
  pipe::StageOp stage = stageOf(*module);
  fuse(stage);
  placeReleases(stage);
  return buildStagePrograms(stage, timing, StageDetail::figures);
}

/// From where `region` begins to each of its ops, one after the other.
static llvm::DenseMap<Operation *, int64_t>
startsOf(Region &region,
         ArrayRef<std::pair<Operation *, OpFigures>> figuresOfOps) {
  llvm::DenseMap<Operation *, int64_t> starts;
  int64_t ns = 0;
  for (const auto &[op, figures] : figuresOfOps)
    if (op->getParentRegion() == &region) {
      starts[op] = ns;
      ns += figures.timeNs;
    }
  return starts;
}

BlockBench::BlockBench(ArrayRef<BlockOp> blocks, const SymbolTable &symbols,
                       const TimingInputs &timing, StageHabits habits)
    : timing(timing), habits(habits), module(makeModule(blocks, symbols)),
      workbench(ModuleOp::create(blocks.front()->getLoc())) {
  for (BlockOp block : blocks)
    prefixes.push_back((block.getSymName() + ".").str());
  pipe::StageOp stage = stageOf(*module);
  if (!habits.isSplit) {
    fuse(stage);
    dropSplitBackward(stage);
  }
  stage->walk([&](KernelOpInterface kernel) {
    figuresOfOps.push_back({kernel, figuresOfOp(kernel, timing)});
  });
  Region &backward =
      habits.isSplit ? stage.getBackwardInput() : stage.getBackward();
  const llvm::DenseMap<Operation *, int64_t> starts =
      startsOf(backward, figuresOfOps);
  const cost::Link link =
      cost::hostLink(timing.machine, cost::HostCopy::to_device, false);
  Operation *lowest = nullptr; // the first op of the lowest block
  if (!backward.empty())
    for (Operation &op : backward.front().without_terminator())
      if (!lowest && blockOf(getOpName(&op)) == 0)
        lowest = &op;
  for (auto [index, value] : llvm::enumerate(keptBy(stage))) {
    Kept &each = values.emplace_back();
    Operation *op = value.getDefiningOp();
    each.planName = getPlanName(stage, value);
    each.part = partOf(each.planName);
    each.opPart = op ? partOf(getOpName(op).str()) : "";
    each.bytes = plan::alignUp(getByteSize(value.getType()));
    each.copyNs = cost::transferNs(link, each.bytes);
    Operation *user = backward.empty()
                          ? nullptr
                          : firstUser(backward.getArgument(
                                stage.getNumHiddenOutputs() + index));
    if (user) {
      each.neededNs = starts.lookup(user);
      each.isDeferred = lowest && lowest->isBeforeInBlock(user) &&
                        blockOf(getOpName(user)) != 0;
    }
    each.isReplayable = op && isReplayable(op);
    each.isDispatched = op && isa<DispatchOp>(op);
    each.isOutput = llvm::is_contained(yieldOf(stage).getResults(), value);
    each.isInput = isHiddenInput(stage, value);
  }
}

FailureOr<BlockFigures>
BlockBench::treated(llvm::function_ref<optimize::Treatment(const Kept &)> how) {
  IRMapping copies;
  OpBuilder builder = OpBuilder::atBlockEnd(workbench->getBody());
  auto stage = cast<pipe::StageOp>(builder.clone(*stageOf(*module), copies));
  llvm::scope_exit erase([&] { stage.erase(); });
  KnownOfOps known;
  known.figures.reserve(2 * figuresOfOps.size());
  known.bytesOfTypes = &bytesOfTypes;
  for (const auto &[op, figures] : figuresOfOps)
    known.figures[copies.lookup(op)] = &figures;
  SmallVector<Value> dropped;
  SmallVector<CoveredValue> moved;
  for (auto [value, each] : llvm::zip(keptBy(stage), values)) {
    optimize::Treatment treatment = how(each);
    if (treatment == optimize::Treatment::recompute)
      dropped.push_back(value);
    else if (treatment == optimize::Treatment::offload)
      moved.push_back({stage, value, each.planName, 0, true});
    else if (treatment == optimize::Treatment::offload_late)
      moved.push_back({stage, value, each.planName, 0, true, 0});
  }
  if (!dropped.empty()) {
    insertReplays(stage, findReplays(stage, dropped, ReplayOptions()),
                  [&](Operation *original, Operation *copy) {
                    known.figures[copy] = known.figures.lookup(original);
                  });
  }
  if (!moved.empty() &&
      failed(offloadValues(stage, moved, {{}}, {.layers = habits.leadLayers},
                           habits.isTurning)))
    return failure();
  placeOverwrites(stage);
  for (pipe::Phase phase : stage.getPhases())
    findReleases(stage.getRegion(phase).front(), known.releases);
  FailureOr<plan::Stage> built = buildStageFigures(stage, timing, known);
  if (failed(built))
    return failure();
  BlockFigures figures = figuresOf(*built);
  std::vector<std::vector<size_t>> blocks; // of ops, by program
  for (const plan::Program &program : built->programs)
    blocks.push_back(blocksOfOps(stage, program.phase));
  setLinkWaits(*built, blocks, figures);
  setPending(*built, blocks, figures);
  setPeaks(*built, blocks, figures);
  return figures;
}

size_t BlockBench::blockOf(StringRef name) const {
  return std::distance(prefixes.begin(),
                       llvm::find_if(prefixes, [&](const std::string &prefix) {
                         return name.starts_with(prefix);
                       }));
}

std::vector<size_t> BlockBench::blocksOfOps(pipe::StageOp stage,
                                            plan::Phase phase) const {
  std::vector<size_t> blocks;
  for (Operation &op : stage.getRegion(static_cast<pipe::Phase>(phase))
                           .front()
                           .without_terminator())
    blocks.push_back(blockOf(getOpName(&op)));
  return blocks;
}

void BlockBench::setLinkWaits(plan::Stage &built, BlocksOfOps blocksOf,
                              BlockFigures &figures) {
  for (auto [program, blocks] : llvm::zip(built.programs, blocksOf)) {
    if (program.phase == plan::Phase::weight_grad)
      figures.weightGradWaits = findLinkWaits(program, blocks);
    else if (program.phase != plan::Phase::forward)
      figures.backwardWaits = findLinkWaits(program, blocks);
  }
}

void BlockBench::setPending(const plan::Stage &built, BlocksOfOps blocksOf,
                            BlockFigures &figures) const {
  figures.pendingBytes.assign(prefixes.size(), 0);
  // What comes into the stage counts as the lowest block's.
  std::vector<size_t> makers(built.values.size(), 0);
  for (const auto &[program, blocks] : llvm::zip(built.programs, blocksOf)) {
    for (size_t op = 0; op < blocks.size(); ++op)
      for (plan::ValueIndex output : program.ops[op].outputs)
        if (output != -1)
          makers[static_cast<size_t>(output)] =
              std::min(blocks[op], prefixes.size() - 1);
  }
  for (const plan::Program &program : built.programs)
    if (program.phase == plan::Phase::weight_grad)
      for (plan::ValueIndex input : program.inputs)
        if (const plan::Value &value = built.values[input]; !value.isOnHost())
          figures.pendingBytes[makers[static_cast<size_t>(input)]] +=
              value.bytes;
}

void BlockBench::setPeaks(plan::Stage &built, BlocksOfOps blocksOf,
                          BlockFigures &figures) const {
  const size_t count = prefixes.size();
  figures.peakBytes.assign(count, 0);
  figures.forwardPeakBytes.assign(count, 0);
  for (auto [program, blocks] : llvm::zip(built.programs, blocksOf)) {
    // What these need was there when the backward before them ended.
    if (program.phase == plan::Phase::weight_grad)
      continue;
    const bool isForward = program.phase == plan::Phase::forward;
    // Blocks run upwards, or downwards. One has its turn from its first op on
    // that is no copy.
    std::vector<size_t> turns(count + 1, 2 * blocks.size());
    auto blockAt = [&](size_t place) {
      return isForward ? place : count - 1 - place;
    };
    turns[0] = 0;
    for (size_t place = 1; place < count; ++place)
      for (size_t op = 0; op < blocks.size(); ++op)
        if (blocks[op] == blockAt(place) && !isCopy(program.ops[op])) {
          turns[place] = 2 * op;
          break;
        }
    const std::vector<int64_t> live =
        optimize::liveWithoutWaits(built, program);
    for (size_t place = 0; place < count; ++place)
      for (size_t at = turns[place];
           at < std::min(turns[place + 1], live.size()); ++at) {
        const size_t block = blockAt(place);
        const int64_t above =
            isForward ? 0
                      : std::accumulate(figures.pendingBytes.begin() +
                                            static_cast<ptrdiff_t>(block) + 1,
                                        figures.pendingBytes.end(), int64_t{0});
        int64_t &peak = figures.peakBytes[block];
        peak = std::max(peak, live[at] - above);
        if (isForward)
          figures.forwardPeakBytes[block] = peak;
      }
    if (isForward || count == 1)
      continue;
    std::vector<bool> isOfLowest;
    for (size_t block : blocks)
      isOfLowest.push_back(block == 0);
    auto begin = live.begin() + static_cast<ptrdiff_t>(turns[count - 2]);
    auto end = live.begin() + static_cast<ptrdiff_t>(turns[count - 1]);
    if (begin < end)
      figures.aheadBytes = optimize::liveWithoutWaits(
          built, program, isOfLowest)[static_cast<size_t>(
          std::max_element(begin, end) - live.begin())];
  }
}

BlockBench::Output BlockBench::output() {
  pipe::StageOp stage = stageOf(*module);
  for (auto [role, value] :
       llvm::zip(stage.getOutputs().getAsValueRange<StringAttr>(),
                 yieldOf(stage).getResults()))
    if (role == "hidden") {
      std::string name = getPlanName(stage, value);
      return {name, partOf(name), plan::alignUp(getByteSize(value.getType()))};
    }
  return {};
}

std::string BlockBench::partOf(const std::string &name) const {
  const size_t block = blockOf(name);
  return block < prefixes.size() ? name.substr(prefixes[block].size()) : name;
}
