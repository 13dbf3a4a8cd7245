//===- Moments.h - what the moments of a rank ask for -----------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/StageFronts.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe::optimize {

inline int64_t pendingAt(const Moment &moment, size_t stage) {
  return moment.pending.empty() ? 0 : moment.pending[stage];
}

/// What a stage adds to a moment.
inline int64_t loadOf(const Moment &moment, size_t stage,
                      const StageSums &sums) {
  return moment.held[stage] * sums.kept +
         pendingAt(moment, stage) * sums.pending +
         (moment.running == static_cast<int64_t>(stage) ? sums.peak : 0);
}

/// All that is live at a moment, by what the stages of the rank come to.
inline int64_t bytesAt(const Moment &moment,
                       const std::vector<StageSums> &sums) {
  int64_t bytes = moment.otherBytes;
  for (size_t s = 0; s < sums.size(); ++s)
    bytes += loadOf(moment, s, sums[s]);
  return bytes;
}

/// Moments but those that some other moment is never smaller than.
std::vector<Moment> binding(const std::vector<Moment> &moments);

/// Microbatches of a stage that are on the host at a moment.
inline int64_t hostedAt(const Moment &moment, size_t stage) {
  const auto number = static_cast<int64_t>(stage);
  return moment.held[stage] + (moment.running == number ? 1 : 0) +
         (moment.overlapped == number ? 1 : 0);
}

/// What the host admits, where choices could exceed it.
struct HostLimit {
  /// By moment, microbatches of each stage; none: nothing exceeds it.
  std::vector<std::vector<int64_t>> hosted;
  int64_t capacityBytes;

  explicit HostLimit(const PolicyProblem &problem);

  bool isLimit() const { return !hosted.empty(); }
  /// What a microbatch of stage `s` may have there at most.
  int64_t within(size_t s) const;
};

} // namespace moe::optimize
