//===- ChoosePlan.cpp - plans of what the planner chooses -----------------===//

#include "driver/Attempts.h"
#include "driver/BudgetStep.h"
#include "driver/Corrections.h"
#include "driver/FittingRanks.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <tuple>

namespace moe::driver {

namespace {

/// Drafts made for one budget, what they give put together not among them.
constexpr int kMostDrafts = 5;
/// The same while none fits without waits.
constexpr int kMostUnfit = 8;
/// Of those in a row, that do not fit by the account either.
constexpr int kMostHopeless = 2;
/// Of a step, what another cut has to promise.
constexpr int64_t kWorthACut = 1000;

/// Cuts that bounds tell of, each behind a better plan.
constexpr int kMostPromisedCuts = 2;
/// Of a step, what they have to promise: simulated, less is soon lost.
constexpr int64_t kWorthAPromise = 400;

/// The same while drafts of one are corrected: what is known of ranks is about
/// their blocks.
constexpr int64_t kWorthLeavingACut = 32;

/// Where nothing fits, of a budget, by how much some draft may exceed it for a
/// smaller one to be tried.
constexpr int64_t kNearlyMet = 32;

/// Of a step, what a smaller budget has to promise for the fast mode to try it.
constexpr int64_t kWorthABudget = 4096;

/// Of a step, by what an account that says it is longer may be wrong; and where
/// programs overlap.
constexpr int64_t kWrongTime = 256, kWrongTimeOfPairs = 24;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// Whether some rank needs so much more than `capacity` that a plan of these
/// choices cannot fit, however wrong the account is.
bool isFarBeyond(const Chosen &chosen, int64_t capacity) {
  return chosen.largestPeakBytes() > capacity + capacity / 8;
}

using optimize::Effort;

class PlanChooser {
public:
  PlanChooser(const Chooser &chooser, const Attempts &attempts,
              int64_t reserveBytes, bool triesSmaller)
      : chooser(chooser), attempts(attempts), reserve(reserveBytes),
        triesSmaller(triesSmaller) {}

  /// The best that fits the whole budget; none: nothing was found to.
  Result<std::optional<Taken>> run() {
    const int64_t whole = attempts.deviceBytes();
    std::optional<Taken> best;
    if (whole <= 0)
      return best;
    MOE_RETURN_IF_ERROR(tryBudgets(whole, best));
    // What was tried depends on the budget: where it was nearly met, another
    // one may be.
    if (!best && BudgetStep::within(whole + reserve).bytes() < whole + reserve)
      MOE_RETURN_IF_ERROR(tryBudget(whole, Effort::fast, best));
    if (!best && leastBytes <= whole + whole / kNearlyMet)
      MOE_RETURN_IF_ERROR(
          tryBudget(whole - whole / kSmaller, Effort::fast, best));
    return best;
  }

private:
  /// Finishes an attempt that fits what it is laid out for, and takes it where
  /// it is the quickest so far.
  Status take(const Attempt &attempt, std::optional<Taken> &best,
              Certainty certainty = Certainty::none) {
    // Without waits a plan is the same whatever it is laid out for.
    const int64_t bytes = attempt.layoutBytes;
    const bool waits = attempt.bytesWithoutWaits() > bytes;
    auto [made, isNew] = finished.try_emplace(
        std::tuple(attempt.chosen.layers, attempt.chosen.recompute,
                   attempt.chosen.offload, waits ? bytes : -1),
        0);
    if (!isNew)
      return {};
    Result<Taken> taken = Attempts::finish(attempt, certainty);
    if (!taken)
      return taken.error();
    made->second = taken->stepNs();
    // Where the host's memory is too small as well as where it is the device's.
    if (taken->answer.plan.prediction.fits &&
        (!best || made->second < best->stepNs()))
      best = std::move(*taken);
    return {};
  }

  /// What was tried for one budget.
  struct Trials {
    std::vector<SharedAttempt> all;
    /// Attempt::accountNs of the quickest of one effort that fits without
    /// waits, 0: none does.
    int64_t accountNs = 0;
    SharedAttempt quickest;             ///< of those that fit
    std::vector<SharedAttempt> certain; ///< that fit, of effort exact
    /// Chosen as if memory were free.
    std::vector<SharedAttempt> unlimited;

