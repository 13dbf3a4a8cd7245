#include "compiler/Optimize/SizeClasses.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <compare>
#include <functional>
#include <limits>
#include <map>
#include <queue>
#include <utility>

namespace moe::optimize {
namespace {

constexpr size_t kMostSizes = 24;

class ClassPacker {
public:
  explicit ClassPacker(const std::vector<TimedBuffer> &buffers)
      : buffers(buffers), made{0, std::vector<int64_t>(buffers.size(), 0)} {
    std::map<int64_t, std::vector<size_t>> bySize;
    for (size_t i = 0; i < buffers.size(); ++i)
      if (buffers[i].size > 0)
        bySize[buffers[i].size].push_back(i);
    for (auto &[size, members] : bySize) {
      sizes.push_back(size);
      membersOf.push_back(std::move(members));
    }
    if (sizes.size() <= kMostSizes)
      countColumns();
  }

  std::optional<ClassPacking> run() {
    if (sizes.empty() || sizes.size() > kMostSizes)
      return std::nullopt;
    struct Best {
      int64_t height = std::numeric_limits<int64_t>::max();
      size_t from = 0; ///< the first size of the class that ends here
    };
    std::vector<Best> best(sizes.size() + 1); // by the sizes below
    best[0].height = 0;
    for (size_t from = 0; from < sizes.size(); ++from)
      for (size_t to = from + 1; to <= sizes.size(); ++to) {
        int64_t height = best[from].height + columns[from][to] * sizes[to - 1];
        if (height < best[to].height)
          best[to] = {height, from};
      }
    made.height = best.back().height;
    for (size_t to = sizes.size(); to > 0; to = best[to].from)
      place(best[to].from, to, best[best[to].from].height);
    return std::move(made);
  }

private:
  /// For all classes at once how many of their buffers live at a time.
  void countColumns() {
    struct Change {
      int64_t time;
      int64_t count; ///< -1 comes first: it makes room
      size_t size;
      auto operator<=>(const Change &) const = default;
    };
    std::vector<Change> changes;
    for (size_t size = 0; size < sizes.size(); ++size)
      for (size_t i : membersOf[size]) {
        changes.push_back({buffers[i].begin, 1, size});
        changes.push_back({buffers[i].end, -1, size});
      }
    std::sort(changes.begin(), changes.end());
    std::array<int64_t, kMostSizes + 1> below{}; // live ones of smaller sizes
    for (const Change &change : changes) {
      for (size_t to = change.size + 1; to <= sizes.size(); ++to)
        below[to] += change.count;
      if (change.count < 0)
        continue;
      for (size_t from = 0; from <= change.size; ++from)
        for (size_t to = change.size + 1; to <= sizes.size(); ++to)
          columns[from][to] =
              std::max(columns[from][to], below[to] - below[from]);
    }
  }

  /// Places the class of these sizes from `base` upwards. Intervals in order of
  /// begin need no more columns than live at a time.
  void place(size_t from, size_t to, int64_t base) {
    std::vector<size_t> members;
    for (size_t size = from; size < to; ++size)
      members.insert(members.end(), membersOf[size].begin(),
                     membersOf[size].end());
    std::sort(members.begin(), members.end(), [&](size_t a, size_t b) {
      return std::pair(buffers[a].begin, a) < std::pair(buffers[b].begin, b);
    });
    using End = std::pair<int64_t, int64_t>; ///< time and column
    std::priority_queue<End, std::vector<End>, std::greater<>> ends;
    const int64_t width = sizes[to - 1];
    int64_t count = 0;
    for (size_t i : members) {
      int64_t column = count;
      if (!ends.empty() && ends.top().first <= buffers[i].begin) {
        column = ends.top().second;
        ends.pop();
      } else {
        ++count;
      }
      ends.push({buffers[i].end, column});
      made.offsets[i] = base + column * width;
    }
    assert(count == columns[from][to]);
  }

  const std::vector<TimedBuffer> &buffers;
  std::vector<int64_t> sizes;                 ///< rising
  std::vector<std::vector<size_t>> membersOf; ///< by size
  /// Of the class of sizes [from, to), as many as live at a time.
  std::array<std::array<int64_t, kMostSizes + 1>, kMostSizes + 1> columns{};
  ClassPacking made;
};

} // namespace

std::optional<ClassPacking>
packInSizeClasses(const std::vector<TimedBuffer> &buffers) {
  return ClassPacker(buffers).run();
}

} // namespace moe::optimize
