#include "compiler/Optimize/SizeClasses.h"

#include <algorithm>
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
  }

  std::optional<TimedPacking> run() {
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
        int64_t height = best[from].height + place(from, to, best[from].height);
        if (height < best[to].height)
          best[to] = {height, from};
      }
    made.height = best.back().height;
    for (size_t to = sizes.size(); to > 0; to = best[to].from)
      place(best[to].from, to, best[best[to].from].height);
    return std::move(made);
  }

private:
  /// Places the class of these sizes from `base` upwards, and returns how high
  /// it is. Intervals in order of begin need no more columns than live at a
  /// time.
  int64_t place(size_t from, size_t to, int64_t base) {
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
    int64_t columns = 0;
    for (size_t i : members) {
      int64_t column = columns;
      if (!ends.empty() && ends.top().first <= buffers[i].begin) {
        column = ends.top().second;
        ends.pop();
      } else {
        ++columns;
      }
      ends.push({buffers[i].end, column});
      made.offsets[i] = base + column * width;
    }
    return columns * width;
  }

  const std::vector<TimedBuffer> &buffers;
  std::vector<int64_t> sizes;                 ///< rising
  std::vector<std::vector<size_t>> membersOf; ///< by size
  TimedPacking made;
};

} // namespace

std::optional<TimedPacking>
packInSizeClasses(const std::vector<TimedBuffer> &buffers) {
  return ClassPacker(buffers).run();
}

} // namespace moe::optimize
