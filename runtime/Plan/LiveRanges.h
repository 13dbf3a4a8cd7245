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

/// Disjoint byte ranges, each with what lives there, in order of offset. Going
/// through ranges that lie side by side in rising order takes constant time for
/// each.
class LiveRanges {
public:
  LiveRanges() = default;
  LiveRanges(const LiveRanges &) = delete;
  LiveRanges &operator=(const LiveRanges &) = delete;

  struct Range {
    int64_t end;
    Instance owner;
  };
  using Map = std::map<int64_t, Range>;

  /// The first range that shares a byte with [begin, end), or null.
  const Map::value_type *firstOverlap(int64_t begin, int64_t end) const {
    auto behind = ranges.upper_bound(begin);
    if (behind != ranges.begin()) {
      auto previous = std::prev(behind);
      if (previous->second.end > begin)
        return &*previous;
    }
    if (behind != ranges.end() && behind->first < end)
      return &*behind;
    return nullptr;
  }

  /// Whether `owner` lives at `begin`.
  bool holds(int64_t begin, const Instance &owner) {
    seek(begin);
    return next != ranges.end() && next->first == begin &&
           next->second.owner == owner;
  }

  /// Adds a range that overlaps no other.
  void insert(int64_t begin, int64_t end, const Instance &owner) {
    seek(begin);
    next = ranges.emplace_hint(next, begin, Range{end, owner});
  }

  void erase(int64_t begin) {
    seek(begin);
    if (next != ranges.end() && next->first == begin)
      next = ranges.erase(next);
  }

  const Map &all() const { return ranges; }

private:
  /// Moves to the first range that begins at `begin` or behind it: from where
  /// the last use was, if it is not far.
  void seek(int64_t begin) {
    if (next != ranges.end() && next->first < begin)
      ++next;
    bool isThere = (next == ranges.end() || next->first >= begin) &&
                   (next == ranges.begin() || std::prev(next)->first < begin);
    if (!isThere)
      next = ranges.lower_bound(begin);
  }

  Map ranges;
  Map::iterator next = ranges.end(); ///< of the last use
};

} // namespace moe::plan
