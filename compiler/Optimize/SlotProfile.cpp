#include "compiler/Optimize/SlotProfile.h"

namespace moe::optimize {

SlotProfile::SlotProfile(const std::vector<ProfiledGroup> &groups,
                         const std::array<std::vector<GroupEvent>, 2> &events,
                         std::array<int64_t, 2> lengths) {
  std::vector<bool> begins(groups.size(), false), waits(groups.size(), false);
  for (const GroupEvent &event : events[0])
    begins[static_cast<size_t>(event.group)] = true;
  for (const GroupEvent &event : events[1])
    waits[static_cast<size_t>(event.group)] =
        begins[static_cast<size_t>(event.group)];
  for (size_t c : {0, 1}) {
    Part &part = parts[c];
    part.top.assign(static_cast<size_t>(lengths[c]), 0);
    part.live = part.top;
    for (const GroupEvent &event : events[c]) {
      const auto number = static_cast<size_t>(event.group);
      const bool isThereBefore = c == 1 && waits[number];
      const bool isThereBehind = c == 0 && waits[number];
      add(part, isThereBefore ? 0 : event.first(),
          isThereBehind ? lengths[c] : event.last(), groups[number]);
    }
  }
  for (size_t number = 0; number < groups.size(); ++number) {
    const ProfiledGroup &group = groups[number];
    if (!waits[number])
      continue;
    topBetween = std::max(topBetween, group.offset + group.bytes);
    bytesBetween += group.isPassing ? 0 : group.bytes;
  }
}

void SlotProfile::add(Part &part, int64_t begin, int64_t end,
                      const ProfiledGroup &group) {
  const int64_t top = group.offset + group.bytes;
  part.begin = std::min(part.begin, begin);
  part.end = std::max(part.end, end);
  part.most = std::max(part.most, top);
  for (int64_t moment = begin; moment < end; ++moment) {
    const auto at = static_cast<size_t>(moment);
    part.top[at] = std::max(part.top[at], top);
    part.live[at] += group.isPassing ? 0 : group.bytes;
  }
}

} // namespace moe::optimize
