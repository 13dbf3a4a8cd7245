#include "compiler/Schedule/SearchGreedy.h"

#include "compiler/Schedule/WeightGradients.h"

#include <algorithm>

namespace moe::schedule::search {

int64_t leastPeakBytes(const Instance &instance, size_t rank) {
  // Copies of the model can run one after the other.
  auto replicas = static_cast<size_t>(instance.problem.replicas());
  std::vector<int64_t> held(replicas, 0);
  int64_t most = 0;
  const std::vector<size_t> &stages = instance.ranks[rank].stages;
  for (size_t i = stages.size(); i-- > 0;) { // shallow ones first
    const StageCosts &costs = instance.stages[stages[i]].costs;
    int64_t &bytes = held[stages[i] / static_cast<size_t>(
                                          instance.problem.stagesPerReplica())];
    bytes += costs.savedBytes;
    most = std::max(most, bytes + costs.transientBytes());
  }
  return most;
}

Greedy::Greedy(const Instance &instance)
    : instance(instance), clock(instance.ranks.size()) {
  size_t stages = instance.stages.size(), ranks = instance.ranks.size();
  nextForward.resize(stages);
  nextBackward.resize(stages);
  nextWeightGrad.resize(stages);
  actions.resize(ranks);
  freeNs.resize(ranks);
  heldBytes.resize(ranks);
  outboundBytes.resize(ranks);
  remainingNs.resize(ranks);
  pending.resize(ranks);
  lastWasForward.resize(ranks);
}

void Greedy::reset() {
  auto instances = instance.stages.size() *
                   static_cast<size_t>(instance.problem.microbatches);
  forwardInputNs.assign(instances, -1);
  backwardInputNs.assign(instances, -1);
  backwardEndNs.assign(instances, -1);
  for (size_t s = 0; s < instance.stages.size(); ++s) {
    const InstanceStage &stage = instance.stages[s];
    nextForward[s] = nextBackward[s] = nextWeightGrad[s] =
        stage.firstMicrobatch;
    if (stage.previous < 0)
      for (int64_t m = 0; m < stage.microbatches; ++m)
        forwardInputNs[at(s, stage.firstMicrobatch + m)] = 0;
  }
  clock.reset();
  endNs = peak = 0;
  for (size_t r = 0; r < instance.ranks.size(); ++r) {
    actions[r].clear();
    freeNs[r] = heldBytes[r] = outboundBytes[r] = pending[r] = 0;
    remainingNs[r] = instance.ranks[r].workNs;
    lastWasForward[r] = 0;
    wake(r, 0);
  }
}

bool Greedy::run(const Policy &rules, int64_t giveUpNs) {
  policy = &rules;
  limitNs = giveUpNs;
  reset();
  while (clock.hasNext()) {
    size_t rank = clock.next();
    int64_t nowNs = clock[rank];
    clock.set(rank, RankClock::kNever);
    if (!decide(rank, nowNs))
      return false;
  }
  for (size_t s = 0; s < instance.stages.size(); ++s)
    if (nextWeightGrad[s] !=
        instance.stages[s].firstMicrobatch + instance.stages[s].microbatches)
      return false;
  return true;
}

void Greedy::wake(size_t rank, int64_t atNs) {
  atNs = std::max(atNs, freeNs[rank]);
  if (atNs < clock[rank])
    clock.set(rank, atNs);
}

void Greedy::occupy(size_t rank, int64_t untilNs) {
  ++actionsRun;
  freeNs[rank] = untilNs;
  endNs = std::max(endNs, untilNs);
  clock.set(rank, untilNs);
}

/// Beside the microbatches that have turned at the last stage, a forward leaves
/// room for one in every deeper stage of its rank. That keeps the run from
/// getting stuck: of all forwards that have their input and are refused, take
/// the deepest, on stage s. Whatever has gone beyond s goes on to the last
/// stage and comes back, and its weight gradients can run; so the rank holds
/// only microbatches of shallower stages that have not turned, and the last of
/// those was admitted with room for one in s and every stage behind s beside
/// them. The same with caps: those that fill the cap of s have gone beyond s.
bool Greedy::admits(size_t s) const {
  const InstanceStage &stage = instance.stages[s];
  auto rank = static_cast<size_t>(stage.rank);
  int64_t held = heldBytes[rank];
  int64_t outbound = policy->cautious ? held : outboundBytes[rank];
  if (held + stage.costs.savedBytes > roomBytes(rank) ||
      outbound + stage.reserveBytes > roomBytes(rank))
    return false;
  return policy->caps.empty() ||
         nextForward[s] - nextBackward[s] < policy->caps[s];
}

/// A gradient goes from the stage's one buffer to send to the one in which the
/// stage before receives: a third cannot be made before the first is used. The
/// backward that uses it needs nothing else but its own such buffers, down to
/// the first stage, so this keeps no run from getting to its end.
bool Greedy::canHandOver(size_t s) const {
  return instance.stages[s].previous < 0 ||
         nextBackward[s] - nextBackward[s - 1] < kGradientBuffers;
}

int64_t Greedy::scoreOf(size_t s, bool forward, int64_t readyNs) const {
  const InstanceStage &stage = instance.stages[s];
  if (!policy->forwardDueNs.empty())
    return forward
               ? policy->forwardDueNs[s] +
                     policy->periodNs * (nextForward[s] - stage.firstMicrobatch)
               : policy->backwardDueNs[s] +
                     policy->periodNs *
                         (nextBackward[s] - stage.firstMicrobatch);
  bool first =
      policy->turn == Turn::alternate
          ? (lastWasForward[static_cast<size_t>(stage.rank)] != 0) != forward
          : (policy->turn == Turn::forward) == forward;
  constexpr int64_t kSecond = int64_t{1} << 62;
  int64_t score = first ? 0 : kSecond;
  switch (forward ? policy->forwardChunk : policy->backwardChunk) {
  case Chunk::deep:
    return score - stage.position;
  case Chunk::shallow:
    return score + stage.position;
  case Chunk::oldest:
    return score + readyNs;
  }
  return score;
}

void Greedy::collect(size_t rank) {
  candidates.clear();
  for (size_t s : instance.ranks[rank].stages) {
    const InstanceStage &stage = instance.stages[s];
    int64_t end = stage.firstMicrobatch + stage.microbatches;
    if (nextBackward[s] < nextForward[s]) {
      int64_t readyNs = backwardInputNs[at(s, nextBackward[s])];
      if (readyNs >= 0 && canHandOver(s))
        candidates.push_back({s, false, readyNs, scoreOf(s, false, readyNs)});
    }
    if (nextForward[s] < end) {
      int64_t readyNs = forwardInputNs[at(s, nextForward[s])];
      if (readyNs >= 0 && admits(s))
        candidates.push_back({s, true, readyNs, scoreOf(s, true, readyNs)});
    }
  }
}

int64_t Greedy::durationNs(const Candidate &candidate) const {
  const StageCosts &costs = instance.stages[candidate.stage].costs;
  return candidate.forward ? costs.forwardNs : costs.inputGradNs;
}

static int64_t share(double part, int64_t whole) {
  return static_cast<int64_t>(part * static_cast<double>(whole));
}

bool Greedy::decide(size_t rank, int64_t nowNs) {
  if (instance.pairNs.empty() && nowNs + remainingNs[rank] > limitNs)
    return false;
  if (pending[rank] > policy->mostPending &&
      fillWithWeightGrad(rank, nowNs, kNoLimit))
    return true;
  collect(rank);
  const Candidate *best = nullptr;
  int64_t nextNs = kNoLimit;
  for (const Candidate &candidate : candidates) {
    if (candidate.readyNs > nowNs)
      nextNs = std::min(nextNs, candidate.readyNs);
    else if (!best || candidate.score < best->score)
      best = &candidate;
  }
  if (best && policy->patience > 0 && nextNs < kNoLimit) {
    int64_t untilNs = nowNs + share(policy->patience, durationNs(*best));
    for (const Candidate &candidate : candidates)
      if (candidate.readyNs > nowNs && candidate.readyNs <= untilNs &&
          candidate.score < best->score) {
        best = nullptr;
        break;
      }
  }
  if (!best) {
    if (!fillWithWeightGrad(rank, nowNs, nextNs) && nextNs < kNoLimit)
      wake(rank, nextNs);
    return true;
  }
  if (policy->overlap && tryPair(nowNs, *best))
    return true;
  if (best->forward)
    runForward(best->stage, nowNs, durationNs(*best), false);
  else
    runBackward(best->stage, nowNs, durationNs(*best), false);
  return true;
}

/// The weight gradient that waits longest, of those that end in time.
bool Greedy::fillWithWeightGrad(size_t rank, int64_t nowNs, int64_t nextNs) {
  size_t chosen = instance.stages.size();
  int64_t oldestNs = kNoLimit;
  for (size_t s : instance.ranks[rank].stages) {
    if (!weightGradPending(s))
      continue;
    int64_t lengthNs = instance.stages[s].costs.weightGradNs;
    if (nextNs < kNoLimit &&
        nowNs + lengthNs > nextNs + share(policy->overrun, lengthNs))
      continue;
    int64_t sinceNs = backwardEndNs[at(s, nextWeightGrad[s])];
    if (sinceNs < oldestNs) {
      oldestNs = sinceNs;
      chosen = s;
    }
  }
  if (chosen == instance.stages.size())
    return false;
  runWeightGrad(chosen, nowNs);
  return true;
}

/// What the rank holds while both run.
int64_t Greedy::pairBytes(size_t forward, size_t backward) const {
  const InstanceStage &stage = instance.stages[forward];
  return heldBytes[static_cast<size_t>(stage.rank)] + stage.costs.savedBytes +
         stage.costs.forwardTransientBytes +
         instance.stages[backward].costs.backwardTransientBytes;
}

bool Greedy::hasRoomForPair(size_t forward, size_t backward) const {
  return pairBytes(forward, backward) <=
         limitBytes(static_cast<size_t>(instance.stages[forward].rank));
}

/// Runs `best` together with an action of the other kind.
bool Greedy::tryPair(int64_t nowNs, const Candidate &best) {
  const Candidate *partner = nullptr;
  for (const Candidate &candidate : candidates) {
    if (candidate.forward == best.forward || candidate.readyNs > nowNs)
      continue;
    size_t f = best.forward ? best.stage : candidate.stage;
    size_t b = best.forward ? candidate.stage : best.stage;
    if (instance.overlapNs(f, b) >= 0 && hasRoomForPair(f, b) &&
        (!partner || candidate.score < partner->score))
      partner = &candidate;
  }
  if (!partner)
    return false;
  size_t f = best.forward ? best.stage : partner->stage;
  size_t b = best.forward ? partner->stage : best.stage;
  // The backward of a pair is fused; weight gradients keep their order.
  if (weightGradPending(b)) {
    runWeightGrad(b, nowNs);
    return true;
  }
  int64_t lengthNs = instance.overlapNs(f, b);
  peak = std::max(peak, pairBytes(f, b));
  runForward(f, nowNs, lengthNs, true);
  runBackward(b, nowNs, lengthNs, true);
  return true;
}

void Greedy::runForward(size_t s, int64_t beginNs, int64_t lengthNs,
                        bool overlapsNext) {
  const InstanceStage &stage = instance.stages[s];
  auto rank = static_cast<size_t>(stage.rank);
  int64_t microbatch = nextForward[s]++;
  actions[rank].push_back(
      {Phase::forward, static_cast<int64_t>(s), microbatch, overlapsNext});
  heldBytes[rank] += stage.costs.savedBytes;
  peak = std::max(peak, heldBytes[rank] + stage.costs.forwardTransientBytes);
  outboundBytes[rank] += stage.costs.savedBytes;
  remainingNs[rank] -= stage.costs.forwardNs;
  lastWasForward[rank] = 1;
  int64_t doneNs = beginNs + lengthNs;
  occupy(rank, doneNs);
  if (stage.next < 0) {
    backwardInputNs[at(s, microbatch)] = doneNs;
    turn(s, beginNs);
    return;
  }
  const InstanceStage &next = instance.stages[s + 1];
  int64_t arrivalNs = doneNs + next.inputTransferNs;
  forwardInputNs[at(s + 1, microbatch)] = arrivalNs;
  wake(static_cast<size_t>(next.rank), arrivalNs);
}

/// A microbatch has come to the last stage, `last`: from now on it only frees.
void Greedy::turn(size_t last, int64_t nowNs) {
  size_t first =
      last + 1 - static_cast<size_t>(instance.problem.stagesPerReplica());
  for (size_t s = first; s <= last; ++s) {
    auto rank = static_cast<size_t>(instance.stages[s].rank);
    outboundBytes[rank] -= instance.stages[s].costs.savedBytes;
    if (limitBytes(rank) < kNoLimit)
      wake(rank, nowNs);
  }
}

void Greedy::runBackward(size_t s, int64_t beginNs, int64_t lengthNs,
                         bool fused) {
  const InstanceStage &stage = instance.stages[s];
  auto rank = static_cast<size_t>(stage.rank);
  int64_t microbatch = nextBackward[s]++;
  actions[rank].push_back({fused ? Phase::backward : Phase::backward_input,
                           static_cast<int64_t>(s), microbatch, false});
  peak = std::max(peak, heldBytes[rank] + stage.costs.backwardTransientBytes);
  heldBytes[rank] -= stage.costs.savedBytes;
  remainingNs[rank] -= stage.costs.inputGradNs;
  if (fused) {
    nextWeightGrad[s] = nextBackward[s];
    remainingNs[rank] -= stage.costs.weightGradNs;
  } else {
    heldBytes[rank] += stage.costs.weightGradBytes;
    ++pending[rank];
  }
  lastWasForward[rank] = 0;
  int64_t doneNs = beginNs + lengthNs;
  backwardEndNs[at(s, microbatch)] = doneNs;
  occupy(rank, doneNs);
  // The stage behind may have waited for the buffer.
  if (stage.next >= 0 && nextBackward[s + 1] - microbatch >= kGradientBuffers)
    wake(static_cast<size_t>(instance.stages[s + 1].rank), beginNs);
  if (stage.previous < 0)
    return;
  const InstanceStage &before = instance.stages[s - 1];
  int64_t arrivalNs = doneNs + before.gradientTransferNs;
  backwardInputNs[at(s - 1, microbatch)] = arrivalNs;
  wake(static_cast<size_t>(before.rank), arrivalNs);
}

void Greedy::runWeightGrad(size_t s, int64_t nowNs) {
  const InstanceStage &stage = instance.stages[s];
  auto rank = static_cast<size_t>(stage.rank);
  actions[rank].push_back({Phase::weight_grad, static_cast<int64_t>(s),
                           nextWeightGrad[s]++, false});
  peak = std::max(peak, heldBytes[rank] + stage.costs.backwardTransientBytes);
  heldBytes[rank] -= stage.costs.weightGradBytes;
  --pending[rank];
  remainingNs[rank] -= stage.costs.weightGradNs;
  occupy(rank, nowNs + stage.costs.weightGradNs);
}

} // namespace moe::schedule::search
