#include "compiler/Optimize/Offsets.h"

#include "compiler/Optimize/PackingSearch.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <utility>

namespace moe::optimize {

Status PackingProblem::check() const {
  constexpr int64_t limit = int64_t{1} << 62;
  int64_t total = 0;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Buffer &buffer = buffers[i];
    auto fail = [&](const std::string &what) -> Status {
      return Error{"packing: buffer " + std::to_string(i) + ": " + what};
    };
    if (buffer.size < 0)
      return fail("size must not be negative, is " +
                  std::to_string(buffer.size));
    if (buffer.above < 0 || buffer.above > limit)
      return fail("what is above must be from 0 to 2^62, is " +
                  std::to_string(buffer.above));
    if (buffer.alignment < 1)
      return fail("alignment must be at least 1, is " +
                  std::to_string(buffer.alignment));
    auto checkLifetime = [&](Lifetime life) -> Status {
      if (life.begin < life.end)
        return {};
      return fail("begin must be before end, lifetime is [" +
                  std::to_string(life.begin) + ", " + std::to_string(life.end) +
                  ")");
    };
    MOE_RETURN_IF_ERROR(checkLifetime({buffer.begin, buffer.end}));
    int64_t before = buffer.end;
    for (Lifetime life : buffer.later) {
      MOE_RETURN_IF_ERROR(checkLifetime(life));
      if (life.begin < before)
        return fail("a later lifetime begins at " + std::to_string(life.begin) +
                    ", before the one that ends at " + std::to_string(before));
      before = life.end;
    }
    if (buffer.size > limit - total ||
        buffer.alignment > limit - total - buffer.size)
      return fail("the sum of sizes and alignments exceeds 2^62");
    total += buffer.size + buffer.alignment;
  }
  return {};
}

