#include "compiler/Optimize/PackAround.h"

#include <algorithm>
#include <tuple>

namespace moe::optimize {
namespace {

/// Those that a cluster meets; what fills its whole time without a gap as one
/// box.
std::vector<TimedBox> boxesDuring(const TimedCluster &cluster,
                                  const std::vector<TimedBox> &boxes) {
  std::vector<TimedBox> met;
  bool wasWhole = false;
  for (const TimedBox &box : boxes) {
    if (box.end <= cluster.begin || box.begin >= cluster.end)
      continue;
    const bool isWhole = box.begin <= cluster.begin && box.end >= cluster.end;
    if (isWhole && wasWhole && met.back().high == box.low)
      met.back().high = box.high;
    else
      met.push_back(box);
    wasWhole = isWhole;
  }
  return met;
}

/// The lowest bytes that `boxes`, which rise, leave free.
int64_t lowestFree(const std::vector<TimedBox> &boxes,
                   const TimedBuffer &buffer) {
  int64_t at = 0;
  for (const TimedBox &box : boxes) {
    if (box.end <= buffer.begin || box.begin >= buffer.end)
      continue;
    if (box.low - at >= buffer.size)
      break;
    at = std::max(at, box.high);
  }
  return at;
}

} // namespace

std::vector<TimedCluster> clustersOf(const std::vector<TimedBuffer> &buffers) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(buffers[a].begin, a) < std::pair(buffers[b].begin, b);
  });
  std::vector<TimedCluster> clusters;
  for (uint32_t i : order) {
    const TimedBuffer &buffer = buffers[i];
    if (clusters.empty() || buffer.begin >= clusters.back().end)
      clusters.push_back({buffer.begin, buffer.end, {}});
    clusters.back().end = std::max(clusters.back().end, buffer.end);
    clusters.back().members.push_back(i);
  }
  for (TimedCluster &cluster : clusters)
    std::sort(cluster.members.begin(), cluster.members.end(),
              [&](uint32_t a, uint32_t b) {
                return std::tuple(-buffers[a].size, buffers[a].begin, a) <
                       std::tuple(-buffers[b].size, buffers[b].begin, b);
              });
  return clusters;
}

int64_t packAround(const std::vector<TimedBuffer> &buffers,
                   TimedCluster &cluster, const std::vector<TimedBox> &others,
                   int64_t limit, std::vector<int64_t> &offsets,
                   size_t &packed) {
  const std::vector<TimedBox> around = boxesDuring(cluster, others);
  std::vector<uint32_t> &order = cluster.members;
  std::vector<TimedBox> boxes;
  for (int tried = 0;; ++tried) {
    boxes = around;
    int64_t reach = 0;
    size_t n = 0;
    for (; n < order.size() && reach <= limit; ++n) {
      const TimedBuffer &buffer = buffers[order[n]];
      const int64_t low = offsets[order[n]] = lowestFree(boxes, buffer);
      const int64_t high = low + buffer.size;
      boxes.insert(std::upper_bound(boxes.begin(), boxes.end(), low,
                                    [](int64_t at, const TimedBox &each) {
                                      return at < each.low;
                                    }),
                   {buffer.begin, buffer.end, low, high});
      reach = std::max(reach, high + buffer.above);
    }
    packed += n;
    if (reach <= limit || n == 1 || tried == kAroundTries)
      return reach;
    const auto tooHigh = order.begin() + static_cast<ptrdiff_t>(n) - 1;
    std::rotate(order.begin(), tooHigh, tooHigh + 1);
  }
}

} // namespace moe::optimize
