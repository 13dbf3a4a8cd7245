#include "compiler/Schedule/SearchInstance.h"

#include <algorithm>

namespace moe::schedule::search {

static int64_t backwardNs(const StageCosts &costs) {
  return costs.inputGradNs + costs.weightGradNs;
}

Instance::Instance(const ScheduleProblem &given, const Costs &costs)
    : problem(given), stages(static_cast<size_t>(given.stages())),
      ranks(static_cast<size_t>(given.ranks)) {
  int64_t perReplica = problem.stagesPerReplica();
  for (size_t s = 0; s < stages.size(); ++s) {
    InstanceStage &stage = stages[s];
    auto index = static_cast<int64_t>(s);
    stage.rank = problem.rankOf(index);
    stage.position = problem.positionOf(index);
    stage.costs = costs.stages[s];
    stage.leastForwardNs = stage.costs.forwardNs;
    stage.leastInputGradNs = stage.costs.inputGradNs;
    stage.microbatches = problem.microbatches / problem.replicas();
    stage.firstMicrobatch = index / perReplica * stage.microbatches;
    auto transferNs = [&](int64_t other) {
      return problem.rankOf(other) == stage.rank ? 0 : costs.transferNs;
    };
    if (!problem.isFirst(index)) {
      stage.previous = index - 1;
      stage.inputTransferNs = transferNs(index - 1);
    }
    if (!problem.isLast(index)) {
      stage.next = index + 1;
      stage.gradientTransferNs = transferNs(index + 1);
    }
    actions += 3 * static_cast<size_t>(stage.microbatches);
    InstanceRank &rank = ranks[static_cast<size_t>(stage.rank)];
    rank.stages.push_back(s);
    rank.transientBytes =
        std::max(rank.transientBytes, stage.costs.transientBytes());
    rank.workNs +=
        stage.microbatches * (stage.costs.forwardNs + backwardNs(stage.costs));
  }
  for (const OverlapCost &overlap : costs.overlaps) {
    auto f = static_cast<size_t>(overlap.forwardStage);
    auto b = static_cast<size_t>(overlap.backwardStage);
    stages[f].leastForwardNs = std::min(stages[f].leastForwardNs, overlap.ns);
    stages[b].leastInputGradNs =
        std::min(stages[b].leastInputGradNs, overlap.ns);
    if (stages[f].rank != stages[b].rank ||
        overlap.ns >= stages[f].costs.forwardNs + backwardNs(stages[b].costs))
      continue;
    if (pairNs.empty())
      pairNs.assign(stages.size() * stages.size(), -1);
    pairNs[f * stages.size() + b] = overlap.ns;
  }
  for (size_t s = 0; s < stages.size(); ++s) {
    InstanceStage &stage = stages[s];
    stage.leastWeightGradNs = pairNs.empty() ? stage.costs.weightGradNs : 0;
    stage.tailNs = stage.leastWeightGradNs;
    if (stage.previous < 0)
      continue;
    const InstanceStage &before = stages[s - 1];
    stage.headNs =
        before.headNs + before.leastForwardNs + stage.inputTransferNs;
    stage.tailNs =
        std::max(stage.tailNs, before.gradientTransferNs +
                                   before.leastInputGradNs + before.tailNs);
  }
  for (size_t s = stages.size(); s-- > 0;) {
    InstanceStage &stage = stages[s];
    stage.roundTripNs = stage.leastForwardNs + stage.leastInputGradNs;
    if (stage.next >= 0)
      stage.roundTripNs +=
          2 * stage.gradientTransferNs + stages[s + 1].roundTripNs;
  }
  for (size_t r = 0; r < ranks.size(); ++r) {
    InstanceRank &rank = ranks[r];
    if (!costs.limitBytes.empty())
      rank.limitBytes = std::min(kNoLimit, costs.limitBytes[r]);
    std::sort(rank.stages.begin(), rank.stages.end(), [&](size_t a, size_t b) {
      return stages[a].position != stages[b].position
                 ? stages[a].position > stages[b].position
                 : a > b;
    });
    int64_t reserve = 0;
    for (size_t s : rank.stages) {
      reserve += stages[s].costs.savedBytes;
      stages[s].reserveBytes = reserve;
    }
  }
}

} // namespace moe::schedule::search
