//===- TimeOrder.h - packing of many lifetimes in time order ----*- C++ -*-===//
//
// The allocator of a running program, in advance: buffers take bytes when their
// lives begin and give them back when these end. Unlike an allocator it knows
// when that is, and where it runs out of bytes it goes back and tries again.
// Fast enough for every microbatch of a step.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/TimedBuffer.h"

#include <cstdint>
#include <vector>

namespace moe::optimize {

struct TimedProblem {
  std::vector<TimedBuffer> kept;
  /// Live shortly, many at a time: they go into what is left by what is kept.
  std::vector<TimedBuffer> passing;
  /// By moment, bytes that lie above all of these; none at moments behind. The
  /// packer finds TimedBuffer::above by it.
  std::vector<int64_t> above;
  /// Bytes below all of these: a packing that comes near the bound need be no
  /// better than a share of all.
  int64_t below = 0;
};

/// Offsets, and how high the buffers reach with what lies above them.
struct TimedPacking {
  std::vector<int64_t> kept, passing;
  int64_t reach = 0;
  /// The most bytes that live at a time, with those above: no packing reaches
  /// less high.
  int64_t bound = 0;
};

/// Offsets such that those that live at the same time share no byte. What is
/// kept is placed in order of begin, each beside one that ends when it does, so
/// that what they leave is one gap: into the gap, and to that end of it, where
/// the two times differ least, a weight times the bytes that stay free there
/// counted with them; or where one of its size lay before; or, if that is
/// lower, with sizes apart (SizeClasses.h). Clusters of what passes follow as
/// soon as all that is kept meanwhile has its place (PackAround.h).
///
/// Where that reaches higher than a limit, the last placements are taken back,
/// few mostly and many at times, and made by another rule. Limits fall
/// towards the bound until one is not met within some placements of each buffer
/// (the number is fixed, so that equal problems have equal packings).
///
/// O(n (log n + k)) for n buffers, k of which live at a time.
TimedPacking packTimed(TimedProblem problem);

} // namespace moe::optimize
