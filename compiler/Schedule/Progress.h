//===- Progress.h - running ranks that wait for each other ------*- C++ -*-===//
//
// Verification and simulation both run lists of steps, one per rank, in which
// a step can wait for another rank. This runs them as far as they go and says
// who waits for whom when they get stuck.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace moe::schedule {

/// How far every rank has come. Its memory serves one run after the other.
class Progress {
public:
  /// What a step returns that was done, and one that ends the whole run.
  static constexpr int64_t kDone = -1, kStop = -2;

  /// Executes step after step of every rank until all are done: true.
  ///
  /// `countOf(rank)` is its number of steps. `tryStep(rank, index)` executes
  /// the step and returns kDone, or returns the rank whose progress it needs
  /// and changes nothing, or kStop. It must be monotonic: once possible, a step
  /// stays possible. Linear in the number of steps when a rank has a bounded
  /// number of peers.
  template <typename CountOf, typename TryStep>
  bool run(size_t rankCount, CountOf countOf, TryStep tryStep) {
    next.assign(rankCount, 0);
    waitsFor.assign(rankCount, -1);
    firstWaiter.assign(rankCount, -1);
    lastWaiter.resize(rankCount);
    nextWaiter.resize(rankCount);
    ready.clear();
    for (size_t rank = 0; rank < rankCount; ++rank)
      ready.push_back(rank);
    size_t ended = 0;
    for (size_t turn = 0; turn < ready.size(); ++turn) {
      size_t rank = ready[turn];
      waitsFor[rank] = -1;
      size_t start = next[rank], count = countOf(rank);
      while (next[rank] < count) {
        int64_t blocker = tryStep(rank, next[rank]);
        if (blocker == kStop)
          return false;
        if (blocker >= 0) {
          wait(rank, static_cast<size_t>(blocker));
          break;
        }
        ++next[rank];
      }
      ended += next[rank] == count;
      if (next[rank] == start)
        continue;
      // Whoever waited for this rank may go on; itself it has nobody to wake.
      for (int64_t waiter = firstWaiter[rank]; waiter >= 0;
           waiter = nextWaiter[static_cast<size_t>(waiter)])
        ready.push_back(static_cast<size_t>(waiter));
      firstWaiter[rank] = -1;
    }
    return ended == rankCount;
  }

  /// Of a run that got stuck: the circle of ranks that wait for each other, or
  /// the rank that has ended without doing what another waits for.
  /// `describe(rank, index)` names a step.
  template <typename CountOf, typename Describe>
  std::string describeStuck(CountOf countOf, Describe describe) const {
    size_t rank = 0;
    while (next[rank] == countOf(rank))
      ++rank;
    // Follow the waits until a rank repeats or one has ended.
    std::vector<size_t> chain;
    auto inChain = [&] { return std::find(chain.begin(), chain.end(), rank); };
    while (next[rank] < countOf(rank) && inChain() == chain.end()) {
      chain.push_back(rank);
      rank = static_cast<size_t>(waitsFor[rank]);
    }
    bool circle = next[rank] < countOf(rank);
    if (circle)
      chain.erase(chain.begin(), inChain());
    std::string text = "deadlock: ";
    for (size_t i = 0; i < chain.size(); ++i)
      text += (i ? "; rank " : "rank ") + std::to_string(chain[i]) +
              " waits in step " + std::to_string(next[chain[i]]) + " (" +
              describe(chain[i], next[chain[i]]) + ") for rank " +
              std::to_string(waitsFor[chain[i]]);
    if (!circle)
      text += ", which has ended";
    return text;
  }

private:
  void wait(size_t rank, size_t blocker) {
    auto self = static_cast<int64_t>(rank);
    waitsFor[rank] = static_cast<int64_t>(blocker);
    nextWaiter[rank] = -1;
    if (firstWaiter[blocker] < 0)
      firstWaiter[blocker] = self;
    else
      nextWaiter[static_cast<size_t>(lastWaiter[blocker])] = self;
    lastWaiter[blocker] = self;
  }

  std::vector<size_t> next;
  std::vector<int64_t> waitsFor;
  // Who waits for a rank, as a list: a rank waits for one other at most.
  std::vector<int64_t> firstWaiter, lastWaiter, nextWaiter;
  std::vector<size_t> ready; ///< a queue; ranks once for each time woken
};

/// Runs steps as Progress does; the error of a stuck run says who waits for
/// whom.
template <typename TryStep, typename Describe>
Status runToEnd(const std::vector<size_t> &stepCounts, TryStep tryStep,
                Describe describe) {
  Progress progress;
  auto countOf = [&](size_t rank) { return stepCounts[rank]; };
  if (progress.run(stepCounts.size(), countOf, tryStep))
    return {};
  return Error{progress.describeStuck(countOf, describe)};
}

} // namespace moe::schedule
