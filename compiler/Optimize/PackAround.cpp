#include "compiler/Optimize/PackAround.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

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
      clusters.push_back({buffer.begin, buffer.end, {}, 0});
    clusters.back().end = std::max(clusters.back().end, buffer.end);
    clusters.back().members.push_back(i);
  }
  std::map<std::vector<int64_t>, size_t> shapes;
  for (TimedCluster &cluster : clusters) {
    auto keyOf = [&](uint32_t i) {
      return std::tuple(-buffers[i].size, buffers[i].begin, buffers[i].end, i);
    };
    std::sort(cluster.members.begin(), cluster.members.end(),
              [&](uint32_t a, uint32_t b) { return keyOf(a) < keyOf(b); });
    std::vector<int64_t> shape;
    for (uint32_t i : cluster.members)
      shape.insert(shape.end(),
                   {buffers[i].size, buffers[i].begin - cluster.begin,
                    buffers[i].end - cluster.begin});
    cluster.shape =
        shapes.try_emplace(std::move(shape), shapes.size()).first->second;
  }
  return clusters;
}

ClusterOrder::ClusterOrder(size_t members) : places(members) {
  std::iota(places.begin(), places.end(), 0);
}

int64_t packAround(const std::vector<TimedBuffer> &buffers,
                   const TimedCluster &cluster, ClusterOrder &order,
                   const std::vector<TimedBox> &others, int64_t goal,
                   int64_t limit, std::vector<int64_t> &offsets,
                   size_t &packed) {
  const std::vector<TimedBox> around = boxesDuring(cluster, others);
  std::vector<uint32_t> places = order.places;
  std::vector<int64_t> lows(places.size());
  std::vector<TimedBox> boxes;
  int64_t best = kNoLimit;
  for (int tried = 0; tried <= order.tries; ++tried) {
    boxes = around;
    const int64_t tooHigh = limit < best ? limit + 1 : best;
    int64_t reach = 0;
    size_t n = 0, highest = 0;
    for (; n < places.size() && reach < tooHigh; ++n) {
      const TimedBuffer &buffer = buffers[cluster.members[places[n]]];
      const int64_t low = lows[places[n]] = lowestFree(boxes, buffer);
      const int64_t high = low + buffer.size;
      boxes.insert(std::upper_bound(boxes.begin(), boxes.end(), low,
                                    [](int64_t at, const TimedBox &each) {
                                      return at < each.low;
                                    }),
                   {buffer.begin, buffer.end, low, high});
      if (high + buffer.above > reach) {
        reach = high + buffer.above;
        highest = n;
      }
    }
    packed += n;
    if (reach < tooHigh) {
      best = reach;
      order.places = places;
      for (size_t place = 0; place < lows.size(); ++place)
        offsets[cluster.members[place]] = lows[place];
    }
    // What goes first cannot lie lower.
    if (best <= goal || highest == 0)
      break;
    const auto first = places.begin() + static_cast<ptrdiff_t>(highest);
    std::rotate(places.begin(), first, first + 1);
  }
  if (best == kNoLimit)
    order.places = std::move(places); // to go on from there
  if (best > goal)
    order.tries = std::max(ClusterOrder::kFewestTries, order.tries / 2);
  return best;
}

} // namespace moe::optimize