    Certainty certaintyOf(const SharedAttempt &attempt) const {
      if (certain.empty())
        return Certainty::none;
      return std::find(certain.begin(), certain.end(), attempt) != certain.end()
                 ? Certainty::own
                 : Certainty::others;
    }

    /// The attempt of these choices; null: there is none.
    SharedAttempt of(const Chosen &chosen) const {
      for (const SharedAttempt &attempt : all)
        if (attempt->chosen.isSameAs(chosen))
          return attempt;
      return nullptr;
    }
  };

  /// Depends on nothing but `whole`. Takes what fits it, if anything does.
  Status tryBudget(int64_t whole, Effort effort, std::optional<Taken> &best) {
    Trials trials;
    freeBytes = 0;
    MOE_RETURN_IF_ERROR(tryEffort(whole, Effort::fast, trials, best));
    // What the account takes to be best need not be.
    if (effort == Effort::exact)
      MOE_RETURN_IF_ERROR(tryEffort(whole, Effort::exact, trials, best));
    if (!trials.quickest)
      return {};
    if (std::find(trials.unlimited.begin(), trials.unlimited.end(),
                  trials.quickest) != trials.unlimited.end())
      freeBytes = trials.quickest->bytesWithoutWaits();
    return take(*trials.quickest, best, trials.certaintyOf(trials.quickest));
  }

  /// Cuts are chosen. Where programs take longer than the account says, even
  /// shares of layers may still be better; a bound on all cuts may tell of
  /// others.
  Status tryEffort(int64_t whole, Effort effort, Trials &trials,
                   std::optional<Taken> &best) {
    trials.accountNs = 0;
    MOE_RETURN_IF_ERROR(tryCut(whole, {}, effort, trials, best));
    if (const std::vector<int64_t> even = chooser.evenCounts(); !even.empty()) {
      Result<Chosen> chosen =
          chooser.choose(attempts.roomOf(whole), even, effort);
      if (!chosen)
        return chosen.error();
      if (chosen->fits())
        MOE_RETURN_IF_ERROR(tryCut(whole, even, effort, trials, best));
    }
    for (int round = 0; round < kMostPromisedCuts && trials.quickest; ++round) {
      const SharedAttempt before = trials.quickest;
      const optimize::StepBound bound = chooser.bound(
          before->chosen,
          roomBy(before->chosen, before->draft.arenaBytes, whole));
      if (bound.counts == before->chosen.counts ||
          bound.ns > before->evaluatedNs - before->evaluatedNs / kWorthAPromise)
        break;
      MOE_RETURN_IF_ERROR(tryCut(whole, bound.counts, effort, trials, best));
      if (trials.quickest == before)
        break;
      // Simulated, the difference may turn.
      MOE_RETURN_IF_ERROR(take(*before, best, trials.certaintyOf(before)));
    }
    return {};
  }

  /// With so many blocks on each stage, or, where that is empty, as is best; as
  /// long as less is to be expected than what was found with other cuts.
  Status tryCut(int64_t whole, const std::vector<int64_t> &given, Effort effort,
                Trials &trials, std::optional<Taken> &best) {
    // At first as if memory were free: where that fits nothing is quicker.
    // Where the account is far from it, no draft needs to say so.
    Corrections corrections(chooser, whole, host);
    FittingRanks fitting(chooser);
    SharedAttempt free;    // the quickest that fits without waits
    SharedAttempt waiting; // the first that fits with waits
    std::vector<SharedAttempt> tried;
    bool isRight = false; // fits without waits, and leaves nothing to correct
    int hopeless = 0;
    for (int drafts = 0; drafts < (free ? kMostDrafts : kMostUnfit) &&
                         hopeless < kMostHopeless && !isRight;) {
      Result<Chosen> chosen =
          chooseAgain(corrections.room(), given, effort, tried);
      if (!chosen)
        return chosen.error();
      if (trials.accountNs > 0 &&
          chosen->stepNs > trials.accountNs - trials.accountNs / kWorthACut)
        break;
      if (isFarBeyond(*chosen, whole)) {
        if (!corrections.isFree())
          break;
        corrections.limit();
        continue;
      }
      const bool isCertain = chosen->isOptimal;
      const bool fitsByAccount = chosen->fits();
      SharedAttempt made = trials.of(*chosen);
      // What needs least leaves nothing to choose again.
      if (made && std::find(tried.begin(), tried.end(), made) != tried.end())
        break;
      if (!made) {
        Result<Attempt> fresh = attempts.make(std::move(chosen), whole);
        if (!fresh)
          return fresh.error();
        made = std::make_shared<const Attempt>(std::move(*fresh));
        trials.all.push_back(made);
      }
      tried.push_back(made);
      leastBytes = std::min(leastBytes, made->arenaBytes());
      ++drafts;
      if (corrections.isFree())
        trials.unlimited.push_back(made);
      fitting.note(made->chosen, made->draft, whole, host);
      const bool choosesAgain = corrections.correct(made->chosen, made->draft);
      if (!attempts.fitsHost(*made))
        continue;
      if (made->bytesWithoutWaits() <= whole) {
        if (isCertain)
          trials.certain.push_back(made);
        isRight = !choosesAgain;
        if (!free || made->stepNs < free->stepNs)
          free = made;
      } else if (made->arenaBytes() <= whole) {
        if (!waiting)
          waiting = made;
      } else {
        hopeless = fitsByAccount ? 0 : hopeless + 1;
      }
    }
    MOE_RETURN_IF_ERROR(combine(fitting, whole, free));
    if (!free && !tried.empty())
      MOE_RETURN_IF_ERROR(
          tryLean(whole, tried.back()->chosen.counts, fitting, best));
    if (free && (trials.accountNs == 0 || free->accountNs < trials.accountNs))
      trials.accountNs = free->accountNs;
    // Waits may cost less than what it takes to do without.
    for (const SharedAttempt &each : {free, waiting})
      if (each && (!trials.quickest || each->stepNs < trials.quickest->stepNs))
        trials.quickest = each;
    return {};
  }

