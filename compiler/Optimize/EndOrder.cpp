#include "compiler/Optimize/EndOrder.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <tuple>
#include <utility>

namespace moe::optimize {
namespace {

class EndPacker {
public:
  EndPacker(const std::vector<TimedBuffer> &buffers, double wasteWeight)
      : buffers(buffers), made{0, std::vector<int64_t>(buffers.size(), 0)} {
    double bytes = 0, moments = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const TimedBuffer &buffer = buffers[i];
      if (buffer.size == 0)
        continue;
      byBegin.push_back(i);
      bytes += static_cast<double>(buffer.size);
      moments += static_cast<double>(buffer.end - buffer.begin);
    }
    momentsPerByte = bytes == 0 ? 0 : wasteWeight * moments / bytes;
    byEnd = byBegin;
    std::sort(byBegin.begin(), byBegin.end(), [&](size_t a, size_t b) {
      return std::tuple(buffers[a].begin, -buffers[a].size, a) <
             std::tuple(buffers[b].begin, -buffers[b].size, b);
    });
    std::sort(byEnd.begin(), byEnd.end(), [&](size_t a, size_t b) {
      return std::pair(buffers[a].end, a) < std::pair(buffers[b].end, b);
    });
  }

  TimedPacking run() {
    auto gone = byEnd.begin();
    for (size_t i : byBegin) {
      for (; buffers[*gone].end <= buffers[i].begin; ++gone)
        living.erase(placeOf(made.offsets[*gone]));
      const int64_t at = choose(buffers[i]);
      made.offsets[i] = at;
      made.height = std::max(made.height, at + buffers[i].size);
      living.insert(placeOf(at), {at, at + buffers[i].size, buffers[i].end});
    }
    return std::move(made);
  }

private:
  /// Bytes that a buffer has until `until`.
  struct Living {
    int64_t begin, end, until;
  };

  std::vector<Living>::iterator placeOf(int64_t offset) {
    return std::lower_bound(
        living.begin(), living.end(), offset,
        [](const Living &each, int64_t begin) { return each.begin < begin; });
  }

  /// Above all that lives, if there is no gap.
  int64_t choose(const TimedBuffer &buffer) const {
    double least = std::numeric_limits<double>::max();
    int64_t chosen = living.empty() ? 0 : living.back().end;
    for (size_t i = 0; i < living.size(); ++i) {
      const int64_t low = i == 0 ? 0 : living[i - 1].end;
      const int64_t waste = living[i].begin - low - buffer.size;
      if (waste < 0)
        continue;
      auto consider = [&](int64_t offset, int64_t until) {
        const double cost = std::abs(static_cast<double>(until - buffer.end)) +
                            static_cast<double>(waste) * momentsPerByte;
        if (cost < least) {
          least = cost;
          chosen = offset;
        }
      };
      // Nothing below the lowest bytes ever ends.
      consider(low, i == 0 ? buffer.end : living[i - 1].until);
      consider(living[i].begin - buffer.size, living[i].until);
    }
    return chosen;
  }

  const std::vector<TimedBuffer> &buffers;
  TimedPacking made;
  double momentsPerByte = 0;
  std::vector<size_t> byBegin, byEnd; ///< buffers of some size
  std::vector<Living> living;         ///< by rising offset
};

} // namespace

TimedPacking packByEnds(const std::vector<TimedBuffer> &buffers,
                        double wasteWeight) {
  return EndPacker(buffers, wasteWeight).run();
}

} // namespace moe::optimize
