//===- PlanSearch.cpp - the best of the plans of several schedules --------===//

#include "driver/PlanSearch.h"

#include "compiler/Schedule/Generators.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace moe::driver {

bool isBetter(const plan::Plan &a, const plan::Plan &b) {
  if (a.prediction.fits != b.prediction.fits)
    return a.prediction.fits;
  auto largest = [](const plan::Plan &plan) {
    int64_t bytes = 0;
    for (const plan::Rank &rank : plan.ranks)
      bytes = std::max(bytes, rank.arenaBytes);
    return bytes;
  };
  std::pair ofA(a.prediction.stepNs, largest(a));
  std::pair ofB(b.prediction.stepNs, largest(b));
  if (!a.prediction.fits) { // the closer to fitting
    std::swap(ofA.first, ofA.second);
    std::swap(ofB.first, ofB.second);
  }
  return ofA < ofB;
}

namespace {

/// Plans of several schedules, of which the best is kept: one that fits, the
/// fastest by its own simulation, then the smallest. A search knows schedules
/// by estimates, which leave out how buffers pack and what streams wait for;
/// what counts is what the plans say.
class PlanSearch {
public:
  PlanSearch(const PlanSearchRequest &request, const MakePlan &make)
      : request(request), make(make) {}

  Result<PlanAnswer> run() {
    Trial searched{"auto",
                   std::vector<int64_t>(static_cast<size_t>(request.ranks),
                                        request.budgetBytes)};
    Result<PlanAnswer> own = consider(searched);
    if (own)
      remarks = own->notes;
    for (const schedule::GeneratorInfo &generator : schedule::generators()) {
      // Two copies of the model take twice its parameters and sum gradients in
      // two halves: for those who ask for it.
      if (generator.placement == schedule::Placement::bidirectional)
        continue;
      // One that the layout does not admit is none to choose from.
      (void)consider({std::string(generator.name),
                      {},
                      best && best->plan.prediction.fits
                          ? best->plan.prediction.stepNs
                          : 0});
    }
    if (!best)
      return own.error();
    if (own)
      repeat(searched, std::move(*own));
    return finish();
  }

private:
  /// How often the search is repeated with less memory.
  static constexpr int kMostSearches = 4;

  /// Searches again while the search's plan, of the trial, would be the best
  /// but for ranks that need more than they have: each gets that much less.
  void repeat(Trial trial, PlanAnswer own) {
    for (int round = 1; round < kMostSearches && !own.plan.prediction.fits;
         ++round) {
      if (best->plan.prediction.fits &&
          own.plan.prediction.stepNs >= best->plan.prediction.stepNs)
        return;
      for (size_t rank = 0; rank < own.plan.ranks.size(); ++rank) {
        int64_t excess = own.plan.ranks[rank].arenaBytes +
                         own.plan.machine.reserveBytes - request.budgetBytes;
        trial.searchedBytes[rank] -= std::max<int64_t>(0, excess);
      }
      Result<PlanAnswer> again = consider(trial);
      if (!again)
        return;
      own = std::move(*again);
    }
  }

  Result<PlanAnswer> consider(const Trial &trial) {
    if (request.onProgress)
      request.onProgress(
          trials++, 0,
          "plans tried; next schedule " +
              (trial.schedule == "auto" ? "of the search" : trial.schedule));
    Result<PlanAnswer> made = make(trial, false);
    if (!made)
      return made;
    ++plans;
    if (!best || isBetter(made->plan, best->plan)) {
      best = *made;
      bestTrial = trial;
    }
    return made;
  }

  Result<PlanAnswer> finish() {
    bestTrial.worthNs = 0;
    if (request.writes) {
      Result<PlanAnswer> again = make(bestTrial, true);
      if (!again)
        return again;
    }
    std::string choice =
        "schedule auto: of " + std::to_string(plans) + " plans, that of " +
        (bestTrial.schedule == "auto" ? "the search" : bestTrial.schedule) +
        " is the best by its own simulation";
    std::vector<std::string> notes = remarks;
    if (bestTrial.schedule == "auto")
      notes = best->notes;
    else
      for (const std::string &remark : remarks)
        best->plan.assumptions.push_back({"schedule", "auto", remark});
    notes.push_back(choice);
    best->plan.assumptions.push_back({"schedule", "auto", choice});
    best->notes = std::move(notes);
    return std::move(*best);
  }

  PlanSearchRequest request;
  const MakePlan &make;
  std::optional<PlanAnswer> best;
  Trial bestTrial;
  std::vector<std::string> remarks; ///< of the search with the whole budget
  int64_t plans = 0;
  size_t trials = 0; ///< plans, and those that could not be made
};

} // namespace

Result<PlanAnswer> searchPlans(const PlanSearchRequest &request,
                               const MakePlan &make) {
  return PlanSearch(request, make).run();
}

} // namespace moe::driver
