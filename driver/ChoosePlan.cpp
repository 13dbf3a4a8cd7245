//===- ChoosePlan.cpp - plans of what the planner chooses -----------------===//

#include "driver/ChoiceNotes.h"
#include "driver/Choose.h"
#include "driver/Corrections.h"
#include "driver/FittingRanks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

namespace moe::driver {

namespace {

/// Drafts made for one budget, what they give put together not among them.
constexpr int kMostDrafts = 5;
/// The same while none fits without waits.
constexpr int kMostUnfit = 8;
/// Of a step, what other shares of layers have to save.
constexpr int64_t kWorthShares = 1000;

/// Cuts that bounds tell of, each behind a better plan.
constexpr int kMostPromisedCuts = 2;
/// Of a step, what they have to promise: simulated, less is soon lost.
constexpr int64_t kWorthAPromise = 400;

/// Of a step, what another cut has to save while drafts of one are corrected:
/// what is known of ranks is about their blocks.
constexpr int64_t kWorthACut = 32;

/// Of a step, by what an account that says it is longer may be wrong.
constexpr int64_t kWrongTime = 256;

/// Budgets with ten significant bits, by rising size; the first is 512 bytes.
struct Step {
  int64_t index = 0;

  int64_t bytes() const { return (512 + index % 512) << (index / 512); }
  /// The largest within `bytes`, at least the first.
  static Step within(int64_t bytes) {
    auto width =
        static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(bytes)));
    int64_t shift = std::max<int64_t>(0, width - 10);
    return {std::max<int64_t>(0, 512 * shift + (bytes >> shift) - 512)};
  }
};

/// Whether some rank needs so much more than `capacity` that a plan of these
/// choices cannot fit, however wrong the account is.
bool isFarBeyond(const Chosen &chosen, int64_t capacity) {
  return std::any_of(chosen.ranks.begin(), chosen.ranks.end(),
                     [&](const Chosen::Rank &rank) {
                       return rank.peakBytes > capacity + capacity / 8;
                     });
}

int64_t largest(const std::vector<int64_t> &bytes) {
  return *std::max_element(bytes.begin(), bytes.end());
}

struct Attempt {
  Draft draft;
  Chosen chosen;
  /// Of the order of steps, with what the draft's programs take, and with what
  /// pairs that overlap are taken to save, as by an account.
  int64_t stepNs = 0, accountNs = 0;
};

using optimize::Effort;

using SharedAttempt = std::shared_ptr<const Attempt>;

/// A finished plan.
struct Taken {
  PlanAnswer answer;
  Chosen chosen;
  int64_t accountNs = 0;   ///< Attempt::accountNs
  int64_t layoutBytes = 0; ///< what it was laid out for, reserve left out
  Certainty certainty = Certainty::none;
};

class PlanChooser {
public:
  PlanChooser(const Chooser &chooser, const PlanBudget &budget,
              const MakeDraft &make, const OnProgress &onProgress)
      : chooser(chooser), reserve(budget.reserveBytes),
        host(budget.hostBytes > 0 ? budget.hostBytes
                                  : optimize::kUnlimitedBytes),
        make(make), onProgress(onProgress) {}

  /// The best that fits `whole` bytes, reserve left out; or what needs least.
  Result<Taken> run(int64_t whole) {
    if (whole == 0)
      return least();
    if (chooser.effort() == Effort::exact)
      return runAll(whole);
    std::optional<Taken> best;
    MOE_RETURN_IF_ERROR(tryBudget(whole, best));
    return best ? Result<Taken>(std::move(*best)) : least();
  }

private:
  Result<Attempt> attempt(Result<Chosen> chosen, int64_t bytes) const {
    if (!chosen)
      return chosen.error();
    Result<Draft> draft = make(*chosen, bytes + reserve, false);
    if (!draft)
      return draft.error();
    for (std::vector<int64_t> *bytes :
         {&draft->arenaBytes, &draft->hostArenaBytes,
          &draft->bytesWithoutWaits})
      *bytes = chooser.largestAlike(*bytes);
    Result<int64_t> stepNs =
        chooser.stepNs(chosen->counts, draft->stages, draft->overlaps);
    Result<int64_t> accountNs = chooser.stepNs(chosen->counts, draft->stages);
    if (!stepNs || !accountNs)
      return stepNs ? accountNs.error() : stepNs.error();
    return Attempt{std::move(*draft), std::move(*chosen), *stepNs, *accountNs};
  }
  std::vector<int64_t> sameForAll(int64_t bytes) const {
    return std::vector<int64_t>(chooser.rankCount(), bytes);
  }
  /// With the whole host.
  Room roomOf(int64_t deviceBytes) const {
    return {sameForAll(deviceBytes), sameForAll(host)};
  }
  bool fitsHost(const Draft &draft) const {
    return largest(draft.hostArenaBytes) <= host;
  }

