#include "compiler/Optimize/SlotHeights.h"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <utility>

namespace moe::optimize {
namespace {

/// Those of `count` instances that have a time, by rising time. `timeOf(i)`:
/// within 0 to `end`; -1: none. Linear, since packings are judged by it: by the
/// time's lower half, then by its upper one.
std::vector<uint32_t> byTime(size_t count, int64_t end, auto timeOf) {
  const int halfBits = (std::bit_width(static_cast<uint64_t>(end)) + 1) / 2;
  std::vector<uint32_t> order;
  for (size_t i = 0; i < count; ++i)
    if (timeOf(i) != -1)
      order.push_back(static_cast<uint32_t>(i));
  std::vector<uint32_t> sorted(order.size());
  for (int shift : {0, halfBits}) {
    const int64_t mask = (int64_t{1} << halfBits) - 1;
    std::vector<uint32_t> next(static_cast<size_t>(mask) + 2, 0);
    for (uint32_t i : order)
      ++next[static_cast<size_t>(timeOf(i) >> shift & mask) + 1];
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (uint32_t i : order)
      sorted[next[static_cast<size_t>(timeOf(i) >> shift & mask)]++] = i;
    order.swap(sorted);
  }
  return order;
}

/// Ends of what lives, by number: of the different ones, which are few, since
/// microbatches use the same places again and again.
class Tops {
public:
  Tops(const std::vector<SlotInstance> &instances,
       const std::vector<SlotRange> &ranges, int64_t base)
      : numberOf(instances.size(), 0) {
    auto topOf = [&](size_t instance) {
      const SlotInstance &at = instances[instance];
      return at.base - base + at.life.size;
    };
    // Microbatches in one slot have the same ends.
    std::map<std::pair<int64_t, int64_t>, size_t> firstOfSlot;
    for (const SlotRange &range : ranges) {
      auto [known, isNew] =
          firstOfSlot.try_emplace({range.stage, range.slot}, range.first);
      for (size_t i = 0; isNew && i < range.count; ++i)
        tops.push_back(topOf(range.first + i));
    }
    std::sort(tops.begin(), tops.end());
    tops.erase(std::unique(tops.begin(), tops.end()), tops.end());
    counts.resize(tops.size());
    for (const SlotRange &range : ranges) {
      const size_t same = firstOfSlot.at({range.stage, range.slot});
      for (size_t i = 0; i < range.count; ++i)
        numberOf[range.first + i] =
            same == range.first ? static_cast<uint32_t>(
                                      std::lower_bound(tops.begin(), tops.end(),
                                                       topOf(same + i)) -
                                      tops.begin())
                                : numberOf[same + i];
    }
  }

  void insert(size_t instance) {
    size_t number = numberOf[instance];
    ++counts[number];
    above = std::max(above, number + 1);
  }
  void erase(size_t instance) {
    --counts[numberOf[instance]];
    while (above > 0 && counts[above - 1] == 0)
      --above;
  }
  int64_t highest() const { return above == 0 ? 0 : tops[above - 1]; }

private:
  std::vector<uint32_t> numberOf; ///< of each instance
  std::vector<int64_t> tops;      ///< rising
  std::vector<int64_t> counts;    ///< of those that live
  size_t above = 0;               ///< behind the highest that lives
};

} // namespace

void SlotInstance::live(int64_t begin, int64_t end) {
  life.begin = std::min(life.begin, begin);
  life.end = std::max(life.end, end);
}

SlotHeights followHeights(const plan::Rank &rank, const Contexts &contexts,
                          const std::vector<SlotInstance> &instances,
                          const std::vector<SlotRange> &ranges,
                          const std::vector<int64_t> &begins, int64_t base,
                          const std::vector<int64_t> &beside) {
  auto lives = [&](size_t i) {
    return !instances[i].isOnHost && instances[i].lives();
  };
  auto beginOf = [&](size_t i) {
    return lives(i) ? instances[i].life.begin : -1;
  };
  auto endOf = [&](size_t i) { return lives(i) ? instances[i].life.end : -1; };
  const std::vector<uint32_t> begun =
      byTime(instances.size(), begins.back(), beginOf);
  const std::vector<uint32_t> ended =
      byTime(instances.size(), begins.back(), endOf);
  auto nextBegun = begun.begin(), nextEnded = ended.begin();
  SlotHeights heights;
  for (const Context &context : contexts.all())
    heights.inContext.emplace_back(context.length());
  heights.liveInContext = heights.inContext;
  heights.atStep.resize(rank.steps.size());
  Tops tops(instances, ranges, base);
  int64_t live = 0;
  for (size_t i = 0; i < rank.steps.size(); ++i) {
    const plan::Step &step = rank.steps[i];
    const int64_t besideStep = beside.empty() ? 0 : beside[i];
    std::vector<int64_t> *moments = nullptr, *liveMoments = nullptr;
    if (plan::isExecution(step.kind)) {
      moments = &heights.inContext[contexts.indexOf(step)];
      liveMoments = &heights.liveInContext[contexts.indexOf(step)];
    }
    for (int64_t now = begins[i]; now < begins[i + 1];) {
      int64_t until = begins[i + 1]; // nothing changes before
      for (; nextBegun != begun.end(); ++nextBegun) {
        const SlotInstance &made = instances[*nextBegun];
        if (made.life.begin > now) {
          until = std::min(until, made.life.begin);
          break;
        }
        tops.insert(*nextBegun);
        live += made.liveBytes;
      }
      for (; nextEnded != ended.end(); ++nextEnded) {
        const SlotInstance &gone = instances[*nextEnded];
        if (gone.life.end > now) {
          until = std::min(until, gone.life.end);
          break;
        }
        tops.erase(*nextEnded);
        live -= gone.liveBytes;
      }
      const int64_t height = tops.highest();
      heights.atStep[i] = std::max(heights.atStep[i], height);
      if (moments)
        for (int64_t at = now - begins[i]; at < until - begins[i]; ++at) {
          (*moments)[at] = std::max((*moments)[at], height);
          (*liveMoments)[at] = std::max((*liveMoments)[at], live + besideStep);
        }
      now = until;
    }
  }
  return heights;
}

} // namespace moe::optimize
