//===- LiveRanges.h - which bytes of an arena are taken ---------*- C++ -*-===//
//
// Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <map>

namespace moe::plan {

/// An instance of a value, or the scratch of an op.
struct Instance {
  int64_t stage = -1;
  int64_t value = -1; ///< -1: scratch
  int64_t microbatch = -1;
  bool operator==(const Instance &) const = default;
};

/// Disjoint byte ranges, each with what lives there, in order of offset.
class LiveRanges {
public:
  struct Range {
    int64_t end;
    Instance owner;
  };
  using Map = std::map<int64_t, Range>;

  /// The first range that shares a byte with [begin, end), or null.
  const Map::value_type *firstOverlap(int64_t begin, int64_t end) const {
    auto next = ranges.upper_bound(begin);
    if (next != ranges.begin()) {
      auto previous = std::prev(next);
      if (previous->second.end > begin)
        return &*previous;
    }
    if (next != ranges.end() && next->first < end)
      return &*next;
    return nullptr;
  }

  /// Whether `owner` lives at `begin`.
  bool holds(int64_t begin, const Instance &owner) const {
    auto found = ranges.find(begin);
    return found != ranges.end() && found->second.owner == owner;
  }

  /// Adds a range that overlaps no other.
  void insert(int64_t begin, int64_t end, const Instance &owner) {
    ranges.emplace(begin, Range{end, owner});
  }

  void erase(int64_t begin) { ranges.erase(begin); }

  const Map &all() const { return ranges; }

private:
  Map ranges;
};

} // namespace moe::plan
