#include "compiler/Optimize/TimeOrder.h"

#include "compiler/Optimize/SizeClasses.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <queue>
#include <set>

namespace moe::optimize {
namespace {

/// Where a buffer goes.
enum class Rule : uint8_t {
  lowest,   ///< to the lowest gap that holds it
  smallest, ///< to the smallest
  /// Where one of its size lay before, as low as possible, or else to the
  /// lowest gap or the smallest one.
  again,
  againOrSmallest,
};

/// The bytes that nobody has.
class Gaps {
public:
  /// Returns where the taken bytes begin.
  int64_t take(int64_t size, Rule rule) {
    if (rule == Rule::lowest || rule == Rule::smallest)
      return takeFrom(choose(size, rule == Rule::lowest), size);
    std::set<int64_t> &before = places[size];
    for (int64_t begin : before)
      if (size_t gap = gapOf(begin); gap < gaps.size() &&
                                     gaps[gap].begin <= begin &&
                                     gaps[gap].end - size >= begin)
        return takeFrom(gap, size, begin - gaps[gap].begin);
    int64_t begin = takeFrom(choose(size, rule == Rule::again), size);
    before.insert(begin);
    return begin;
  }

  void giveBack(int64_t begin, int64_t end) {
    auto next = std::lower_bound(
        gaps.begin(), gaps.end(), begin,
        [](const Gap &gap, int64_t at) { return gap.begin < at; });
    bool joinsNext = next->begin == end;
    bool joinsBefore = next != gaps.begin() && std::prev(next)->end == begin;
    if (joinsNext && joinsBefore) {
      std::prev(next)->end = next->end;
      gaps.erase(next);
    } else if (joinsNext) {
      next->begin = begin;
    } else if (joinsBefore) {
      std::prev(next)->end = end;
    } else {
      gaps.insert(next, {begin, end});
    }
  }

private:
  struct Gap {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
  };

  /// The last gap has no end: there always is one.
  size_t choose(int64_t size, bool isLowest) const {
    size_t chosen = gaps.size() - 1;
    for (size_t i = 0; i + 1 < gaps.size(); ++i) {
      if (gaps[i].size() < size ||
          (chosen + 1 < gaps.size() && gaps[i].size() >= gaps[chosen].size()))
        continue;
      chosen = i;
      if (isLowest)
        break;
    }
    return chosen;
  }

  /// The first gap that ends behind `at`.
  size_t gapOf(int64_t at) const {
    return static_cast<size_t>(
        std::partition_point(gaps.begin(), gaps.end(),
                             [&](const Gap &gap) { return gap.end <= at; }) -
        gaps.begin());
  }

  int64_t takeFrom(size_t index, int64_t size, int64_t skipped = 0) {
    auto gap = gaps.begin() + static_cast<ptrdiff_t>(index);
    int64_t begin = gap->begin + skipped;
    Gap behind = {begin + size, gap->end};
    gap->end = begin;
    if (gap->size() > 0 && behind.size() > 0)
      gaps.insert(gap + 1, behind);
    else if (behind.size() > 0)
      *gap = behind;
    else if (gap->size() == 0)
      gaps.erase(gap);
    return begin;
  }

  std::vector<Gap> gaps = {{0, std::numeric_limits<int64_t>::max()}};
  std::map<int64_t, std::set<int64_t>> places; ///< by size
};

TimedPacking packBy(const std::vector<TimedBuffer> &buffers, bool isBackwards,
                    Rule rule) {
  auto beginOf = [&](size_t i) {
    return isBackwards ? -buffers[i].end : buffers[i].begin;
  };
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    if (beginOf(a) != beginOf(b))
      return beginOf(a) < beginOf(b);
    return buffers[a].size != buffers[b].size
               ? buffers[a].size > buffers[b].size
               : a < b;
  });
  TimedPacking made;
  made.offsets.assign(buffers.size(), 0);
  Gaps gaps;
  using End = std::pair<int64_t, uint32_t>; ///< time and buffer
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  for (uint32_t i : order) {
    for (; !ends.empty() && ends.top().first <= beginOf(i); ends.pop()) {
      uint32_t ended = ends.top().second;
      gaps.giveBack(made.offsets[ended],
                    made.offsets[ended] + buffers[ended].size);
    }
    const int64_t until = isBackwards ? -buffers[i].begin : buffers[i].end;
    made.offsets[i] = gaps.take(buffers[i].size, rule);
    made.height = std::max(made.height, made.offsets[i] + buffers[i].size);
    ends.push({until, i});
  }
  return made;
}

int64_t mostLive(const std::vector<TimedBuffer> &buffers) {
  std::vector<std::pair<int64_t, int64_t>> changes; ///< time, of bytes
  for (const TimedBuffer &buffer : buffers) {
    changes.push_back({buffer.begin, buffer.size});
    changes.push_back({buffer.end, -buffer.size});
  }
  std::sort(changes.begin(), changes.end()); // at one time, ends come first
  int64_t live = 0, most = 0;
  for (auto [time, change] : changes) {
    live += change;
    most = std::max(most, live);
  }
  return most;
}

} // namespace

std::vector<int64_t> packInTimeOrder(const std::vector<TimedBuffer> &buffers) {
  struct Way {
    bool isBackwards;
    Rule rule;
  };
  constexpr Way ways[] = {{false, Rule::smallest},
                          {false, Rule::againOrSmallest},
                          {true, Rule::smallest},
                          {false, Rule::again},
                          {false, Rule::lowest}};
  // Of the most that lives, what is not worth another way.
  constexpr int64_t kGoodShare = 256;
  TimedPacking best;
  best.height = std::numeric_limits<int64_t>::max();
  int64_t bound = mostLive(buffers);
  for (const Way &way : ways) {
    TimedPacking made = packBy(buffers, way.isBackwards, way.rule);
    if (made.height < best.height)
      best = std::move(made);
    if (best.height - bound <= bound / kGoodShare)
      return best.offsets;
  }
  // Where microbatches come and go in more than one way.
  std::optional<TimedPacking> apart = packInSizeClasses(buffers);
  if (apart && apart->height < best.height)
    best = std::move(*apart);
  return best.offsets;
}

} // namespace moe::optimize
