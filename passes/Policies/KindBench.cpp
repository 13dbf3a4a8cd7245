//===- KindBench.cpp - a kind of block under treatments -------------------===//

#include "passes/Policies/KindBench.h"

#include "compiler/Cost/StageCosts.h"
#include "passes/Policies/Targets.h"

#include "llvm/ADT/StringSet.h"

#include <algorithm>

using namespace mlir;
using namespace moe;

/// A treatment of the values of one block for those of its neighbours, too.
class KindBench::ByPart {
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

/// Where a stage turns, of what lies below its head: what leaves the device is
/// behind the head when backward needs it.
static StageHabits withoutTurn(StageHabits habits) {
  habits.isTurning = false;
  return habits;
}

KindBench::KindBench(const Neighbours &neighbours, const SymbolTable &symbols,
                     const TimingInputs &timing, StageHabits habits)
    : alone(neighbours.block, symbols, timing,
            neighbours.above ? withoutTurn(habits) : habits) {
  const BlockOp block = neighbours.block, above = neighbours.above,
                below = neighbours.below;
  if (!above)
    return;
  isBelowHead = !isDecoder(above);
  pair.emplace(ArrayRef<BlockOp>{block, above}, symbols, timing, habits);
  const StageHabits ofOthers = withoutTurn(habits);
  if (!neighbours.isOfOneKind)
    other.emplace(above, symbols, timing, ofOthers);
  if (!below)
    return;
  three.emplace(ArrayRef<BlockOp>{below, block, above}, symbols, timing,
                habits);
  if (!neighbours.isBelowOfOneKind)
    lower.emplace(below, symbols, timing, ofOthers);
}

FailureOr<optimize::LayerOptions> KindBench::find(Techniques techniques) {
  if (failed(measureBase()))
    return failure();
  optimize::LayerOptionsProblem problem = makeProblem(techniques);
  bool failedOnce = false;
  problem.evaluate = [&](const optimize::LayerTreatment &treatment) {
    FailureOr<Measured> made = measure(treatment);
    failedOnce |= failed(made);
    return failed(made) ? optimize::LayerFigures{} : relative(*made);
  };
  optimize::LayerOptions found = optimize::findOptions(problem);
  for (auto [treatment, figures] : llvm::zip(found.treatments, found.figures))
    failedOnce |= failed(refine(treatment, figures, figures.inside.aheadBytes));
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

FailureOr<optimize::LayerOptions>
KindBench::measureAgain(optimize::LayerOptions found, const KindBench &other) {
  aloneFigures = other.aloneFigures;
  if (failed(measureBase()))
    return failure();
  for (auto [treatment, figures] : llvm::zip(found.treatments, found.figures)) {
    FailureOr<Measured> made = measure(treatment);
    if (failed(made))
      return failure();
    const int64_t aheadBytes = figures.inside.aheadBytes;
    figures.inside = relative(*made).inside;
    if (failed(refine(treatment, figures, aheadBytes)))
      return failure();
  }
  return found;
}

BlockOptions KindBench::tell(const plan::Stage &whole,
                             const optimize::LayerOptions &found) {
  schedule::StageCosts split = cost::stageCosts(whole);
  BlockOptions options;
  options.inside = timesOf(base.inside, split);
  options.last = timesOf(base.alone, split);
  options.figures.forwardNs = base.inside.forwardNs;
  options.figures.backwardNs = base.inside.backwardNs;
  options.figures.persistentBytes = cost::persistentBytes(whole);
  options.trainable = cost::trainableElements(whole);
  options.weightGradBytes = split.weightGradBytes;
  for (auto [treatment, figures] : llvm::zip(found.treatments, found.figures)) {
    options.figures.options.push_back(figures.inside);
    options.figures.lastOptions.push_back(figures.last);
    BlockOption &option = options.options.emplace_back();
    for (auto [how, each] : llvm::zip(treatment, alone.kept()))
      if (how == optimize::Treatment::recompute)
        option.recomputed.push_back(each.part);
      else if (how != optimize::Treatment::keep)
        option.offloaded.push_back({each.part, each.isInput,
                                    how == optimize::Treatment::offload_late});
  }
  return options;
}

LogicalResult KindBench::measureBase() {
  FailureOr<Measured> everything = measure(
      optimize::LayerTreatment(alone.kept().size(), optimize::Treatment::keep));
  if (failed(everything))
    return failure();
  base = *everything;
  return success();
}

/// What the head gets from the block, it treats itself.
KindBench::ByPart
KindBench::partsOf(const optimize::LayerTreatment &treatment) {
  return {alone, treatment, isBelowHead ? alone.output().planName : ""};
}

FailureOr<BlockFigures>
KindBench::measureAlone(const optimize::LayerTreatment &treatment,
                        const ByPart &how) {
  optimize::LayerTreatment early = treatment;
  llvm::replace(early, optimize::Treatment::offload_late,
                optimize::Treatment::offload);
  if (auto known = aloneFigures.find(early); known != aloneFigures.end())
    return known->second;
  FailureOr<BlockFigures> made = alone.treated(how);
  if (succeeded(made))
    aloneFigures.emplace(std::move(early), *made);
  return made;
}

/// What a block has live besides what the one below it keeps and has ahead, if
/// both together have `bytes`.
static int64_t lateOf(int64_t bytes, int64_t kept, int64_t ahead) {
  return std::max<int64_t>(0, bytes - kept - ahead);
}

FailureOr<KindBench::Measured>
KindBench::measure(const optimize::LayerTreatment &treatment) {
  const ByPart how = partsOf(treatment);
  FailureOr<BlockFigures> single = measureAlone(treatment, how);
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
  for (auto waits :
       {&BlockFigures::backwardWaits, &BlockFigures::weightGradWaits}) {
    LinkWaits &inside = measured.inside.*waits;
    inside = (*both).*waits;
    inside.unhinderedNs = std::max<int64_t>(
        0, inside.unhinderedNs - (behind.*waits).unhinderedNs);
  }
  if (!other)
    measured.latePeakBytes =
        lateOf(both->peakBytes.back(), single->keptBytes, both->aheadBytes);
  for (auto time : {&BlockFigures::forwardNs, &BlockFigures::backwardNs,
                    &BlockFigures::inputGradNs, &BlockFigures::weightGradNs})
    measured.inside.*time = std::max<int64_t>(0, (*both).*time - behind.*time);
  return measured;
}

/// Of the neighbour above, where its kind is another; the head is always the
/// same.
LogicalResult KindBench::measureAbove(const ByPart &how) {
  if (!other || (isBelowHead && above))
    return success();
  FailureOr<BlockFigures> made = other->treated(how);
  if (succeeded(made))
    above = std::move(*made);
  return made;
}

/// Tells of a block between others what it has live at the time at which what
/// the block below it has moved is back. `aheadBytes`: what that counts with
/// where it is of the same kind.
LogicalResult KindBench::refine(const optimize::LayerTreatment &treatment,
                                optimize::LayerFigures &figures,
                                int64_t aheadBytes) {
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
    aheadBytes = all->aheadBytes;
  }
  figures.inside.latePeakBytes = lateOf(all->peakBytes[1], below, aheadBytes);
  return success();
}

/// What `figures` take longer backward than `base`.
static int64_t longer(const BlockFigures &figures, const BlockFigures &base) {
  return std::max<int64_t>(0, figures.backwardNs - base.backwardNs);
}

static int64_t longerNs(int64_t ns, int64_t withoutNs) {
  return std::max<int64_t>(0, ns - withoutNs);
}

/// Tells of a block whose copies back all begin with its turn, or next to: its
/// waits for them are part of its times, and what these copies leave of a
/// program, the link is free.
static void setOwnCopies(optimize::LayerOption &option,
                         const BlockFigures &figures,
                         const BlockFigures &base) {
  auto freeNs = [](int64_t ns, const LinkWaits &waits) {
    return ns - waits.earlyNs - waits.lateNs;
  };
  option.weightGradNs = std::min(
      option.extraNs, longerNs(figures.weightGradNs, base.weightGradNs));
  option.backward.linkFreeNs =
      freeNs(figures.backwardNs - figures.weightGradNs, figures.backwardWaits);
  option.weightGrad.linkFreeNs =
      freeNs(figures.weightGradNs, figures.weightGradWaits);
}

optimize::LayerFigures KindBench::relative(const Measured &measured) const {
  const BlockFigures &figures = measured.alone;
  const int64_t peak =
      std::max(figures.keptBytes, measured.inside.peakBytes.front());
  // Nothing but copies makes the forward longer. Alone, it ends with them.
  const int64_t tail =
      std::max<int64_t>(0, figures.forwardNs - base.alone.forwardNs);
  auto queue = [&](const BlockFigures &all) {
    return std::min(tail, figures.copyOutNs - all.forwardNs);
  };
  optimize::LayerFigures made{
      {longer(measured.inside, base.inside), figures.keptBytes, peak,
       figures.hostBytes, measured.inside.aheadBytes, peak, tail,
       queue(base.inside), figures.pendingBytes.front(),
       measured.inside.forwardPeakBytes.front()},
      {longer(figures, base.alone), figures.keptBytes,
       std::max(figures.keptBytes, figures.peakBytes.front()),
       figures.hostBytes, 0, measured.latePeakBytes, tail, queue(base.alone),
       figures.pendingBytes.front(), figures.forwardPeakBytes.front()}};
  setOwnCopies(made.last, figures, base.alone);
  const BlockFigures &inside = measured.inside;
  if (isBelowHead) {
    // The last layer of a stage begins with all that it needs on the host, and
    // so does next to the one below the head: there it was measured so.
    setOwnCopies(made.inside, inside, base.inside);
    return made;
  }
  auto unhindered = [&](LinkWaits BlockFigures::*program, int64_t &extraNs) {
    const LinkWaits &waits = inside.*program;
    extraNs = longerNs(waits.unhinderedNs, (base.inside.*program).unhinderedNs);
    return optimize::CopiesBack{
        waits.earlyNs, waits.unhinderedNs - waits.lateNs, waits.mayWaitNs};
  };
  made.inside.backward =
      unhindered(&BlockFigures::backwardWaits, made.inside.extraNs);
  made.inside.weightGrad =
      unhindered(&BlockFigures::weightGradWaits, made.inside.weightGradNs);
  made.inside.extraNs += made.inside.weightGradNs;
  return made;
}

optimize::LayerOptionsProblem
KindBench::makeProblem(Techniques techniques) const {
  optimize::LayerOptionsProblem problem;
  // Late, these would wait for whatever the block below has copied early.
  llvm::StringSet<> deferred;
  if (pair && !other)
    for (const BlockBench::Kept &each : pair->kept())
      if (each.isDeferred)
        deferred.insert(each.part);
  int64_t all = 0;
  for (const BlockBench::Kept &each : alone.kept())
    all += each.bytes;
  for (const BlockBench::Kept &each : alone.kept()) {
    problem.valueBytes.push_back(each.bytes);
    if (techniques.leadLayers > 0) {
      problem.mayComeLate.push_back(!deferred.contains(each.part));
      problem.copyNs.push_back(each.copyNs);
      problem.neededNs.push_back(each.neededNs);
    }
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
