//===- SlotProfile.h - a slot while programs fill and empty it --*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/SlotHeights.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace moe::optimize {

/// When a program of a context begins or ends the life of a group; -1: it does
/// not.
struct GroupEvent {
  int64_t group, begin, end;
  /// The moments of the context that the group lives over at least: from the
  /// first to before the last.
  int64_t first() const { return begin == -1 ? end - 1 : begin; }
  int64_t last() const { return std::max(begin + 1, end); }
};

/// A group of a slot.
struct ProfiledGroup {
  int64_t offset = 0, bytes = 0; ///< behind the slot's base
  bool isPassing = false;        ///< lives in one program, which counts it
};

/// The groups of a slot that come and go with the forward that fills it and the
/// backward that empties it: as these are, whenever and wherever that is. All
/// microbatches have the same, so that steps need not follow each group of each
/// of them.
class SlotProfile {
public:
  /// While the forward runs, or the backward, by moment.
  struct Part {
    std::vector<int64_t> top;         ///< the highest byte behind the base
    std::vector<int64_t> live;        ///< bytes, without what passes
    int64_t begin = kNever, end = -1; ///< moments at which something lives
    int64_t most = 0;                 ///< of top
  };

  SlotProfile() = default;
  /// `groups`: by number. `events`, `lengths`: of the forward and of the
  /// backward. O(events * length).
  SlotProfile(const std::vector<ProfiledGroup> &groups,
              const std::array<std::vector<GroupEvent>, 2> &events,
              std::array<int64_t, 2> lengths);

  const Part &part(size_t context) const { return parts[context]; }
  /// Between the two: the highest byte, and all of them.
  int64_t waitingTop() const { return topBetween; }
  int64_t waitingBytes() const { return bytesBetween; }

private:
  void add(Part &part, int64_t begin, int64_t end, const ProfiledGroup &group);

  std::array<Part, 2> parts;
  int64_t topBetween = 0, bytesBetween = 0;
};

} // namespace moe::optimize