  /// Finishes an attempt that fits `bytes`, and takes it where it is the
  /// quickest so far.
  Status take(const Attempt &attempt, int64_t bytes, std::optional<Taken> &best,
              Certainty certainty = Certainty::none) {
    // Without waits a plan is the same whatever it is laid out for.
    bool waits = largest(attempt.draft.bytesWithoutWaits) > bytes;
    auto [made, isNew] = finished.try_emplace(
        std::tuple(attempt.chosen.layers, attempt.chosen.recompute,
                   attempt.chosen.offload, waits ? bytes : -1),
        0);
    if (!isNew)
      return {};
    Result<PlanAnswer> answer = attempt.draft.finish();
    if (!answer)
      return answer.error();
    made->second = answer->plan.prediction.stepNs;
    // Where the host's memory is too small as well as where it is the device's.
    if (answer->plan.prediction.fits &&
        (!best || made->second < best->answer.plan.prediction.stepNs))
      best = Taken{std::move(*answer), attempt.chosen, attempt.accountNs, bytes,
                   certainty};
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
  Status tryBudget(int64_t whole, std::optional<Taken> &best) {
    Trials trials;
    MOE_RETURN_IF_ERROR(tryEffort(whole, Effort::fast, trials, best));
    // What the account takes to be best need not be.
    if (chooser.effort() == Effort::exact)
      MOE_RETURN_IF_ERROR(tryEffort(whole, Effort::exact, trials, best));
    if (!trials.quickest)
      return {};
    return take(*trials.quickest, whole, best,
                trials.certaintyOf(trials.quickest));
  }

  /// How layers are shared out.
  struct Shares {
    bool areEven = false;
    /// Blocks of each stage; empty: chosen, where they are not even.
    std::vector<int64_t> counts = {};
  };

  /// Shares of layers are chosen for ranks in a row: in this order of steps
  /// even ones may be better, and where they promise that they come first; not
  /// where the account says that of both only the others fit. A bound on all
  /// cuts may tell of others.
  Status tryEffort(int64_t whole, Effort effort, Trials &trials,
                   std::optional<Taken> &best) {
    trials.accountNs = 0;
    std::array<int64_t, 2> promised{}; // of those chosen, of even ones
    bool fits = false;
    for (bool isEven : {false, true}) {
      if (isEven && !chooser.couldBeEven())
        break;
      Result<Chosen> chosen = chooser.choose(roomOf(whole), isEven, effort);
      if (!chosen)
        return chosen.error();
      if (!isEven || chosen->fits || !fits)
        promised[isEven] = chosen->stepNs;
      fits |= chosen->fits;
    }
    const bool isEvenFirst =
        promised[1] > 0 &&
        promised[1] < promised[0] - promised[0] / kWorthShares;
    for (bool isEven : {isEvenFirst, !isEvenFirst})
      if (!isEven || promised[1] > 0)
        MOE_RETURN_IF_ERROR(tryShares(whole, {isEven}, effort, trials, best));
    for (int round = 0; round < kMostPromisedCuts && trials.quickest; ++round) {
      const SharedAttempt before = trials.quickest;
      const optimize::StepBound bound = chooser.bound(
          before->chosen,
          roomBy(before->chosen, before->draft.arenaBytes, whole));
      if (bound.counts == before->chosen.counts ||
          bound.ns > before->accountNs - before->accountNs / kWorthAPromise)
        break;
      MOE_RETURN_IF_ERROR(
          tryShares(whole, {false, bound.counts}, effort, trials, best));
      if (trials.quickest == before)
        break;
      // Simulated, the difference may turn.
      MOE_RETURN_IF_ERROR(
          take(*before, whole, best, trials.certaintyOf(before)));
    }
    return {};
  }

  /// As long as less is to be expected than what was found with other shares.
  Status tryShares(int64_t whole, const Shares &shares, Effort effort,
                   Trials &trials, std::optional<Taken> &best) {
    // At first as if memory were free: where that fits nothing is quicker.
    // Where the account is far from it, no draft needs to say so.
    Corrections corrections(chooser, whole, host);
    FittingRanks fitting(chooser);
    SharedAttempt free;    // the quickest that fits without waits
    SharedAttempt waiting; // the first that fits with waits
    std::vector<SharedAttempt> tried;
    bool isRight = false; // fits without waits, and leaves nothing to correct
    for (int drafts = 0;
         drafts < (free ? kMostDrafts : kMostUnfit) && !isRight;) {
      Result<Chosen> chosen =
          chooseAgain(corrections.room(), shares, effort, tried);
      if (!chosen)
        return chosen.error();
      if (trials.accountNs > 0 &&
          chosen->stepNs > trials.accountNs - trials.accountNs / kWorthShares)
        break;
      if (corrections.isFree() && isFarBeyond(*chosen, whole)) {
        corrections.limit();
        continue;
      }
      const bool isCertain = chosen->isOptimal;
      SharedAttempt made = trials.of(*chosen);
      // What needs least leaves nothing to choose again.
      if (made && std::find(tried.begin(), tried.end(), made) != tried.end())
        break;
      if (!made) {
        Result<Attempt> fresh = attempt(std::move(chosen), whole);
        if (!fresh)
          return fresh.error();
        made = std::make_shared<const Attempt>(std::move(*fresh));
        trials.all.push_back(made);
      }
      tried.push_back(made);
      ++drafts;
      fitting.note(made->chosen, made->draft, whole, host);
      const bool choosesAgain = corrections.correct(made->chosen, made->draft);
      if (!fitsHost(made->draft))
        continue;
      if (largest(made->draft.bytesWithoutWaits) <= whole) {
        if (isCertain)
          trials.certain.push_back(made);
        isRight = !choosesAgain;
        if (!free || made->stepNs < free->stepNs)
          free = made;
      } else if (!waiting && largest(made->draft.arenaBytes) <= whole)
        waiting = made;
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
  Result<Chosen> chooseAgain(const Room &room, const Shares &shares,
                             Effort effort,
                             const std::vector<SharedAttempt> &tried) const {
    if (!shares.counts.empty())
      return chooser.choose(room, shares.counts, effort);
    Result<Chosen> best = chooser.choose(room, shares.areEven, effort);
    if (!best || tried.empty() || effort == Effort::exact)
      return best;
    const std::vector<int64_t> &counts = tried.back()->chosen.counts;
    if (best->counts == counts)
      return best;
    Result<Chosen> same = chooser.choose(room, counts, effort);
    if (!same)
      return same;
    const bool isWorthIt =
        best->stepNs <= same->stepNs - same->stepNs / kWorthACut;
    return same->fits && !isWorthIt ? same : best;
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
    Result<Attempt> made = attempt(
        chooser.with((*quickest)->counts, std::move((*quickest)->choices)),
        whole);
    if (!made)
      return made.error();
    if (largest(made->draft.bytesWithoutWaits) <= whole &&
        fitsHost(made->draft) && (!free || made->stepNs < free->stepNs))
      free = std::make_shared<const Attempt>(std::move(*made));
    return {};
  }

  /// Ranks that never fitted as lean as can be, but for those that the account
  /// then leaves room.
  Status tryLean(int64_t whole, const std::vector<int64_t> &counts,
                 const FittingRanks &fitting, std::optional<Taken> &best) {
    std::vector<std::optional<int64_t>> capacity(chooser.rankCount());
    std::vector<int64_t> hostBytes = sameForAll(host);
    std::optional<Attempt> lean;
    for (int drafts = 0; drafts < kMostDrafts; ++drafts) {
      Result<Attempt> made = attempt(
          chooser.lean(counts, fitting.of(counts), capacity, hostBytes), whole);
      if (!made)
        return made.error();
      const std::vector<int64_t> &arenas = made->draft.arenaBytes;
      const bool isBeyondHost = !fitsHost(made->draft);
      correctHost(made->chosen, made->draft, host, hostBytes);
      if (isBeyondHost && !lean)
        continue;
      bool fits = largest(arenas) <= whole && !isBeyondHost;
      if (!fits && !lean)
        return {}; // there is nothing leaner
      if (fits && lean)
        return take(*made, whole, best);
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
    return lean ? take(*lean, whole, best) : Status();
  }

  /// The quickest of all steps up to `whole`.
  Result<Taken> runAll(int64_t whole) {
    Result<Attempt> free = attempt(chooser.choose(roomOf(kUnlimited)), whole);
    if (!free)
      return free.error();
    std::optional<Taken> best;
    int64_t most = largest(free->draft.bytesWithoutWaits);
    if (most <= whole && fitsHost(free->draft))
      MOE_RETURN_IF_ERROR(take(*free, whole, best));
    // Beyond what needs most there is nothing else to try, nor from where on
    // the account promises nothing better.
    const int64_t top = Step::within(std::min(whole, most) + reserve).index;
    for (int64_t index = top; index >= 0; --index) {
      const int64_t bytes = Step{index}.bytes() - reserve;
      if (bytes <= 0)
        break;
      Result<Chosen> chosen = chooser.choose(roomOf(bytes));
      if (!chosen)
        return chosen.error();
      const int64_t promised = chosen->stepNs - chosen->stepNs / kWrongTime;
      if (!chosen->fits || (best && promised > best->accountNs))
        break;
      if (onProgress)
        onProgress(static_cast<size_t>(top - index), 0,
                   "budgets tried; next " + gibibytes(bytes + reserve));
      MOE_RETURN_IF_ERROR(tryBudget(bytes, best));
    }
    return best ? Result<Taken>(std::move(*best)) : least();
  }

  /// What needs least, whatever the budget.
  Result<Taken> least() const {
    std::optional<Attempt> best;
    auto consider = [&](Result<Attempt> made) -> Status {
      if (!made)
        return made.error();
      if (!best ||
          largest(made->draft.arenaBytes) < largest(best->draft.arenaBytes))
        best = std::move(*made);
      return {};
    };
    MOE_RETURN_IF_ERROR(consider(attempt(chooser.choose(roomOf(0)), 0)));
    // The smallest step that the account, corrected by that, thinks possible:
    // what all ranks need least together is not what the largest needs least.
    std::vector<int64_t> wrongBy;
    for (size_t r = 0; r < chooser.rankCount(); ++r)
      wrongBy.push_back(best->draft.arenaBytes[r] -
                        best->chosen.ranks[r].peakBytes);
    Chosen smallest = best->chosen;
    int64_t below = -1,
            fitting = Step::within(largest(best->draft.arenaBytes)).index;
    // Rarely is that far below: where none is known not to fit, in leaps.
    for (int64_t leap = 16; fitting - below > 1; leap *= 2) {
      const int64_t middle = below < 0 ? std::max<int64_t>(0, fitting - leap)
                                       : below + (fitting - below) / 2;
      Room room = roomOf(0);
      for (size_t r = 0; r < wrongBy.size(); ++r)
        room.device[r] =
            std::max<int64_t>(0, Step{middle}.bytes() - wrongBy[r]);
      Result<Chosen> found = chooser.choose(room);
      if (!found)
        return found.error();
      (found->fits ? fitting : below) = middle;
      if (found->fits)
        smallest = std::move(*found);
    }
    std::vector<int64_t> counts = smallest.counts;
    MOE_RETURN_IF_ERROR(consider(attempt(std::move(smallest), 0)));
    MOE_RETURN_IF_ERROR(consider(attempt(
        chooser.lean(
            counts,
            std::vector<std::optional<optimize::Choices>>(chooser.rankCount()),
            std::vector<std::optional<int64_t>>(chooser.rankCount()),
            sameForAll(host)),
        0)));
    Result<PlanAnswer> answer = best->draft.finish();
    if (!answer)
      return answer.error();
    return Taken{std::move(*answer), std::move(best->chosen), best->accountNs,
                 0};
  }

  const Chooser &chooser;
  int64_t reserve;
  int64_t host; ///< of each rank
  const MakeDraft &make;
  const OnProgress &onProgress;
  /// Choices, and with waits what they were laid out for.
  std::map<std::tuple<std::vector<int64_t>, std::string, std::string, int64_t>,
           int64_t>
      finished;
};

} // namespace

Result<PlanAnswer> choosePlan(const std::shared_ptr<const Chooser> &chooser,
                              const PlanBudget &budget, bool writes,
                              const MakeDraft &make,
                              const OnProgress &onProgress) {
  int64_t whole = std::max<int64_t>(0, budget.wholeBytes - budget.reserveBytes);
  Result<Taken> taken =
      PlanChooser(*chooser, budget, make, onProgress).run(whole);
  if (!taken)
    return taken.error();
  if (writes) {
    Result<Draft> again =
        make(taken->chosen, taken->layoutBytes + budget.reserveBytes, true);
    if (!again)
      return again.error();
    if (Result<PlanAnswer> written = again->finish(); !written)
      return written.error();
  }
  // It may be laid out for another budget.
  plan::Plan &plan = taken->answer.plan;
  plan.machine.budgetBytes = budget.wholeBytes;
  plan.prediction.fits = std::all_of(
      plan.ranks.begin(), plan.ranks.end(), [&](const plan::Rank &rank) {
        return plan::fitsMachine(plan.machine, rank);
      });
  describe(chooser, whole, taken->chosen, taken->accountNs, taken->certainty,
           taken->answer);
  return std::move(taken->answer);
}

} // namespace moe::driver
