//===- FittingRanks.cpp - choices that ranks were seen to fit with --------===//

#include "driver/FittingRanks.h"

#include <algorithm>

namespace moe::driver {

FittingRanks::Key
FittingRanks::keyOf(size_t rank, const std::vector<int64_t> &counts) const {
  Key key = {static_cast<int64_t>(rank)};
  int64_t begin = 0;
  for (size_t stage = 0; stage < counts.size(); ++stage) {
    const int64_t end = begin + counts[stage];
    if (chooser.rankOf(stage) == rank)
      key.insert(key.end(), {begin, end});
    begin = end;
  }
  return key;
}

void FittingRanks::note(const Chosen &chosen, const Draft &draft,
                        int64_t deviceBytes, int64_t hostBytes) {
  if (std::find(cuts.begin(), cuts.end(), chosen.counts) == cuts.end())
    cuts.push_back(chosen.counts);
  const std::vector<int64_t> takes = chooser.rankNs(draft.stages);
  for (size_t rank = 0; rank < takes.size(); ++rank) {
    if (draft.bytesWithoutWaits[rank] > deviceBytes ||
        draft.hostArenaBytes[rank] > hostBytes)
      continue;
    auto [record, isNew] = records.try_emplace(keyOf(rank, chosen.counts));
    if (!isNew && record->second.ns <= takes[rank])
      continue;
    record->second = {takes[rank], chosen.choices[rank], {}};
    for (size_t stage = 0; stage < chosen.counts.size(); ++stage)
      if (chooser.rankOf(stage) == rank)
        record->second.stages.push_back(draft.stages[stage]);
  }
}

std::vector<std::optional<optimize::Choices>>
FittingRanks::of(const std::vector<int64_t> &counts) const {
  std::vector<std::optional<optimize::Choices>> choices;
  for (size_t rank = 0; rank < chooser.rankCount(); ++rank) {
    auto known = records.find(keyOf(rank, counts));
    choices.push_back(known == records.end()
                          ? std::nullopt
                          : std::optional(known->second.choices));
  }
  return choices;
}

Result<std::optional<FittingRanks::Combination>>
FittingRanks::quickest() const {
  std::optional<Combination> best;
  for (const std::vector<int64_t> &counts : cuts) {
    std::vector<const Record *> ranks;
    for (size_t rank = 0; rank < chooser.rankCount(); ++rank)
      if (auto known = records.find(keyOf(rank, counts));
          known != records.end())
        ranks.push_back(&known->second);
    if (ranks.size() < chooser.rankCount())
      continue;
    std::vector<schedule::StageCosts> stages;
    std::vector<size_t> stagesSoFar(ranks.size(), 0);
    for (size_t stage = 0; stage < counts.size(); ++stage) {
      const size_t rank = chooser.rankOf(stage);
      stages.push_back(ranks[rank]->stages[stagesSoFar[rank]++]);
    }
    Result<int64_t> stepNs = chooser.stepNs(counts, stages);
    if (!stepNs)
      return stepNs.error();
    if (best && best->stepNs <= *stepNs)
      continue;
    best = {counts, {}, *stepNs};
    for (const Record *rank : ranks)
      best->choices.push_back(rank->choices);
  }
  return best;
}

} // namespace moe::driver
