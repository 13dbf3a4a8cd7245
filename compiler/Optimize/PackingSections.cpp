#include "compiler/Optimize/PackingSections.h"

#include <algorithm>

namespace moe::optimize {
namespace {

/// Begin or end of a lifetime.
struct Event {
  int64_t time;
  bool isBegin; ///< at one time, ends come first
  bool operator<(const Event &other) const {
    return time != other.time ? time < other.time : isBegin < other.isBegin;
  }
};

} // namespace

Sections findSections(const PackingProblem &problem,
                      const std::vector<uint32_t> &members) {
  Sections made;
  std::vector<Event> events;
  auto note = [&](Lifetime life) {
    events.push_back({life.begin, true});
    events.push_back({life.end, false});
  };
  for (uint32_t member : members) {
    const Buffer &buffer = problem.buffers[member];
    if (buffer.size == 0)
      continue;
    made.items.push_back({member, buffer.size, {}});
    note({buffer.begin, buffer.end});
    for (Lifetime life : buffer.later)
      note(life);
  }
  std::sort(events.begin(), events.end());
  // Most live between the last of several begins and the first end behind it.
  std::vector<int64_t> times;
  for (size_t i = 0; i + 1 < events.size(); ++i)
    if (events[i].isBegin && !events[i + 1].isBegin)
      times.push_back(events[i].time);
  made.sections.resize(times.size());
  for (uint32_t i = 0; i < made.items.size(); ++i) {
    Sections::Item &item = made.items[i];
    const Buffer &buffer = problem.buffers[item.buffer];
    auto cover = [&](Lifetime life) {
      auto at = std::lower_bound(times.begin(), times.end(), life.begin);
      for (; at != times.end() && *at < life.end; ++at)
        item.sections.push_back(static_cast<uint32_t>(at - times.begin()));
    };
    cover({buffer.begin, buffer.end});
    for (Lifetime life : buffer.later)
      cover(life);
    for (size_t k = 0; k < item.sections.size(); ++k) {
      Sections::Section &section = made.sections[item.sections[k]];
      section.items.push_back(i);
      section.bytes += item.size;
      if (k == 0 || item.sections[k - 1] + 1 != item.sections[k])
        section.begins.push_back(i);
      if (k + 1 == item.sections.size() ||
          item.sections[k] + 1 != item.sections[k + 1])
        section.ends.push_back(i);
    }
  }
  return made;
}

} // namespace moe::optimize
