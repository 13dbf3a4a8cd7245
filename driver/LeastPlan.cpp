//===- LeastPlan.cpp - the plan that needs least memory -------------------===//

#include "driver/Attempts.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace moe::driver {

namespace {

/// Drafts of what may be smaller than the first, each by what the one before
/// was wrong by.
constexpr int kMostCorrected = 2;
/// Of what a rank needs, by what an account that says it is more may be wrong.
constexpr int64_t kWrongBytes = 64;

class LeastPlan {
public:
  LeastPlan(const Chooser &chooser, const Attempts &attempts)
      : chooser(chooser), attempts(attempts) {}

  Result<Taken> run() {
    MOE_RETURN_IF_ERROR(consider(chooser.choose(attempts.roomOf(0))));
    for (int round = 0; round < kMostCorrected; ++round) {
      Result<Chosen> next = corrected(*last);
      if (next && next->isSameAs(last->chosen))
        break;
      MOE_RETURN_IF_ERROR(consider(std::move(next)));
    }
    const std::vector<std::optional<optimize::Choices>> none(
        chooser.rankCount());
    Result<Chosen> lean =
        chooser.lean(best->chosen.counts, none,
                     std::vector<std::optional<int64_t>>(chooser.rankCount()),
                     attempts.sameForAll(attempts.hostBytes()));
    // About which choices need least, the account can be wrong by little.
    const int64_t arena = best->arenaBytes();
    if (!lean || lean->largestPeakBytes() <= arena + arena / kWrongBytes)
      MOE_RETURN_IF_ERROR(consider(std::move(lean)));
    return Attempts::finish(*best, Certainty::none);
  }

private:
  Status consider(Result<Chosen> chosen) {
    Result<Attempt> made = attempts.makeLeast(std::move(chosen));
    if (!made)
      return made.error();
    last = std::make_shared<const Attempt>(std::move(*made));
    if (!best || last->arenaBytes() < best->arenaBytes())
      best = last;
    return {};
  }

  /// What needs least if the account is wrong about ranks by as much as it was
  /// about `drafted`. Ranks that need less than the largest take what is best
  /// within that.
  Result<Chosen> corrected(const Attempt &drafted) const {
    std::vector<int64_t> wrongBy;
    for (size_t r = 0; r < chooser.rankCount(); ++r)
      wrongBy.push_back(drafted.draft.arenaBytes[r] -
                        drafted.chosen.ranks[r].peakBytes);
    const int64_t most = *std::max_element(wrongBy.begin(), wrongBy.end());
    Room room = attempts.roomOf(0);
    for (size_t r = 0; r < wrongBy.size(); ++r)
      room.device[r] = most - wrongBy[r];
    Result<Chosen> found = chooser.choose(room);
    if (!found || found->fits())
      return found;
    for (int64_t &bytes : room.device)
      bytes += found->excessBytes;
    return chooser.choose(room, found->counts, chooser.effort());
  }

  const Chooser &chooser;
  const Attempts &attempts;
  SharedAttempt best, last;
};

} // namespace

Result<PlanAnswer> leastPlan(const std::shared_ptr<const Chooser> &chooser,
                             const PlanBudget &budget, bool writes,
                             const MakeDraft &make,
                             const OnProgress &onProgress) {
  const Attempts attempts(chooser, budget, make, onProgress);
  Result<Taken> taken = LeastPlan(*chooser, attempts).run();
  if (!taken)
    return taken.error();
  return attempts.answer(std::move(*taken), writes);
}

Result<int64_t> leastArenaBytes(const std::shared_ptr<const Chooser> &chooser,
                                const PlanBudget &budget,
                                const MakeDraft &make) {
  const OnProgress none;
  const Attempts attempts(chooser, budget, make, none);
  Result<Attempt> first =
      attempts.makeLeast(chooser->choose(attempts.roomOf(0)));
  if (!first)
    return first.error();
  return first->arenaBytes();
}

} // namespace moe::driver
