#include "compiler/Schedule/SearchLocal.h"

#include <algorithm>

namespace moe::schedule::search {

Sequence sequenceOf(const std::vector<std::vector<Action>> &order) {
  Sequence sequence(order.size());
  for (size_t rank = 0; rank < order.size(); ++rank)
    for (const Action &action : order[rank])
      if (action.phase != Phase::weight_grad)
        sequence[rank].push_back(static_cast<uint32_t>(2 * action.stage) +
                                 (action.phase == Phase::forward ? 0 : 1));
  return sequence;
}

bool isSequential(const std::vector<std::vector<Action>> &order) {
  for (const auto &actions : order)
    for (const Action &action : actions)
      if (action.overlapsNext)
        return false;
  return true;
}

/// Changes the order on one rank; false: nothing changed.
static bool change(std::vector<uint32_t> &entries, std::mt19937 &random) {
  if (entries.size() < 2)
    return false;
  size_t i = random() % (entries.size() - 1);
  uint32_t one = entries[i], other = entries[i + 1];
  switch (random() % 3) {
  case 0: // neighbours
    if (one == other)
      return false;
    std::swap(entries[i], entries[i + 1]);
    return true;
  case 1: { // one of them further away
    size_t end = i + 3 + random() % 8;
    if (end > entries.size())
      return false;
    auto begin = entries.begin() + static_cast<ptrdiff_t>(i);
    auto last = entries.begin() + static_cast<ptrdiff_t>(end) - 1;
    if (random() % 2)
      std::rotate(begin, begin + 1, last + 1);
    else
      std::rotate(begin, last, last + 1);
    return true;
  }
  default: // the same neighbours wherever they meet, or from here on
    if (one == other)
      return false;
    for (size_t k = random() % 2 ? 0 : i; k + 1 < entries.size(); ++k)
      if (entries[k] == one && entries[k + 1] == other) {
        std::swap(entries[k], entries[k + 1]);
        ++k;
      }
    return true;
  }
}

/// How far above the shortest so far a changed order may be.
static constexpr double kStepBack = 0.004;

void improve(Greedy &greedy, Sequence sequence, Score &score, int64_t effort,
             int64_t boundNs, std::mt19937 &random,
             const std::function<void()> &better) {
  int64_t endEffort = greedy.effort() + effort;
  auto scoreNow = [&] {
    return Score{greedy.makespanNs(), greedy.peakBytes()};
  };
  auto take = [&] {
    if (scoreNow() < score) {
      score = scoreNow();
      better();
    }
  };
  // How weight gradients fall into place, for the order as it is.
  Policy policy;
  Score current;
  for (double overrun : {0.0, 0.5, 1.0})
    for (int64_t mostPending : {int64_t{0}, int64_t{1}, int64_t{3}, kNoLimit}) {
      Policy tried;
      tried.overrun = overrun;
      tried.mostPending = mostPending;
      if (greedy.effort() > endEffort ||
          !greedy.run(tried, sequence, current.makespanNs) ||
          scoreNow() >= current)
        continue;
      current = scoreNow();
      policy = tried;
      take();
    }
  if (current.makespanNs == kNoLimit)
    return;
  Sequence changed = sequence;
  int64_t beginEffort = greedy.effort();
  int64_t leastNs = current.makespanNs;
  while (greedy.effort() < endEffort && leastNs > boundNs) {
    size_t rank = random() % sequence.size();
    if (!change(changed[rank], random)) {
      --endEffort; // comes to an end also where nothing can be changed
      continue;
    }
    // Sideways too: most orders have many equals; and a little back at first,
    // less and less.
    double left = static_cast<double>(endEffort - greedy.effort()) /
                  static_cast<double>(endEffort - beginEffort);
    int64_t mostNs =
        std::max(current.makespanNs,
                 leastNs + static_cast<int64_t>(kStepBack * left *
                                                static_cast<double>(leastNs)));
    if (greedy.run(policy, changed, mostNs) && greedy.makespanNs() <= mostNs) {
      current = scoreNow();
      leastNs = std::min(leastNs, current.makespanNs);
      take();
      sequence[rank] = changed[rank];
    } else {
      changed[rank] = sequence[rank];
    }
  }
}

} // namespace moe::schedule::search