namespace {

/// Calls `visit` with each lifetime of a buffer.
template <typename Visit>
void forEachLifetime(const Buffer &buffer, Visit visit) {
  visit(Lifetime{buffer.begin, buffer.end});
  for (Lifetime life : buffer.later)
    visit(life);
}

/// The most bytes that those of `subset` hold at any time, with the least of
/// what is above them then.
int64_t maxLiveOf(const std::vector<Buffer> &buffers,
                  const std::vector<uint32_t> &subset) {
  struct Event {
    int64_t time, change, above;
  };
  std::vector<Event> events;
  events.reserve(2 * subset.size());
  for (uint32_t i : subset)
    forEachLifetime(buffers[i], [&](Lifetime life) {
      if (buffers[i].size == 0)
        return;
      events.push_back({life.begin, buffers[i].size, buffers[i].above});
      events.push_back({life.end, -buffers[i].size, buffers[i].above});
    });
  // Intervals are half-open: at one time, ends come before begins.
  std::sort(events.begin(), events.end(), [](const Event &a, const Event &b) {
    return a.time != b.time ? a.time < b.time : a.change < b.change;
  });
  std::map<int64_t, int64_t> aboves; // how many have so much above them
  int64_t live = 0, most = 0;
  for (const auto [time, change, above] : events) {
    live += change;
    if ((aboves[above] += change > 0 ? 1 : -1) == 0)
      aboves.erase(above);
    if (!aboves.empty())
      most = std::max(most, live + aboves.begin()->first);
  }
  return most;
}

/// For every buffer with bytes, the others that live at the same time, each as
/// often as their lifetimes meet: the neighbours of i are list[start[i]] ..
/// list[start[i + 1]].
struct Overlaps {
  std::vector<size_t> start;
  std::vector<uint32_t> list;
};

/// A lifetime of a buffer.
struct Span {
  Lifetime life;
  uint32_t buffer = 0;
};

/// Lifetimes of buffers with bytes, by begin.
std::vector<Span> byBegin(const std::vector<Buffer> &buffers) {
  std::vector<Span> spans;
  for (uint32_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      forEachLifetime(buffers[i],
                      [&](Lifetime life) { spans.push_back({life, i}); });
  std::sort(spans.begin(), spans.end(), [](const Span &a, const Span &b) {
    return a.life.begin != b.life.begin ? a.life.begin < b.life.begin
                                        : a.buffer < b.buffer;
  });
  return spans;
}

/// Calls `visit(i, j)` for each pair of lifetimes, of the buffers i and j, that
/// meet.
template <typename Visit>
void forEachOverlap(const std::vector<Span> &spans, Visit visit) {
  std::vector<Span> live;
  for (const Span &span : spans) {
    size_t kept = 0;
    for (const Span &other : live)
      if (other.life.end > span.life.begin) {
        live[kept++] = other;
        visit(span.buffer, other.buffer);
      }
    live.resize(kept);
    live.push_back(span);
  }
}

Overlaps findOverlaps(const std::vector<Buffer> &buffers) {
  Overlaps overlaps;
  std::vector<Span> spans = byBegin(buffers);
  overlaps.start.assign(buffers.size() + 1, 0);
  forEachOverlap(spans, [&](uint32_t i, uint32_t j) {
    ++overlaps.start[i + 1];
    ++overlaps.start[j + 1];
  });
  std::partial_sum(overlaps.start.begin(), overlaps.start.end(),
                   overlaps.start.begin());
  overlaps.list.resize(overlaps.start.back());
  std::vector<size_t> fill(overlaps.start.begin(), overlaps.start.end() - 1);
  forEachOverlap(spans, [&](uint32_t i, uint32_t j) {
    overlaps.list[fill[i]++] = j;
    overlaps.list[fill[j]++] = i;
  });
  return overlaps;
}

/// Buffers that can be packed apart from all others.
struct Component {
  std::vector<uint32_t> buffers; ///< rising
  int64_t bound = 0;             ///< most bytes live at any time
};

/// The components of buffers with bytes, by falling bound.
std::vector<Component> findComponents(const std::vector<Buffer> &buffers,
                                      const Overlaps &overlaps) {
  std::vector<Component> components;
  std::vector<bool> seen(buffers.size());
  for (uint32_t first = 0; first < buffers.size(); ++first) {
    if (seen[first] || buffers[first].size == 0)
      continue;
    Component component;
    std::vector<uint32_t> &members = component.buffers;
    members.push_back(first);
    seen[first] = true;
    for (size_t next = 0; next < members.size(); ++next)
      for (size_t k = overlaps.start[members[next]];
           k < overlaps.start[members[next] + 1]; ++k)
        if (uint32_t other = overlaps.list[k]; !seen[other]) {
          seen[other] = true;
          members.push_back(other);
        }
    std::sort(members.begin(), members.end());
    component.bound = maxLiveOf(buffers, members);
    components.push_back(std::move(component));
  }
  std::sort(components.begin(), components.end(),
            [](const Component &a, const Component &b) {
              return a.bound != b.bound ? a.bound > b.bound
                                        : a.buffers.front() < b.buffers.front();
            });
  return components;
}

constexpr int64_t kUnplaced = -1;
constexpr int64_t kNoHeight = std::numeric_limits<int64_t>::max();

int64_t alignTo(int64_t offset, int64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

/// Where buffers came to lie, one after the other.
struct Placed {
  int64_t height = 0;
  size_t highest = 0; ///< in their order, the first that reached that high
  size_t visits = 0;  ///< of overlaps
};

/// Places the buffers in `order`, none of which has an offset yet, each at the
/// lowest free one, until one reaches as high as `tooHigh`.
Placed placeInOrder(const std::vector<Buffer> &buffers,
                    const Overlaps &overlaps,
                    const std::vector<uint32_t> &order, int64_t tooHigh,
                    std::vector<int64_t> &offsets) {
  struct Range {
    int64_t begin, end;
  };
  std::vector<Range> taken;
  Placed placed;
  for (size_t n = 0; n < order.size() && placed.height < tooHigh; ++n) {
    const uint32_t i = order[n];
    const Buffer &buffer = buffers[i];
    taken.clear();
    for (size_t k = overlaps.start[i]; k < overlaps.start[i + 1]; ++k) {
      uint32_t j = overlaps.list[k];
      if (offsets[j] != kUnplaced)
        taken.push_back({offsets[j], offsets[j] + buffers[j].size});
    }
    placed.visits += overlaps.start[i + 1] - overlaps.start[i];
    std::sort(taken.begin(), taken.end(),
              [](Range a, Range b) { return a.begin < b.begin; });
    int64_t offset = 0;
    for (Range range : taken) {
      if (offset + buffer.size <= range.begin)
        break;
      offset = std::max(offset, alignTo(range.end, buffer.alignment));
    }
    offsets[i] = offset;
    if (const int64_t height = offset + buffer.size + buffer.above;
        height > placed.height) {
      placed.height = height;
      placed.highest = n;
    }
  }
  return placed;
}

/// Buffers are taken by descending key; equal keys by the next one, then by
/// index.
struct Order {
  std::string_view name;
  std::array<int64_t, 3> (*key)(const Buffer &);
};

int64_t lifetime(const Buffer &buffer) {
  int64_t sum = 0;
  forEachLifetime(buffer, [&](Lifetime life) { sum += life.end - life.begin; });
  return sum;
}

int64_t endOf(const Buffer &buffer) {
  return buffer.later.empty() ? buffer.end : buffer.later.back().end;
}

constexpr Order kOrders[] = {
    {"above",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{b.above, b.size, lifetime(b)};
     }},
    {"above, longest first",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{b.above, lifetime(b), b.size};
     }},
    {"size",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{b.size, lifetime(b), -b.begin};
     }},
    {"lifetime",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{lifetime(b), b.size, -b.begin};
     }},
    {"area",
     [](const Buffer &b) {
       // Saturates: the order only has to be reproducible.
       double area =
           static_cast<double>(b.size) * static_cast<double>(lifetime(b));
       return std::array<int64_t, 3>{
           static_cast<int64_t>(std::min(area, 0x1p62)), b.size, -b.begin};
     }},
    {"begin",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{-b.begin, b.size, lifetime(b)};
     }},
    {"begin, longest first",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{-b.begin, lifetime(b), b.size};
     }},
    {"end",
     [](const Buffer &b) {
       return std::array<int64_t, 3>{endOf(b), b.size, -b.begin};
     }},
};

