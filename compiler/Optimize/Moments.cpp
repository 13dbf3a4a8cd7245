#include "compiler/Optimize/Moments.h"

#include <algorithm>

namespace moe::optimize {

std::vector<Moment> binding(const std::vector<Moment> &moments) {
  auto covers = [](const Moment &a, const Moment &b) {
    if (a.running != b.running || a.otherBytes < b.otherBytes)
      return false;
    for (size_t s = 0; s < a.held.size(); ++s)
      if (a.held[s] < b.held[s] || pendingAt(a, s) < pendingAt(b, s))
        return false;
    return true;
  };
  std::vector<Moment> remaining;
  for (const Moment &moment : moments) {
    if (std::any_of(remaining.begin(), remaining.end(),
                    [&](const Moment &other) { return covers(other, moment); }))
      continue;
    std::erase_if(remaining,
                  [&](const Moment &other) { return covers(moment, other); });
    remaining.push_back(moment);
  }
  return remaining;
}

HostLimit::HostLimit(const PolicyProblem &problem)
    : capacityBytes(problem.hostCapacityBytes) {
  if (capacityBytes >= kUnlimitedBytes)
    return;
  std::vector<int64_t> most; // of a microbatch, by stage
  for (const std::vector<int64_t> &stage : problem.stages) {
    int64_t &bytes = most.emplace_back(0);
    for (int64_t kind : stage) {
      int64_t largest = 0;
      for (const LayerOption &option : problem.kinds[static_cast<size_t>(kind)])
        largest = std::max(largest, option.hostBytes);
      bytes += largest;
    }
  }
  for (const Moment &moment : problem.moments) {
    std::vector<int64_t> at;
    for (size_t s = 0; s < most.size(); ++s)
      at.push_back(hostedAt(moment, s));
    int64_t bytes = 0;
    for (size_t s = 0; s < at.size(); ++s)
      bytes += at[s] * most[s];
    if (bytes > capacityBytes)
      hosted.push_back(std::move(at));
  }
  std::sort(hosted.begin(), hosted.end());
  hosted.erase(std::unique(hosted.begin(), hosted.end()), hosted.end());
}

int64_t HostLimit::within(size_t s) const {
  int64_t bytes = kUnlimitedBytes;
  for (const std::vector<int64_t> &at : hosted)
    if (at[s] > 0)
      bytes = std::min(bytes, capacityBytes / at[s]);
  return bytes;
}

} // namespace moe::optimize