  /// Keeps to the cut of the last draft, unless another one promises much, or
  /// it has to be certain.
  Result<Chosen> chooseAgain(const Room &room,
                             const std::vector<int64_t> &given, Effort effort,
                             const std::vector<SharedAttempt> &tried) const {
    if (!given.empty())
      return chooser.choose(room, given, effort);
    Result<Chosen> best = chooser.choose(room, effort);
    if (!best || tried.empty() || effort == Effort::exact)
      return best;
    const std::vector<int64_t> &counts = tried.back()->chosen.counts;
    if (best->counts == counts)
      return best;
    Result<Chosen> same = chooser.choose(room, counts, effort);
    if (!same)
      return same;
    const bool isWorthIt =
        best->stepNs <= same->stepNs - same->stepNs / kWorthLeavingACut;
    return same->fits() && !isWorthIt ? same : best;
  }

  /// Puts together what fitted in different drafts, where that is quicker than
  /// `free`.
  Status combine(const FittingRanks &fitting, int64_t whole,
                 SharedAttempt &free) const {
    Result<std::optional<FittingRanks::Combination>> quickest =
        fitting.quickest();
    if (!quickest)
      return quickest.error();
    if (!*quickest || (free && free->accountNs <= (*quickest)->stepNs))
      return {};
    Result<Attempt> made = attempts.make(
        chooser.with((*quickest)->counts, std::move((*quickest)->choices)),
        whole);
    if (!made)
      return made.error();
    if (made->bytesWithoutWaits() <= whole && attempts.fitsHost(*made) &&
        (!free || made->stepNs < free->stepNs))
      free = std::make_shared<const Attempt>(std::move(*made));
    return {};
  }

  /// Ranks that never fitted as lean as can be, but for those that the account
  /// then leaves room.
  Status tryLean(int64_t whole, const std::vector<int64_t> &counts,
                 const FittingRanks &fitting, std::optional<Taken> &best) {
    std::vector<std::optional<int64_t>> capacity(chooser.rankCount());
    std::vector<int64_t> hostBytes = attempts.sameForAll(host);
    std::optional<Attempt> lean;
    for (int drafts = 0; drafts < kMostDrafts; ++drafts) {
      Result<Chosen> chosen =
          chooser.lean(counts, fitting.of(counts), capacity, hostBytes);
      if (!chosen)
        return chosen.error();
      if (isFarBeyond(*chosen, whole))
        break;
      Result<Attempt> made = attempts.make(std::move(chosen), whole);
      if (!made)
        return made.error();
      const std::vector<int64_t> &arenas = made->draft.arenaBytes;
      const bool isBeyondHost = !attempts.fitsHost(*made);
      correctHost(made->chosen, made->draft, host, hostBytes);
      if (isBeyondHost && !lean)
        continue;
      bool fits = made->arenaBytes() <= whole && !isBeyondHost;
      if (!fits && !lean)
        return {}; // there is nothing leaner
      if (fits && lean)
        return take(*made, best);
      for (size_t r = 0; r < capacity.size(); ++r) {
        int64_t corrected = whole -
                            (arenas[r] - made->chosen.ranks[r].peakBytes) -
                            slackOf(whole);
        if (!lean || (arenas[r] > whole && capacity[r]))
          capacity[r] = std::max<int64_t>(0, corrected);
        if (lean && arenas[r] > whole && drafts + 2 >= kMostDrafts)
          capacity[r].reset();
      }
      if (!lean)
        lean = std::move(*made);
    }
    return lean ? take(*lean, best) : Status();
  }