/// The buffers of a component in an order of placement.
std::vector<uint32_t> sorted(const std::vector<Buffer> &buffers,
                             const Component &component, const Order &by) {
  struct Key {
    std::array<int64_t, 3> key;
    uint32_t buffer;
  };
  std::vector<Key> keys;
  keys.reserve(component.buffers.size());
  for (uint32_t i : component.buffers)
    keys.push_back({by.key(buffers[i]), i});
  std::sort(keys.begin(), keys.end(), [](const Key &a, const Key &b) {
    return a.key != b.key ? a.key > b.key : a.buffer < b.buffer;
  });
  std::vector<uint32_t> order;
  for (const Key &key : keys)
    order.push_back(key.buffer);
  return order;
}

/// Where the members of a component lie, and what is known of that.
struct Packed {
  int64_t height = kNoHeight;
  int64_t bound = 0;
  std::string_view order;
  std::vector<int64_t> offsets; ///< of the members
};

/// Packs a component in orders, and keeps the lowest.
class GreedyPacker {
public:
  GreedyPacker(const std::vector<Buffer> &buffers, const Overlaps &overlaps,
               const Component &component, std::vector<int64_t> &offsets)
      : buffers(buffers), overlaps(overlaps), component(component),
        offsets(offsets) {
    best.bound = component.bound;
  }

  /// Any packing that does not reach above `enough` is as good as the lowest.
  Packed run(int64_t enough) {
    for (const Order &candidate : kOrders) {
      place(sorted(buffers, component, candidate), kNoHeight, candidate.name);
      if (best.height <= enough)
        break;
    }
    squeak(enough);
    return std::move(best);
  }

private:
  /// See placeInOrder(). What is lower than the lowest replaces it.
  Placed place(std::vector<uint32_t> order, int64_t tooHigh,
               std::string_view name) {
    for (uint32_t i : component.buffers)
      offsets[i] = kUnplaced;
    const Placed placed =
        placeInOrder(buffers, overlaps, order, tooHigh, offsets);
    if (placed.height < best.height) {
      best.height = placed.height;
      best.order = name;
      best.offsets.clear();
      for (uint32_t i : component.buffers)
        best.offsets.push_back(offsets[i]);
      orderOfBest = std::move(order);
      highestOfBest = placed.highest;
    }
    return placed;
  }

  /// Places again and again, what reached highest, or as high as the lowest
  /// packing, before all others, as long as that one reaches further above
  /// `enough` than is worth it.
  void squeak(int64_t enough) {
    constexpr size_t kMostRounds = 256, kMostVisits = size_t{1} << 19;
    constexpr int64_t kWorth = 512; // part of what is enough
    std::vector<uint32_t> order = orderOfBest;
    size_t highest = highestOfBest, visits = 0;
    for (size_t round = 0;
         round < kMostRounds && visits < kMostVisits &&
         best.height - enough > enough / kWorth && highest > 0;
         ++round) {
      const auto first = order.begin() + static_cast<ptrdiff_t>(highest);
      std::rotate(order.begin(), first, first + 1);
      const Placed placed = place(order, best.height, "highest first");
      highest = placed.highest;
      visits += placed.visits;
    }
  }

  const std::vector<Buffer> &buffers;
  const Overlaps &overlaps;
  const Component &component;
  std::vector<int64_t> &offsets; ///< of all buffers
  Packed best;
  std::vector<uint32_t> orderOfBest;
  size_t highestOfBest = 0; ///< Placed::highest
};

