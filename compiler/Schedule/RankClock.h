//===- RankClock.h - which rank acts next -----------------------*- C++ -*-===//
//
// Private to compiler/Schedule: the clock of list scheduling, in which every
// rank has one time at which it looks what it can do.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace moe::schedule {

/// A tournament: setting a time costs the logarithm of the number of ranks.
class RankClock {
public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  explicit RankClock(size_t ranks)
      : leaves(std::bit_ceil(ranks)), times(leaves, kNever),
        winners(2 * leaves) {
    for (size_t leaf = 0; leaf < leaves; ++leaf)
      winners[leaves + leaf] = leaf;
    reset();
  }

  /// No rank has a time.
  void reset() {
    times.assign(leaves, kNever);
    for (size_t node = leaves; node-- > 1;)
      winners[node] = winners[2 * node];
  }

  int64_t operator[](size_t rank) const { return times[rank]; }

  void set(size_t rank, int64_t ns) {
    times[rank] = ns;
    for (size_t node = (leaves + rank) / 2; node > 0; node /= 2) {
      size_t first = winners[2 * node], second = winners[2 * node + 1];
      size_t winner = times[second] < times[first] ? second : first;
      // Above, the others meet as before.
      if (winner == winners[node] && winner != rank)
        return;
      winners[node] = winner;
    }
  }

  /// The rank whose time comes first, of equals the lowest.
  size_t next() const { return winners[1]; }
  bool hasNext() const { return times[next()] < kNever; }

private:
  size_t leaves;
  std::vector<int64_t> times;
  std::vector<size_t> winners; ///< by node of a heap-shaped tree
};

} // namespace moe::schedule
