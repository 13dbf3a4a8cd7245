//===- StreamOrder.h - what is done when an op begins -----------*- C++ -*-===//
//
// Ops of one stream run in the order in which they were issued; ops of
// different streams run at the same time unless one waits for the other. From
// that follows which ops are certain to be done when another begins, and with
// it whether bytes are read after they were written and written again after
// they were read. Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// Follows ops in issue order, and the bytes that they use. Ops are named by
/// their position in that order, from 0. Time and memory are linear in ops,
/// waits and uses, times the logarithm of the number of ranges.
class StreamOrder {
public:
  /// Bytes that hold a value before the first op, which nobody is using.
  void addInput(int64_t begin, int64_t end);

  /// Issues the next op, which begins when the ops at the positions `waits`
  /// are done.
  void issue(Stream stream, const std::vector<int64_t> &waits);

  /// Whether the op at `position` is done when the one issued last begins.
  bool isDone(int64_t position) const;

  // What the op issued last does with [begin, end). Each returns the position
  // of an op of another stream that may still be in the way, or -1.

  /// Reads what the op that wrote last has left there.
  int64_t read(int64_t begin, int64_t end);
  /// Overwrites the bytes, which were anything before.
  int64_t write(int64_t begin, int64_t end);
  /// Gives the bytes back when it is done.
  int64_t release(int64_t begin, int64_t end);

private:
  /// For each stream the last position, -1 for none: ops that are done, or ops
  /// that used something.
  using Clock = std::array<int64_t, kStreamCount>;

  struct Use {
    int64_t end;
    Clock lastUse;
    int64_t lastWrite;
  };
  using Uses = std::map<int64_t, Use>;

  struct Issued {
    Stream stream;
    Clock done; ///< when the op begins
  };

  static Clock none();
  /// The last of these uses that is not done, or -1.
  int64_t firstUnderWay(const Clock &lastUse) const;
  /// Makes `at` a border between ranges.
  void cut(int64_t at);
  /// The first range in [begin, ...), with borders at both ends.
  Uses::iterator carve(int64_t begin, int64_t end);

  std::vector<Issued> ops;
  Clock lastOnStream = none();
  Uses uses; ///< disjoint ranges by their begin
};

} // namespace moe::plan