  /// The quickest of the plans for all steps up to `whole`, or for the last one
  /// alone, each made without regard to the others: of two budgets the larger
  /// one then never gives a slower plan. It goes down until the account
  /// promises nothing better.
  Status tryBudgets(int64_t whole, std::optional<Taken> &best) {
    const BudgetStep first = BudgetStep::within(whole + reserve);
    for (BudgetStep step = first; step.bytes() > reserve;) {
      const int64_t bytes = step.bytes() - reserve;
      if (step.index < first.index) {
        Result<bool> goesOn = isPromising(bytes, best);
        if (!goesOn)
          return goesOn.error();
        if (!*goesOn)
          break;
      }
      MOE_RETURN_IF_ERROR(tryBudget(bytes, chooser.effort(), best));
      if (!triesSmaller || step.index == 0)
        break;
      --step.index;
      // As long as that fits, it is the answer.
      if (freeBytes > 0 && freeBytes <= bytes)
        step.index =
            std::min(step.index, BudgetStep::within(freeBytes + reserve).index);
    }
    return {};
  }

  /// Whether the account promises a quicker plan than the best. Effort::exact
  /// goes on where it could be wrong.
  Result<bool> isPromising(int64_t bytes,
                           const std::optional<Taken> &best) const {
    const bool isExact = chooser.effort() == Effort::exact;
    if (!best && !isExact)
      return false;
    int64_t least = kNever;
    // What is best by the objective need not have the shortest step.
    for (Effort effort : {Effort::fast, Effort::exact}) {
      if (effort == Effort::exact && !isExact)
        break;
      Result<Chosen> chosen = chooser.choose(attempts.roomOf(bytes), effort);
      if (!chosen)
        return chosen.error();
      if (chosen->fits())
        least = std::min(least, chosen->stepNs);
    }
    if (least == kNever || !best)
      return least < kNever;
    if (!isExact)
      return least < best->chosen.stepNs - best->chosen.stepNs / kWorthABudget;
    const int64_t wrongTime =
        schedule::overlappingPairs(chooser.steps()).empty() ? kWrongTime
                                                            : kWrongTimeOfPairs;
    return least - least / wrongTime <= best->accountNs;
  }

  const Chooser &chooser;
  const Attempts &attempts;
  const int64_t reserve;
  const bool triesSmaller;
  const int64_t host = attempts.hostBytes(); ///< of each rank
  int64_t leastBytes = kUnlimited; ///< of the largest rank, of all drafts
  /// What the answer for the last budget needs, if that was chosen as if memory
  /// were free, and 0 otherwise.
  int64_t freeBytes = 0;
  /// Choices, and with waits what they were laid out for.
  std::map<std::tuple<std::vector<int64_t>, std::string, std::string, int64_t>,
           int64_t>
      finished;
};

} // namespace

Result<std::optional<ChosenPlan>>
choosePlan(const std::shared_ptr<const Chooser> &chooser,
           const PlanBudget &budget, bool triesSmaller, bool writes,
           const MakeDraft &make, const OnProgress &onProgress) {
  const Attempts attempts(chooser, budget, make, onProgress);
  Result<std::optional<Taken>> taken =
      PlanChooser(*chooser, attempts, budget.reserveBytes, triesSmaller).run();
  if (!taken)
    return taken.error();
  if (!*taken)
    return std::optional<ChosenPlan>();
  Result<PlanAnswer> answer = attempts.answer(std::move(**taken), writes);
  if (!answer)
    return answer.error();
  return std::optional(ChosenPlan{std::move(*answer)});
}

} // namespace moe::driver
