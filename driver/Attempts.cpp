//===- Attempts.cpp - drafts of choices, and plans of them ----------------===//

#include "driver/Attempts.h"

#include <algorithm>
#include <utility>

namespace moe::driver {

static int64_t largest(const std::vector<int64_t> &bytes) {
  return *std::max_element(bytes.begin(), bytes.end());
}

int64_t Attempt::arenaBytes() const { return largest(draft.arenaBytes); }

int64_t Attempt::bytesWithoutWaits() const {
  return largest(draft.bytesWithoutWaits);
}

Result<Attempt> Attempts::make(Result<Chosen> chosen, int64_t bytes) const {
  if (!chosen)
    return chosen.error();
  if (onProgress)
    onProgress(drafts++, 0,
               "drafts made for " + sizeText(bytes + budget.reserveBytes));
  Result<Draft> draft = makeDraft(*chosen, bytes + budget.reserveBytes, false);
  if (!draft)
    return draft.error();
  for (std::vector<int64_t> *ofRanks :
       {&draft->arenaBytes, &draft->hostArenaBytes, &draft->bytesWithoutWaits})
    *ofRanks = chooser->largestAlike(*ofRanks);
  Result<int64_t> stepNs =
      chooser->stepNs(chosen->counts, draft->stages, draft->overlaps);
  Result<int64_t> accountNs = chooser->stepNs(chosen->counts, draft->stages);
  Result<int64_t> evaluatedNs =
      chooser->evaluatedNs(chosen->counts, draft->stages);
  for (const Result<int64_t> *ns : {&stepNs, &accountNs, &evaluatedNs})
    if (!*ns)
      return ns->error();
  return Attempt{std::move(*draft), std::move(*chosen), bytes,
                 *stepNs,           *accountNs,         *evaluatedNs};
}

Result<Attempt> Attempts::makeLeast(Result<Chosen> chosen) const {
  const int64_t bytes = chosen ? chosen->largestPeakBytes() : 0;
  return make(std::move(chosen), bytes);
}

Result<Taken> Attempts::finish(const Attempt &attempt, Certainty certainty) {
  Result<PlanAnswer> answer = attempt.draft.finish();
  if (!answer)
    return answer.error();
  return Taken{std::move(*answer),  attempt.chosen,      attempt.accountNs,
               attempt.evaluatedNs, attempt.layoutBytes, certainty};
}

Result<PlanAnswer> Attempts::answer(Taken taken, bool writes) const {
  if (writes) {
    Result<Draft> again =
        makeDraft(taken.chosen, taken.layoutBytes + budget.reserveBytes, true);
    if (!again)
      return again.error();
    if (Result<PlanAnswer> written = again->finish(); !written)
      return written.error();
  }
  plan::Plan &plan = taken.answer.plan;
  plan.machine.budgetBytes = budget.toldBytes();
  plan.prediction.fits = std::all_of(
      plan.ranks.begin(), plan.ranks.end(), [&](const plan::Rank &rank) {
        return plan::fitsMachine(plan.machine, rank);
      });
  describe(chooser, budget.toldBytes() - budget.reserveBytes, taken.chosen,
           taken.evaluatedNs, taken.certainty, taken.answer);
  return std::move(taken.answer);
}

int64_t Attempts::deviceBytes() const {
  return std::max<int64_t>(0, budget.wholeBytes - budget.reserveBytes);
}

int64_t Attempts::hostBytes() const {
  return budget.hostBytes > 0 ? budget.hostBytes : optimize::kUnlimitedBytes;
}

std::vector<int64_t> Attempts::sameForAll(int64_t bytes) const {
  return std::vector<int64_t>(chooser->rankCount(), bytes);
}

Room Attempts::roomOf(int64_t deviceBytes) const {
  return {sameForAll(deviceBytes), sameForAll(hostBytes())};
}

bool Attempts::fitsHost(const Attempt &attempt) const {
  return largest(attempt.draft.hostArenaBytes) <= hostBytes();
}

} // namespace moe::driver
