#include "compiler/Optimize/Offsets.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <numeric>
#include <string>

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
    if (buffer.alignment < 1)
      return fail("alignment must be at least 1, is " +
                  std::to_string(buffer.alignment));
    if (buffer.begin >= buffer.end)
      return fail("begin must be before end, lifetime is [" +
                  std::to_string(buffer.begin) + ", " +
                  std::to_string(buffer.end) + ")");
    if (buffer.size > limit - total ||
        buffer.alignment > limit - total - buffer.size)
      return fail("the sum of sizes and alignments exceeds 2^62");
    total += buffer.size + buffer.alignment;
  }
  return {};
}

int64_t maxLive(const PackingProblem &problem) {
  struct Event {
    int64_t time, change;
  };
  std::vector<Event> events;
  events.reserve(2 * problem.buffers.size());
  for (const Buffer &buffer : problem.buffers) {
    events.push_back({buffer.begin, buffer.size});
    events.push_back({buffer.end, -buffer.size});
  }
  // Intervals are half-open: at one time, ends come before begins.
  std::sort(events.begin(), events.end(), [](const Event &a, const Event &b) {
    return a.time != b.time ? a.time < b.time : a.change < b.change;
  });
  int64_t live = 0, most = 0;
  for (const Event &event : events) {
    live += event.change;
    most = std::max(most, live);
  }
  return most;
}

namespace {

/// For every buffer with bytes, the others that live at the same time:
/// the neighbours of i are list[start[i]] .. list[start[i + 1]].
struct Overlaps {
  std::vector<size_t> start;
  std::vector<uint32_t> list;
};

/// Buffers with bytes, by begin.
std::vector<uint32_t> byBegin(const std::vector<Buffer> &buffers) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return buffers[a].begin != buffers[b].begin
               ? buffers[a].begin < buffers[b].begin
               : a < b;
  });
  return order;
}

/// Calls `visit(i, j)` once for each pair that lives at the same time.
template <typename Visit>
void forEachOverlap(const std::vector<Buffer> &buffers,
                    const std::vector<uint32_t> &order, Visit visit) {
  std::vector<uint32_t> live;
  for (uint32_t i : order) {
    size_t kept = 0;
    for (uint32_t j : live)
      if (buffers[j].end > buffers[i].begin) {
        live[kept++] = j;
        visit(i, j);
      }
    live.resize(kept);
    live.push_back(i);
  }
}

Overlaps findOverlaps(const std::vector<Buffer> &buffers) {
  Overlaps overlaps;
  std::vector<uint32_t> order = byBegin(buffers);
  overlaps.start.assign(buffers.size() + 1, 0);
  forEachOverlap(buffers, order, [&](uint32_t i, uint32_t j) {
    ++overlaps.start[i + 1];
    ++overlaps.start[j + 1];
  });
  std::partial_sum(overlaps.start.begin(), overlaps.start.end(),
                   overlaps.start.begin());
  overlaps.list.resize(overlaps.start.back());
  std::vector<size_t> fill(overlaps.start.begin(), overlaps.start.end() - 1);
  forEachOverlap(buffers, order, [&](uint32_t i, uint32_t j) {
    overlaps.list[fill[i]++] = j;
    overlaps.list[fill[j]++] = i;
  });
  return overlaps;
}

int64_t alignTo(int64_t offset, int64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

/// Places the buffers in `order`, each at the lowest free offset.
PackingSolution placeInOrder(const std::vector<Buffer> &buffers,
                             const Overlaps &overlaps,
                             const std::vector<uint32_t> &order) {
  PackingSolution solution;
  std::vector<int64_t> &offsets = solution.offsets;
  constexpr int64_t unplaced = -1;
  offsets.assign(buffers.size(), unplaced);
  struct Range {
    int64_t begin, end;
  };
  std::vector<Range> taken;
  for (uint32_t i : order) {
    const Buffer &buffer = buffers[i];
    taken.clear();
    for (size_t k = overlaps.start[i]; k < overlaps.start[i + 1]; ++k) {
      uint32_t j = overlaps.list[k];
      if (offsets[j] != unplaced)
        taken.push_back({offsets[j], offsets[j] + buffers[j].size});
    }
    std::sort(taken.begin(), taken.end(),
              [](Range a, Range b) { return a.begin < b.begin; });
    int64_t offset = 0;
    for (Range range : taken) {
      if (offset + buffer.size <= range.begin)
        break;
      offset = std::max(offset, alignTo(range.end, buffer.alignment));
    }
    offsets[i] = offset;
    solution.height = std::max(solution.height, offset + buffer.size);
  }
  for (int64_t &offset : offsets)
    offset = std::max<int64_t>(offset, 0); // buffers without bytes
  return solution;
}

/// Buffers are taken by descending key; equal keys by the next one, then by
/// index.
struct Order {
  std::string_view name;
  std::array<int64_t, 3> (*key)(const Buffer &);
};

int64_t lifetime(const Buffer &buffer) { return buffer.end - buffer.begin; }

constexpr Order kOrders[] = {
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
       return std::array<int64_t, 3>{b.end, b.size, -b.begin};
     }},
};

} // namespace

PackingSolution pack(const PackingProblem &problem) {
  assert(problem.check().ok());
  const std::vector<Buffer> &buffers = problem.buffers;
  Overlaps overlaps = findOverlaps(buffers);
  int64_t bound = maxLive(problem);
  PackingSolution best;
  for (const Order &candidate : kOrders) {
    std::vector<std::array<int64_t, 3>> keys;
    keys.reserve(buffers.size());
    for (const Buffer &buffer : buffers)
      keys.push_back(candidate.key(buffer));
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < buffers.size(); ++i)
      if (buffers[i].size > 0)
        order.push_back(i);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return keys[a] != keys[b] ? keys[a] > keys[b] : a < b;
    });
    PackingSolution solution = placeInOrder(buffers, overlaps, order);
    if (best.order.empty() || solution.height < best.height) {
      best = std::move(solution);
      best.order = candidate.name;
    }
    if (best.height == bound)
      break;
  }
  best.lowerBound = bound;
  return best;
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
      height = std::max(height, offset + buffers[i].size);
  }
  if (height != solution.height)
    return Error{"packing: height is " + std::to_string(solution.height) +
                 ", the highest buffer ends at " + std::to_string(height)};
  Status status;
  forEachOverlap(buffers, byBegin(buffers), [&](uint32_t i, uint32_t j) {
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
