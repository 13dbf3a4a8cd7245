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
#include <deque>
#include <string>
#include <vector>

namespace moe::schedule {

/// Executes step after step of every rank until all are done.
///
/// `tryStep(rank, index)` executes the step and returns -1, or returns the rank
/// whose progress it needs and changes nothing. It must be monotonic: once
/// possible, a step stays possible. `describe(rank, index)` names a step. The
/// error of a stuck run is the circle of ranks that wait for each other, or the
/// rank that has ended without doing what another waits for. Linear in the
/// number of steps when a rank has a bounded number of peers.
template <typename TryStep, typename Describe>
Status runToEnd(const std::vector<size_t> &stepCounts, TryStep tryStep,
                Describe describe) {
  size_t rankCount = stepCounts.size();
  std::vector<size_t> next(rankCount, 0);
  std::vector<int64_t> waitsFor(rankCount, -1);
  // Who waits for a rank, as a list: a rank waits for one other at most.
  std::vector<int64_t> firstWaiter(rankCount, -1), lastWaiter(rankCount, -1);
  std::vector<int64_t> nextWaiter(rankCount, -1);
  std::deque<size_t> ready;
  for (size_t rank = 0; rank < rankCount; ++rank)
    ready.push_back(rank);
  while (!ready.empty()) {
    size_t rank = ready.front();
    ready.pop_front();
    waitsFor[rank] = -1;
    size_t start = next[rank];
    while (next[rank] < stepCounts[rank]) {
      int64_t blocker = tryStep(rank, next[rank]);
      if (blocker >= 0) {
        auto self = static_cast<int64_t>(rank);
        auto other = static_cast<size_t>(blocker);
        waitsFor[rank] = blocker;
        nextWaiter[rank] = -1;
        if (firstWaiter[other] < 0)
          firstWaiter[other] = self;
        else
          nextWaiter[static_cast<size_t>(lastWaiter[other])] = self;
        lastWaiter[other] = self;
        break;
      }
      ++next[rank];
    }
    if (next[rank] > start) {
      // Whoever waited for this rank may go on; itself it has nobody to wake.
      for (int64_t waiter = firstWaiter[rank]; waiter >= 0;
           waiter = nextWaiter[static_cast<size_t>(waiter)])
        ready.push_back(static_cast<size_t>(waiter));
      firstWaiter[rank] = -1;
    }
  }

  size_t stuck = 0;
  while (stuck < rankCount && next[stuck] == stepCounts[stuck])
    ++stuck;
  if (stuck == rankCount)
    return {};
  // Follow the waits until a rank repeats or one has ended.
  std::vector<size_t> chain;
  size_t rank = stuck;
  auto inChain = [&] { return std::find(chain.begin(), chain.end(), rank); };
  while (next[rank] < stepCounts[rank] && inChain() == chain.end()) {
    chain.push_back(rank);
    rank = static_cast<size_t>(waitsFor[rank]);
  }
  bool circle = next[rank] < stepCounts[rank];
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
  return Error{text};
}

} // namespace moe::schedule
