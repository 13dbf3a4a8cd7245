//===- Attempts.h - drafts of choices, and plans of them --------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/ChoiceNotes.h"
#include "driver/Choose.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace moe::driver {

/// A draft of choices.
struct Attempt {
  Draft draft;
  Chosen chosen;
  int64_t layoutBytes = 0; ///< what it is laid out for, reserve left out
  /// Of the order of steps, with what the draft's programs take, and with what
  /// pairs that overlap are taken to save, as by an account.
  int64_t stepNs = 0, accountNs = 0;
  int64_t evaluatedNs = 0; ///< accountNs, as bounds count

  /// Arena of the largest rank.
  int64_t arenaBytes() const;
  /// The same if no stream waited for another one's bytes.
  int64_t bytesWithoutWaits() const;
};

using SharedAttempt = std::shared_ptr<const Attempt>;

/// A finished plan.
struct Taken {
  PlanAnswer answer;
  Chosen chosen;
  int64_t accountNs = 0;   ///< Attempt::accountNs
  int64_t evaluatedNs = 0; ///< Attempt::evaluatedNs
  int64_t layoutBytes = 0; ///< Attempt::layoutBytes
  Certainty certainty = Certainty::none;

  int64_t stepNs() const { return answer.plan.prediction.stepNs; }
};

/// Makes attempts and finishes them. What it is made of must outlive it. Bytes
/// of devices leave the reserve out.
class Attempts {
public:
  Attempts(const std::shared_ptr<const Chooser> &chooser,
           const PlanBudget &budget, const MakeDraft &makeDraft,
           const OnProgress &onProgress)
      : chooser(chooser), budget(budget), makeDraft(makeDraft),
        onProgress(onProgress) {}

  /// The draft of what was chosen, laid out for `bytes`.
  Result<Attempt> make(Result<Chosen> chosen, int64_t bytes) const;
  /// The same, laid out for what it needs by its account.
  Result<Attempt> makeLeast(Result<Chosen> chosen) const;
  /// Simulates and checks the plan of an attempt. To be called once for each.
  static Result<Taken> finish(const Attempt &attempt, Certainty certainty);
  /// What is answered with a plan: it is about the whole budget, whatever it
  /// was laid out for, and says what was chosen. `writes`: see choosePlan().
  Result<PlanAnswer> answer(Taken taken, bool writes) const;

  int64_t deviceBytes() const;
  int64_t hostBytes() const; ///< of each rank
  std::vector<int64_t> sameForAll(int64_t bytes) const;
  /// With the whole host.
  Room roomOf(int64_t deviceBytes) const;
  bool fitsHost(const Attempt &attempt) const;

private:
  const std::shared_ptr<const Chooser> &chooser;
  const PlanBudget &budget;
  const MakeDraft &makeDraft;
  const OnProgress &onProgress; ///< may be empty; told of every draft
  mutable size_t drafts = 0;
};

} // namespace moe::driver
