#include "compiler/Schedule/WorkBound.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace moe::schedule {

/// Of `works`, which fall, on as many machines: one of the first k * ranks + 1
/// is the (k + 1)-th on its rank, and none is less than the last k + 1 of them.
static int64_t leastLargest(const std::vector<int64_t> &works, size_t ranks) {
  int64_t least = 0;
  for (size_t k = 0; k * ranks < works.size(); ++k) {
    const auto last = works.begin() + static_cast<ptrdiff_t>(k * ranks);
    least = std::max(least, std::accumulate(last - static_cast<ptrdiff_t>(k),
                                            last + 1, int64_t{0}));
  }
  return least;
}

int64_t leastNsOfAnyOrder(const std::vector<BlockWork> &blocks, int64_t ranks,
                          int64_t microbatches, int64_t copies) {
  int64_t allNs = 0;
  std::vector<int64_t> works; // of all copies, each with its microbatches
  for (const BlockWork &block : blocks) {
    const int64_t ns = block.forwardNs + block.backwardNs;
    allNs += ns * microbatches;
    works.insert(works.end(), static_cast<size_t>(copies),
                 ns * (microbatches / copies));
  }
  std::sort(works.begin(), works.end(), std::greater<>());
  // Ranks by their first stages: that many layers and all below them.
  int64_t waitedNs = 0;
  if (copies == 1) {
    int64_t layers = 0, comeNs = 0;
    for (const BlockWork &block : blocks) {
      if (block.isLayer && ++layers == ranks)
        break;
      comeNs += block.forwardNs;
      if (block.isLayer)
        waitedNs += comeNs;
    }
  }
  return std::max(leastLargest(works, static_cast<size_t>(ranks)),
                  (allNs + waitedNs) / ranks);
}

} // namespace moe::schedule
