#include "compiler/Optimize/SlotStack.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace moe::optimize {
namespace {

std::vector<size_t> sortedBy(size_t count, auto isBefore) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), isBefore);
  return order;
}

} // namespace

StackLayout layOutSlot(const std::vector<StackBuffer> &kept,
                       const std::vector<StackBuffer> &passing) {
  struct Placed {
    int64_t offset, end;
    Lifetime life;
  };
  StackLayout layout;
  std::vector<Placed> placed; // by rising offset
  layout.kept.resize(kept.size());
  for (size_t i : sortedBy(kept.size(), [&](size_t a, size_t b) {
         return std::tuple(-kept[a].life.end, kept[a].life.begin, a) <
                std::tuple(-kept[b].life.end, kept[b].life.begin, b);
       })) {
    layout.kept[i] = layout.bytes;
    layout.bytes += kept[i].bytes;
    placed.push_back({layout.kept[i], layout.bytes, kept[i].life});
  }
  layout.passing.resize(passing.size(), -1);
  for (size_t i : sortedBy(passing.size(), [&](size_t a, size_t b) {
         return std::tuple(-passing[a].bytes, passing[a].life.begin, a) <
                std::tuple(-passing[b].bytes, passing[b].life.begin, b);
       })) {
    const StackBuffer &buffer = passing[i];
    int64_t offset = 0;
    for (const Placed &other : placed) {
      if (other.life.begin >= buffer.life.end ||
          other.life.end <= buffer.life.begin)
        continue;
      if (offset + buffer.bytes <= other.offset)
        break;
      offset = std::max(offset, other.end);
    }
    if (offset + buffer.bytes > layout.bytes)
      continue;
    layout.passing[i] = offset;
    Placed made{offset, offset + buffer.bytes, buffer.life};
    placed.insert(std::upper_bound(placed.begin(), placed.end(), made,
                                   [](const Placed &a, const Placed &b) {
                                     return a.offset < b.offset;
                                   }),
                  made);
  }
  return layout;
}

} // namespace moe::optimize
