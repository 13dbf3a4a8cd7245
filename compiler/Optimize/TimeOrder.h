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
#include <vector>

namespace moe::optimize {

/// Lives over [begin, end), which is not empty.
struct TimedBuffer {
  int64_t size = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

/// Offsets such that those that live at the same time share no byte: the lowest
/// of five packings in time order or against it, where each takes the lowest
/// free bytes, the smallest gap that holds it, or the place of one of its size
/// that is gone; stops at the first that comes near the most live bytes. Where
/// none does, also of one that keeps sizes apart. Offsets are sums of sizes.
/// O(n (log n + g log p)) for n buffers, g gaps and p places of a size.
std::vector<int64_t> packInTimeOrder(const std::vector<TimedBuffer> &buffers);

} // namespace moe::optimize