/// Lowers a packing, as long as there are steps and a gap above `enough`.
void improve(const PackingProblem &problem, const Component &component,
             int64_t enough, int64_t &steps, Packed &packed) {
  constexpr int64_t triesForGap = 16;
  int64_t share = std::max<int64_t>(1, steps / 2 / triesForGap);
  int64_t missed = std::max(packed.bound, enough);
  auto tryHeight = [&](int64_t height, int64_t limit) {
    FitAnswer answer = fitUnder(problem, component.buffers, height, limit);
    steps -= std::max<int64_t>(1, answer.steps);
    if (answer.fit == Fit::yes) {
      packed.offsets = std::move(answer.offsets);
      packed.order = "search";
      packed.height = 0;
      for (size_t i = 0; i < component.buffers.size(); ++i)
        packed.height = std::max(
            packed.height,
            packed.offsets[i] + problem.buffers[component.buffers[i]].size);
      return;
    }
    if (answer.fit == Fit::no)
      packed.bound = std::max(packed.bound, height + 1);
    missed = height;
  };
  // The lowest there could be, for half of the steps; then the middle between
  // what was not found and what was.
  if (steps > 0 && packed.height > missed)
    tryHeight(missed, std::max<int64_t>(1, steps / 2));
  while (steps > 0 && packed.height > missed + 1)
    tryHeight(missed + (packed.height - missed) / 2, std::min(steps, share));
}

} // namespace

int64_t maxLive(const PackingProblem &problem) {
  std::vector<uint32_t> all(problem.buffers.size());
  std::iota(all.begin(), all.end(), 0);
  return maxLiveOf(problem.buffers, all);
}

PackingSolution pack(const PackingProblem &problem, int64_t searchSteps) {
  assert(problem.check().ok());
  const std::vector<Buffer> &buffers = problem.buffers;
  Overlaps overlaps = findOverlaps(buffers);
  bool hasNothingAbove =
      std::all_of(buffers.begin(), buffers.end(),
                  [](const Buffer &buffer) { return buffer.above == 0; });
  PackingSolution solution;
  solution.order = kOrders[0].name;
  solution.offsets.assign(buffers.size(), kUnplaced);
  for (const Component &component : findComponents(buffers, overlaps)) {
    // What does not reach above the others does not make the whole lower.
    Packed packed = GreedyPacker(buffers, overlaps, component, solution.offsets)
                        .run(std::max(component.bound, solution.height));
    if (hasNothingAbove)
      improve(problem, component, solution.height, searchSteps, packed);
    for (size_t i = 0; i < component.buffers.size(); ++i)
      solution.offsets[component.buffers[i]] = packed.offsets[i];
    solution.lowerBound = std::max(solution.lowerBound, packed.bound);
    if (packed.height > solution.height) {
      solution.height = packed.height;
      solution.order = packed.order;
    }
  }
  for (int64_t &offset : solution.offsets)
    offset = std::max<int64_t>(offset, 0); // buffers without bytes
  return solution;
}

Status verify(const PackingProblem &problem, const PackingSolution &solution) {
  MOE_RETURN_IF_ERROR(problem.check());
  const std::vector<Buffer> &buffers = problem.buffers;
  if (solution.offsets.size() != buffers.size())
    return Error{"packing: there are " +
                 std::to_string(solution.offsets.size()) + " offsets for " +
                 std::to_string(buffers.size()) + " buffers"};
  int64_t height = 0;
  for (size_t i = 0; i < buffers.size(); ++i) {
    int64_t offset = solution.offsets[i];
    if (offset < 0 || offset % buffers[i].alignment != 0)
      return Error{"packing: buffer " + std::to_string(i) + ": offset " +
                   std::to_string(offset) + " is not a multiple of " +
                   std::to_string(buffers[i].alignment)};
    if (buffers[i].size > 0)
      height = std::max(height, offset + buffers[i].size + buffers[i].above);
  }
  if (height != solution.height)
    return Error{"packing: height is " + std::to_string(solution.height) +
                 ", the highest buffer ends at " + std::to_string(height)};
  Status status;
  forEachOverlap(byBegin(buffers), [&](uint32_t i, uint32_t j) {
    if (status.ok() &&
        solution.offsets[i] < solution.offsets[j] + buffers[j].size &&
        solution.offsets[j] < solution.offsets[i] + buffers[i].size)
      status = Error{"packing: buffers " + std::to_string(std::min(i, j)) +
                     " and " + std::to_string(std::max(i, j)) +
                     " live at the same time and share bytes"};
  });
  return status;
}

} // namespace moe::optimize
