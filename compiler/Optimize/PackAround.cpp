#include "compiler/Optimize/PackAround.h"

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace moe::optimize {
namespace {

/// Bytes [low, high) that are taken over [begin, end).
struct Box {
  int64_t begin, end, low, high;
};

bool isLower(const Box &a, const Box &b) {
  return std::tuple(a.low, a.begin) < std::tuple(b.low, b.begin);
}

void insert(std::vector<Box> &rising, const Box &box) {
  rising.insert(std::upper_bound(rising.begin(), rising.end(), box, isLower),
                box);
}

std::vector<size_t> byBegin(const std::vector<TimedBuffer> &buffers) {
  std::vector<size_t> order;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tuple(buffers[a].begin, a) < std::tuple(buffers[b].begin, b);
  });
  return order;
}

/// What is placed and lives at a time that only rises, by rising offset.
class Surroundings {
public:
  Surroundings(const std::vector<TimedBuffer> &placed,
               const std::vector<int64_t> &places)
      : placed(placed), places(places), order(byBegin(placed)) {}

  /// Over [begin, end), which is no earlier than before. What fills the whole
  /// time without a gap is one box.
  std::vector<Box> during(int64_t begin, int64_t end) {
    std::erase_if(living, [&](const Box &box) { return box.end <= begin; });
    for (; next < order.size() && placed[order[next]].begin < end; ++next) {
      const TimedBuffer &buffer = placed[order[next]];
      const int64_t low = places[order[next]];
      if (buffer.end > begin)
        insert(living, {buffer.begin, buffer.end, low, low + buffer.size});
    }
    std::vector<Box> boxes;
    bool wasWhole = false;
    for (const Box &box : living) {
      const bool isWhole = box.begin <= begin && box.end >= end;
      if (isWhole && wasWhole && boxes.back().high == box.low)
        boxes.back().high = box.high;
      else
        boxes.push_back(box);
      wasWhole = isWhole;
    }
    return boxes;
  }

private:
  const std::vector<TimedBuffer> &placed;
  const std::vector<int64_t> &places;
  std::vector<size_t> order; ///< of `placed`, by rising begin
  size_t next = 0;           ///< in `order`
  std::vector<Box> living;
};

/// The lowest bytes that `boxes`, which rise, leave free.
int64_t lowestFree(const std::vector<Box> &boxes, const TimedBuffer &buffer) {
  int64_t at = 0;
  for (const Box &box : boxes) {
    if (box.end <= buffer.begin || box.begin >= buffer.end)
      continue;
    if (box.low - at >= buffer.size)
      break;
    at = std::max(at, box.high);
  }
  return at;
}

} // namespace

std::vector<int64_t> packAround(const std::vector<TimedBuffer> &placed,
                                const std::vector<int64_t> &places,
                                const std::vector<TimedBuffer> &buffers) {
  std::vector<int64_t> offsets(buffers.size(), 0);
  Surroundings surroundings(placed, places);
  const std::vector<size_t> order = byBegin(buffers);
  for (size_t first = 0; first < order.size();) {
    int64_t end = buffers[order[first]].end;
    size_t last = first + 1;
    for (; last < order.size() && buffers[order[last]].begin < end; ++last)
      end = std::max(end, buffers[order[last]].end);
    auto at = [&](size_t i) {
      return order.begin() + static_cast<std::ptrdiff_t>(i);
    };
    std::vector<size_t> together(at(first), at(last));
    std::sort(together.begin(), together.end(), [&](size_t a, size_t b) {
      return std::tuple(-buffers[a].size, buffers[a].begin, a) <
             std::tuple(-buffers[b].size, buffers[b].begin, b);
    });
    std::vector<Box> boxes =
        surroundings.during(buffers[order[first]].begin, end);
    for (size_t i : together) {
      const TimedBuffer &buffer = buffers[i];
      offsets[i] = lowestFree(boxes, buffer);
      insert(boxes,
             {buffer.begin, buffer.end, offsets[i], offsets[i] + buffer.size});
    }
    first = last;
  }
  return offsets;
}

} // namespace moe::optimize
