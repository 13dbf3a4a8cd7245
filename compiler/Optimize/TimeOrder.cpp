#include "compiler/Optimize/TimeOrder.h"

#include "compiler/Optimize/EndOrder.h"
#include "compiler/Optimize/PackAround.h"
#include "compiler/Optimize/SizeClasses.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace moe::optimize {
namespace {

/// Buffers, in all ways together: what some hundredths of a second allow.
constexpr size_t kMostPacked = 150'000;

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
    std::vector<int64_t> &before = places[size];
    auto place = before.begin();
    for (size_t i = 0; i < gaps.size() && place != before.end(); ++i) {
      const Gap &gap = gaps[i];
      if (gap.size() < size)
        continue;
      place = std::lower_bound(place, before.end(), gap.begin);
      if (place != before.end() && *place <= gap.end - size)
        return takeFrom(i, size, *place - gap.begin);
    }
    int64_t begin = takeFrom(choose(size, rule == Rule::again), size);
    before.insert(std::lower_bound(before.begin(), before.end(), begin), begin);
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
  std::map<int64_t, std::vector<int64_t>> places; ///< by size, rising
};

/// When buffers take bytes and give them back, in one direction of time.
class Turns {
public:
  Turns(const std::vector<TimedBuffer> &buffers, bool isBackwards)
      : buffers(buffers), isBackwards(isBackwards) {
    for (uint32_t i = 0; i < buffers.size(); ++i)
      if (buffers[i].size > 0)
        taking.push_back(i);
    giving = taking;
    std::sort(taking.begin(), taking.end(), [&](uint32_t a, uint32_t b) {
      return std::tuple(beginOf(a), -buffers[a].size, a) <
             std::tuple(beginOf(b), -buffers[b].size, b);
    });
    std::sort(giving.begin(), giving.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(endOf(a), a) < std::pair(endOf(b), b);
    });
  }

  TimedPacking pack(Rule rule) const {
    TimedPacking made;
    made.offsets.assign(buffers.size(), 0);
    Gaps gaps;
    auto next = giving.begin();
    for (uint32_t i : taking) {
      for (; endOf(*next) <= beginOf(i); ++next)
        gaps.giveBack(made.offsets[*next],
                      made.offsets[*next] + buffers[*next].size);
      made.offsets[i] = gaps.take(buffers[i].size, rule);
      made.height = std::max(made.height, made.offsets[i] + buffers[i].size);
    }
    return made;
  }

private:
  int64_t beginOf(uint32_t i) const {
    return isBackwards ? -buffers[i].end : buffers[i].begin;
  }
  int64_t endOf(uint32_t i) const {
    return isBackwards ? -buffers[i].begin : buffers[i].end;
  }

  const std::vector<TimedBuffer> &buffers;
  bool isBackwards;
  std::vector<uint32_t> taking, giving;
};

TimedPacking packLargestFirst(const std::vector<TimedBuffer> &buffers) {
  TimedPacking made{0, packAround({}, {}, buffers)};
  for (size_t i = 0; i < buffers.size(); ++i)
    made.height = std::max(made.height, made.offsets[i] + buffers[i].size);
  return made;
}

/// Against time.
TimedPacking packByEndsBackwards(const std::vector<TimedBuffer> &buffers,
                                 double wasteWeight) {
  std::vector<TimedBuffer> turned;
  for (const TimedBuffer &buffer : buffers)
    turned.push_back({buffer.size, -buffer.end, -buffer.begin});
  return packByEnds(turned, wasteWeight);
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

std::vector<int64_t> packTimed(const std::vector<TimedBuffer> &buffers,
                               const PackingJudge &judge) {
  const Turns forwards(buffers, false);
  auto inOrder = [&](Rule rule) {
    return [&, rule] { return forwards.pack(rule); };
  };
  auto byEnds = [&](double wasteWeight) {
    return [&, wasteWeight] { return packByEnds(buffers, wasteWeight); };
  };
  auto byEndsBackwards = [&](double wasteWeight) {
    return
        [&, wasteWeight] { return packByEndsBackwards(buffers, wasteWeight); };
  };
  // What helps most often comes first.
  const std::function<std::optional<TimedPacking>()> ways[] = {
      inOrder(Rule::smallest),
      inOrder(Rule::againOrSmallest),
      byEnds(1.0 / 16),
      byEnds(1.0 / 64),
      byEnds(1.0 / 4),
      [&] { return Turns(buffers, true).pack(Rule::smallest); },
      inOrder(Rule::again),
      inOrder(Rule::lowest),
      [&] { return packInSizeClasses(buffers); },
      byEndsBackwards(1.0 / 4),
      byEndsBackwards(1.0 / 16),
      byEnds(1.0 / 256),
      byEnds(1.0),
      [&] { return packLargestFirst(buffers); }};
  int64_t least = std::numeric_limits<int64_t>::max();
  std::vector<int64_t> best;
  size_t packed = 0;
  for (const auto &way : ways) {
    std::optional<TimedPacking> made = way();
    packed += buffers.size();
    if (made && made->height < least)
      if (const int64_t height = judge.heightOf(*made); height < least) {
        least = height;
        best = std::move(made->offsets);
      }
    if (least <= judge.enough || packed >= kMostPacked)
      break;
  }
  return best;
}

std::vector<int64_t> packTimed(const std::vector<TimedBuffer> &buffers) {
  const int64_t bound = mostLive(buffers);
  return packTimed(
      buffers, {bound + bound / 256,
                [](const TimedPacking &packing) { return packing.height; }});
}

} // namespace moe::optimize
