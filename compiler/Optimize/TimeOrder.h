//===- TimeOrder.h - packing of many lifetimes in time order ----*- C++ -*-===//
//
// The allocator of a running program, in advance: buffers take bytes when their
// lives begin and give them back when these end. What it does depends on what
// lives only, so that a regular program is packed regularly, and it is fast
// enough for every microbatch of a step.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace moe::optimize {

/// Lives over [begin, end), which is not empty.
struct TimedBuffer {
  int64_t size = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

/// Offsets of timed buffers, and the end of the highest.
struct TimedPacking {
  int64_t height = 0;
  std::vector<int64_t> offsets;
};

/// What a packing comes to for those that ask for it.
struct PackingJudge {
  int64_t enough = 0; ///< what is lower is not worth another way
  /// Not below that of the packing itself.
  std::function<int64_t(const TimedPacking &)> heightOf;
};

/// Offsets such that those that live at the same time share no byte: the lowest
/// of several packings, up to the first that is low enough, of many buffers
/// only the first few. In time order or against it, where each takes the lowest
/// free bytes, the smallest gap that holds it, or the place of one of its size
/// that is gone; beside what ends when it does (EndOrder.h); with sizes apart
/// (SizeClasses.h); the largest first (PackAround.h). Offsets are sums of
/// sizes. O(n (log n + g log p)) for n buffers, g gaps and p places of a size,
/// in time order.
std::vector<int64_t> packTimed(const std::vector<TimedBuffer> &buffers,
                               const PackingJudge &judge);
/// By height: near the most bytes that live at a time is low enough.
std::vector<int64_t> packTimed(const std::vector<TimedBuffer> &buffers);

} // namespace moe::optimize
