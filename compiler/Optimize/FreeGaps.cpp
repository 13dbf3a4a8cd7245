#include "compiler/Optimize/FreeGaps.h"

#include <algorithm>

namespace moe::optimize {

void FreeGaps::forget(int64_t past) {
  if (firstEnd > past)
    return;
  firstEnd = kNever;
  std::erase_if(all, [&](const TimedBox &box) {
    if (box.end <= past)
      return true;
    firstEnd = std::min(firstEnd, box.end);
    return false;
  });
}

const std::vector<FreeGaps::Gap> &FreeGaps::at(int64_t moment) {
  if (changes > moment)
    return gaps;
  changes = kNever;
  gaps.clear();
  Gap gap;
  for (const TimedBox &box : all) {
    if (box.end <= moment)
      continue;
    changes = std::min(changes, box.end);
    if (box.low > gap.low)
      gaps.push_back({gap.low, box.low, gap.untilBelow, box.end});
    gap.low = box.high;
    gap.untilBelow = box.end;
  }
  gaps.push_back(gap);
  return gaps;
}

void FreeGaps::insert(const TimedBox &box) {
  all.insert(std::upper_bound(all.begin(), all.end(), box.low,
                              [](int64_t at, const TimedBox &each) {
                                return at < each.low;
                              }),
             box);
  firstEnd = std::min(firstEnd, box.end);
  if (changes <= box.begin)
    return; // to be found anew
  changes = std::min(changes, box.end);
  auto behind = std::upper_bound(
      gaps.begin(), gaps.end(), box.low,
      [](int64_t at, const Gap &each) { return at < each.low; });
  const auto gap = std::prev(behind);
  const Gap above = {box.high, gap->high, box.end, gap->untilAbove};
  gap->high = box.low;
  gap->untilAbove = box.end;
  const bool isBelow = gap->high > gap->low, isAbove = above.high > above.low;
  if (isBelow && isAbove)
    gaps.insert(behind, above);
  else if (isAbove)
    *gap = above;
  else if (!isBelow)
    gaps.erase(gap);
}

} // namespace moe::optimize
