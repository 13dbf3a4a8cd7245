//===- PlanRanks.cpp - steps, overlaps and places of every rank -----------===//

#include "compiler/Export/IR/PlanRanks.h"

#include "compiler/Optimize/Placement.h"
#include "compiler/Optimize/StreamWaits.h"
#include "runtime/Plan/Replay.h"
#include "support/Parallel.h"
#include "llvm/ADT/StringMap.h"

#include <set>

using namespace mlir;
using namespace moe;

namespace {

const plan::Program *programOf(const plan::Stage &stage, plan::Phase phase) {
  for (const plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

/// Turns the steps of one rank into those of the plan.
class StepEmitter {
public:
  StepEmitter(const StepLists &lists, const plan::Plan &plan, plan::Rank &rank)
      : lists(lists), plan(plan), rank(rank) {}

  LogicalResult run() {
    const std::vector<schedule::Step> &steps = lists.steps.ranks[rank.rank];
    for (const schedule::Step &step : steps) {
      noteSplit(step.phase, step.stage, step.microbatch, step.kind);
      noteSplit(step.second.phase, step.second.stage, step.second.microbatch,
                step.kind);
    }
    rank.steps.reserve(steps.size());
    for (size_t number = 0; number < steps.size(); ++number)
      if (failed(add(steps[number], number)))
        return failure();
    return success();
  }

private:
  void noteSplit(plan::Phase phase, int64_t stage, int64_t microbatch,
                 plan::StepKind kind) {
    if (plan::isExecution(kind) && phase == plan::Phase::backward_input)
      split.insert({stage, microbatch});
  }

  LogicalResult add(const schedule::Step &step, size_t number) {
    plan::Step made;
    made.kind = step.kind;
    made.stage = step.stage;
    made.microbatch = step.microbatch;
    made.peer = step.peer;
    made.role = step.role;
    made.phase = step.phase;
    if (plan::hasValue(step.kind))
      made.value = valueOf(step);
    if (step.kind == plan::StepKind::overlap) {
      auto op = cast<pipe::OverlapOp>(lists.ops[rank.rank][number]);
      FailureOr<int64_t> index = overlapOf(op, step);
      if (failed(index))
        return failure();
      made.overlap = *index;
      made.secondMicrobatch = step.second.microbatch;
    }
    rank.steps.push_back(std::move(made));
    return success();
  }

  /// The rank's overlap for an interleaving, made at its first use.
  FailureOr<int64_t> overlapOf(pipe::OverlapOp op, const schedule::Step &step) {
    auto [known, isNew] =
        overlaps.insert({op.getInterleaving(), rank.overlaps.size()});
    if (!isNew)
      return known->second;
    for (pipe::InterleavingOp interleaving : lists.interleavings) {
      if (interleaving.getSymName() != op.getInterleaving())
        continue;
      std::optional<ArrayRef<int64_t>> order = interleaving.getOrder();
      if (!order)
        return interleaving.emitOpError()
               << "has no order; run pipe-interleave first";
      plan::Overlap made;
      made.members = {
          {{step.stage, step.phase}, {step.second.stage, step.second.phase}}};
      made.order.assign(order->begin(), order->end());
      rank.overlaps.push_back(std::move(made));
    }
    return known->second;
  }

  /// The value that a step moves.
  plan::ValueIndex valueOf(const schedule::Step &step) const {
    const plan::Stage &stage = plan.stages[step.stage];
    const plan::Program &forward = *programOf(stage, plan::Phase::forward);
    auto named = [&](StringRef name) -> plan::ValueIndex {
      for (plan::ValueIndex value : forward.inputs)
        if (stage.values[value].name == name)
          return value;
      return -1;
    };
    if (step.kind == plan::StepKind::load)
      return named(step.role);
    bool isForward = step.phase == plan::Phase::forward;
    if (isForward && step.kind == plan::StepKind::receive)
      return named("input");
    if (isForward)
      return forward.outputs.front();
    // Both ways backward take the same value and make different ones.
    const plan::Program &backward =
        *programOf(stage, split.contains({step.stage, step.microbatch})
                              ? plan::Phase::backward_input
                              : plan::Phase::backward);
    return step.kind == plan::StepKind::receive ? backward.inputs.front()
                                                : backward.outputs.front();
  }

  const StepLists &lists;
  const plan::Plan &plan;
  plan::Rank &rank;
  llvm::StringMap<int64_t> overlaps; ///< by name of the interleaving
  /// Stage and microbatch of backwards that are split.
  std::set<std::pair<int64_t, int64_t>> split;
};

} // namespace

/// Gives all buffers of the rank their places, and ops the waits that follow.
static Result<RankArena> place(plan::Plan &plan, plan::Rank &rank) {
  using optimize::Reuse;
  auto placeBy = [&](Reuse reuse) -> Result<int64_t> {
    Result<optimize::Arena> arena = optimize::placeRank(plan, rank.rank, reuse);
    if (!arena)
      return arena.error();
    rank.arenaBytes = arena->bytes;
    return arena->boundBytes;
  };
  Result<int64_t> bound = placeBy(Reuse::withoutWaits);
  const int64_t bytesWithoutWaits = rank.arenaBytes;
  if (bound && bytesWithoutWaits + plan.machine.reserveBytes >
                   plan.machine.budgetBytes) {
    bound = placeBy(Reuse::inIssueOrder);
    // Waits that save nothing are none.
    if (bound && rank.arenaBytes > bytesWithoutWaits)
      bound = placeBy(Reuse::withoutWaits);
  }
  if (!bound)
    return bound.error();
  for (int64_t stage : rank.stages)
    for (plan::Program &program : plan.stages[stage].programs)
      optimize::setWaits(plan.stages[stage], program);
  for (plan::Overlap &overlap : rank.overlaps)
    overlap.waits = optimize::overlapWaits(plan, overlap);
  return RankArena{bytesWithoutWaits, *bound};
}

/// Live bytes of the rank's overlaps and steps.
static Status account(const plan::Plan &plan, plan::Rank &rank) {
  for (auto [index, overlap] : llvm::enumerate(rank.overlaps)) {
    overlap.live.resize(overlap.order.size());
    Result<std::vector<plan::ByteCounts>> live =
        plan::replayOverlap(plan, rank.rank, index);
    if (!live)
      return live.error();
    overlap.live = std::move(*live);
  }
  Result<plan::Replay> replay = plan::replay(plan, rank.rank);
  if (!replay)
    return replay.error();
  for (auto [step, live] : llvm::zip(rank.steps, replay->stepLive))
    step.live = live;
  rank.persistent = replay->persistent;
  rank.peak = replay->peak;
  rank.peakStep = replay->peakStep;
  rank.peakOp = replay->peakOp;
  rank.hostPeakBytes = replay->hostPeakBytes;
  return {};
}

PlacedRanks::Rank PlacedRanks::Rank::of(const plan::Plan &plan, size_t rank) {
  Rank made{plan.ranks[rank], {}};
  for (int64_t stage : made.rank.stages)
    made.stages.push_back(plan.stages[stage]);
  return made;
}

std::optional<RankArena> PlacedRanks::reuse(plan::Plan &plan,
                                            size_t rank) const {
  auto known = entries.find(rank);
  if (known == entries.end())
    return std::nullopt;
  const Entry &entry = known->second;
  // Of a budget it only matters whether streams have to wait.
  auto hasToWait = [&](int64_t budget) {
    return entry.arena.bytesWithoutWaits + plan.machine.reserveBytes > budget;
  };
  plan::Rank &now = plan.ranks[rank];
  if (hasToWait(plan.machine.budgetBytes) != hasToWait(entry.budgetBytes) ||
      now != entry.before.rank)
    return std::nullopt;
  for (auto [stage, before] : llvm::zip(now.stages, entry.before.stages))
    if (plan.stages[stage] != before)
      return std::nullopt;
  for (auto [stage, placed] : llvm::zip(now.stages, entry.placed.stages))
    plan.stages[stage] = placed;
  now = entry.placed.rank;
  return entry.arena;
}

void PlacedRanks::remember(Rank before, const plan::Plan &plan,
                           RankArena arena) {
  const auto rank = static_cast<size_t>(before.rank.rank);
  entries[rank] = {std::move(before), Rank::of(plan, rank), arena,
                   plan.machine.budgetBytes};
}

FailureOr<std::vector<RankArena>>
moe::placeRanks(ModuleOp module, const StepLists &lists, plan::Plan &plan,
                PlacedRanks *known, size_t jobs) {
  plan.ranks.resize(lists.steps.ranks.size());
  for (size_t index = 0; index < plan.stages.size(); ++index)
    plan.ranks[plan.stages[index].rank].stages.push_back(index);
  std::vector<RankArena> arenas(plan.ranks.size());
  std::vector<size_t> others; // ranks that do not lie where they lay
  for (auto [index, rank] : llvm::enumerate(plan.ranks)) {
    rank.rank = index;
    if (failed(StepEmitter(lists, plan, rank).run()))
      return failure();
    if (std::optional<RankArena> same =
            known ? known->reuse(plan, index) : std::nullopt)
      arenas[index] = *same;
    else
      others.push_back(index);
  }
  std::vector<Status> statuses(others.size());
  std::vector<PlacedRanks::Rank> before(known ? others.size() : 0);
  inParallel(others.size(), jobs, [&](size_t number) {
    const size_t index = others[number];
    if (known)
      before[number] = PlacedRanks::Rank::of(plan, index);
    Result<RankArena> arena = place(plan, plan.ranks[index]);
    if (arena)
      arenas[index] = *arena;
    else
      statuses[number] = arena.error();
  });
  for (auto [number, index] : llvm::enumerate(others)) {
    if (!statuses[number])
      return module.emitError() << statuses[number].error().message;
    if (known)
      known->remember(std::move(before[number]), plan, arenas[index]);
  }
  return arenas;
}

LogicalResult moe::accountForRanks(ModuleOp module, plan::Plan &plan,
                                   size_t jobs) {
  std::vector<Status> statuses(plan.ranks.size());
  inParallel(plan.ranks.size(), jobs, [&](size_t rank) {
    statuses[rank] = account(plan, plan.ranks[rank]);
  });
  for (const Status &status : statuses)
    if (!status)
      return module.emitError() << status.error().message;
  return success();
}
