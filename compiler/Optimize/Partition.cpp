#include "compiler/Optimize/PartitionCosts.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <limits>
#include <map>
#include <string>
#include <utility>

namespace moe::optimize {

static Error failure(const std::string &reason) {
  return Error{"partition: " + reason};
}

Status PartitionProblem::check() const {
  if (stages() < 1 || ranks() < 1 || microbatches < 1)
    return failure("there must be stages, ranks and microbatches");
  if (capacityBytes.size() != moments.size() ||
      otherBytes.size() != moments.size() ||
      (!hostCapacityBytes.empty() &&
       hostCapacityBytes.size() != moments.size()))
    return failure("every rank needs a capacity and other bytes");
  for (int64_t rank : rankOf)
    if (rank < 0 || rank >= ranks())
      return failure("no rank " + std::to_string(rank));
  if (!pins.empty() && pins.size() != blocks.size())
    return failure("pins must have an entry for every block");
  int64_t before = -1;
  for (int64_t stage : pins) {
    if (stage >= stages())
      return failure("no stage " + std::to_string(stage) +
                     " to pin layers to; there are " +
                     std::to_string(stages()) + ", from 0");
    if (stage >= 0 && stage < before)
      return failure("pins must rise with the blocks");
    before = std::max(before, stage);
  }
  for (const BlockKind &kind : kinds) {
    if (std::min({kind.forwardNs, kind.backwardNs, kind.persistentBytes}) < 0)
      return failure("negative time or bytes");
    if (kind.options.empty() ||
        (!kind.lastOptions.empty() &&
         kind.lastOptions.size() != kind.options.size()))
      return failure("kinds of blocks need options, and as many where a block "
                     "is the last");
    const int64_t same = kind.sameOptionsAs;
    if (same != -1 && (same < 0 || same >= std::ssize(kinds) ||
                       kinds[static_cast<size_t>(same)].options.size() !=
                           kind.options.size()))
      return failure("no kind with the options of kind " +
                     std::to_string(same));
  }
  int64_t layers = 0;
  for (int64_t kind : blocks) {
    if (kind < 0 || kind >= static_cast<int64_t>(kinds.size()))
      return failure("no kind of block " + std::to_string(kind));
    layers += kinds[static_cast<size_t>(kind)].isLayer;
  }
  if (layers < stages())
    return failure(std::to_string(layers) + " layers for " +
                   std::to_string(stages()) + " stages");
  return {};
}

Status PartitionProblem::checkSums() const {
  for (size_t stage = 0; stage < rankOf.size(); ++stage) {
    // No cut gives the stages of a rank more than all blocks each.
    std::vector<int64_t> counts(rankOf.size(), 0);
    counts[stage] = std::ssize(blocks);
    PolicyProblem largest = rankProblem(*this, counts, rankOf[stage]);
    const std::vector<int64_t> all = *std::max_element(
        largest.stages.begin(), largest.stages.end(),
        [](const auto &a, const auto &b) { return a.size() < b.size(); });
    largest.stages.assign(largest.stages.size(), all);
    MOE_RETURN_IF_ERROR(largest.check());
  }
  return {};
}

namespace {

Partition describe(const PartitionProblem &problem, RankCosts &costs,
                   const std::vector<int64_t> &counts) {
  Partition made;
  made.counts = counts;
  for (int64_t rank = 0; rank < problem.ranks(); ++rank) {
    costs.sharpen(rank, counts);
    costs.level(rank, counts);
    const RankCost &cost = costs.of(rank, counts);
    made.choices.push_back(cost.choices);
    made.rankNs.push_back(cost.ns);
    made.peakBytes.push_back(cost.peakBytes);
  }
  CutValue value = valueOf(problem, costs, counts);
  made.excessBytes = value.mostExcess;
  made.objectiveNs = value.objective;
  return made;
}

/// A legal cut, as near to the uniform one as pins allow: the one itself, or
/// one that differs least in the sum of differences. Empty: there is none.
std::vector<int64_t> legalCut(const PartitionProblem &problem) {
  std::vector<int64_t> uniform = uniformCounts(problem);
  if (isLegal(problem, uniform))
    return uniform;
  auto blocks = static_cast<int64_t>(problem.blocks.size());
  struct State {
    int64_t difference, from;
  };
  std::vector<std::map<int64_t, State>> reached(uniform.size() + 1);
  reached[0][0] = {0, -1};
  for (size_t stage = 0; stage < uniform.size(); ++stage)
    for (auto [begin, state] : reached[stage])
      for (int64_t end = begin + 1; end <= blocks; ++end) {
        if (!mayHold(problem, static_cast<int64_t>(stage), begin, end))
          continue;
        int64_t difference =
            state.difference + std::abs(end - begin - uniform[stage]);
        auto [at, isNew] =
            reached[stage + 1].try_emplace(end, State{difference, begin});
        if (!isNew && difference < at->second.difference)
          at->second = {difference, begin};
      }
  if (!reached.back().contains(blocks))
    return {};
  std::vector<int64_t> counts(uniform.size());
  int64_t end = blocks;
  for (size_t stage = counts.size(); stage-- > 0;) {
    int64_t begin = reached[stage + 1].at(end).from;
    counts[stage] = end - begin;
    end = begin;
  }
  return counts;
}

} // namespace

bool isLegal(const PartitionProblem &problem,
             const std::vector<int64_t> &counts) {
  int64_t block = 0;
  for (size_t stage = 0; stage < counts.size(); ++stage) {
    bool hasLayer = false;
    if (counts[stage] < 1)
      return false;
    for (int64_t end = block + counts[stage]; block < end; ++block) {
      auto b = static_cast<size_t>(block);
      if (b >= problem.blocks.size())
        return false;
      hasLayer |= problem.kinds[static_cast<size_t>(problem.blocks[b])].isLayer;
      if (!problem.pins.empty() && problem.pins[b] >= 0 &&
          problem.pins[b] != static_cast<int64_t>(stage))
        return false;
    }
    if (!hasLayer)
      return false;
  }
  return block == static_cast<int64_t>(problem.blocks.size());
}

std::vector<int64_t> uniformShares(int64_t layers, int64_t stages) {
  std::vector<int64_t> shares(static_cast<size_t>(stages), layers / stages);
  int64_t rest = layers % stages;
  for (int64_t s = 1; s + 1 < stages && rest > 0; ++s, --rest)
    ++shares[static_cast<size_t>(s)];
  for (int64_t s : {stages - 1, int64_t{0}})
    if (rest > 0) {
      ++shares[static_cast<size_t>(s)];
      --rest;
    }
  return shares;
}

std::vector<int64_t> uniformCounts(const PartitionProblem &problem) {
  int64_t layers = 0;
  for (int64_t kind : problem.blocks)
    layers += problem.kinds[static_cast<size_t>(kind)].isLayer;
  std::vector<int64_t> shares = uniformShares(layers, problem.stages());
  // What is no layer goes with the layer behind it, or with the last.
  std::vector<int64_t> counts(shares.size(), 0);
  size_t stage = 0;
  int64_t left = shares[0];
  for (int64_t kind : problem.blocks) {
    bool isLayer = problem.kinds[static_cast<size_t>(kind)].isLayer;
    if (left == 0 && stage + 1 < shares.size())
      left = shares[++stage];
    left -= isLayer;
    ++counts[stage];
  }
  return counts;
}

PolicyProblem rankProblem(const PartitionProblem &problem,
                          const std::vector<int64_t> &counts, int64_t rank) {
  PolicyProblem made;
  for (const BlockKind &kind : problem.kinds)
    for (const auto *options :
         {&kind.options,
          kind.lastOptions.empty() ? &kind.options : &kind.lastOptions})
      made.kinds.push_back(*options);
  made.hostBytesPerNs = problem.hostBytesPerNs;
  std::vector<int64_t> overlapped; // by stage
  int64_t persistent = problem.otherBytes[static_cast<size_t>(rank)];
  if (!problem.hostCapacityBytes.empty())
    made.hostCapacityBytes =
        problem.hostCapacityBytes[static_cast<size_t>(rank)];
  std::vector<int64_t> first = beginsOf(counts);
  for (size_t stage = 0; stage < counts.size(); ++stage) {
    if (problem.rankOf[stage] != rank)
      continue;
    std::vector<int64_t> &layers = made.stages.emplace_back();
    int64_t kept = 0, transient = 0;
    for (int64_t b = first[stage]; b < first[stage + 1]; ++b) {
      int64_t index = problem.blocks[static_cast<size_t>(b)];
      const BlockKind &kind = problem.kinds[static_cast<size_t>(index)];
      layers.push_back(2 * index + (b + 1 == first[stage + 1]));
      persistent += kind.persistentBytes;
      const LayerOption &all = kind.options.front();
      kept = std::max(kept, all.keptBytes);
      transient = std::max(transient, all.peakBytes - all.keptBytes);
    }
    overlapped.push_back(kept + transient);
  }
  for (const RankMoment &moment : problem.moments[static_cast<size_t>(rank)]) {
    Moment &at = made.moments.emplace_back();
    at.held = moment.held;
    at.pending = moment.pending;
    at.running = moment.running;
    at.overlapped = moment.overlapped;
    at.otherBytes = persistent;
    if (moment.overlapped >= 0)
      at.otherBytes += overlapped[static_cast<size_t>(moment.overlapped)];
  }
  return made;
}

Partition evaluate(const PartitionProblem &problem,
                   const std::vector<int64_t> &counts, Effort effort,
                   RankFronts *fronts) {
  assert(problem.check().ok() && isLegal(problem, counts));
  RankCosts costs(problem, effort, fronts);
  Partition made = describe(problem, costs, counts);
  made.isOptimal = made.excessBytes == 0 && costs.areExact();
  return made;
}

namespace {

/// Considers the cuts in which the slowest rank has a block less, and one that
/// could take it and still be quicker has it instead. Says whether one was
/// better.
bool moveFromSlowest(
    const PartitionProblem &problem, RankCosts &costs,
    std::vector<int64_t> from,
    const std::function<bool(const std::vector<int64_t> &)> &consider) {
  size_t slowest = 0;
  for (size_t stage = 0; stage < from.size(); ++stage)
    if (costs.of(problem.rankOf[stage], from).ns >
        costs.of(problem.rankOf[slowest], from).ns)
      slowest = stage;
  const int64_t slowestNs = costs.of(problem.rankOf[slowest], from).ns;
  bool isBetter = false;
  --from[slowest];
  for (size_t stage = 0; stage < from.size(); ++stage) {
    std::vector<int64_t> moved = from;
    ++moved[stage];
    if (stage == slowest || !isLegal(problem, moved))
      continue;
    const int64_t least = costs.leastNs(problem.rankOf[stage], moved);
    if (least >= 0 && least < slowestNs)
      isBetter |= consider(moved);
  }
  return isBetter;
}

std::optional<Partition> quickPartition(const PartitionProblem &problem,
                                        Effort effort, RankFronts *fronts) {
  std::vector<int64_t> start = legalCut(problem);
  if (start.empty())
    return std::nullopt;
  RankCosts costs(problem, effort, fronts);
  std::vector<std::vector<int64_t>> cuts = {start};
  if (problem.stages() == problem.ranks()) {
    if (std::optional<std::vector<int64_t>> best =
            bestCut(problem, costs, start))
      cuts.push_back(std::move(*best));
  } else {
    for (std::vector<int64_t> &cut : localCuts(problem, costs, start, fronts))
      cuts.push_back(std::move(cut));
  }
  if (problem.steps)
    addTimedCuts(problem, costs, effort, cuts);
  auto value = [&](const std::vector<int64_t> &cut) {
    for (int64_t rank = 0; rank < problem.ranks(); ++rank)
      costs.sharpen(rank, cut);
    return stepOf(problem, costs, cut);
  };
  std::vector<int64_t> best = cuts.front();
  CutValue least = value(best);
  auto consider = [&](const std::vector<int64_t> &cut) {
    CutValue found = value(cut);
    if (found >= least)
      return false;
    least = found;
    best = cut;
    return true;
  };
  for (const std::vector<int64_t> &cut : cuts)
    consider(cut);
  if (problem.stages() == problem.ranks())
    while (moveFromSlowest(problem, costs, best, consider))
      ;
  return describe(problem, costs, best);
}

} // namespace

std::optional<Partition> partition(const PartitionProblem &problem,
                                   Effort effort, RankFronts *fronts) {
  assert(problem.check().ok());
  RankFronts own;
  if (!fronts)
    fronts = &own;
  const bool isExact = effort == Effort::exact;
  std::optional<Partition> quick =
      quickPartition(problem, isExact ? Effort::fast : effort, fronts);
  if (!isExact || !quick)
    return quick;
  RankCosts costs(problem, effort, fronts);
  CutEnumeration found{quick->counts, false};
  if (problem.stages() == problem.ranks()) {
    bool fits = valueOf(problem, costs, quick->counts).fits();
    if (std::optional<std::vector<int64_t>> best =
            bestCut(problem, costs, quick->counts);
        best &&
        valueOf(problem, costs, *best) < valueOf(problem, costs, found.counts))
      found.counts = std::move(*best);
    found.isComplete = fits && costs.areExact();
  } else {
    // What some seconds allow.
    found = enumerateCuts(problem, costs, quick->counts, 2'000'000);
  }
  Partition made = describe(problem, costs, found.counts);
  made.isOptimal = found.isComplete;
  return made;
}

} // namespace moe::optimize
