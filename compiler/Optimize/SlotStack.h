//===- SlotStack.h - what lies in the slot of one microbatch ----*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Offsets.h"

#include <cstdint>
#include <vector>

namespace moe::optimize {

/// Lives over one interval of the time of a microbatch: its forward, the
/// programs of others that run before its backward, its backward.
struct StackBuffer {
  int64_t bytes = 0;
  Lifetime life;
};

struct StackLayout {
  int64_t bytes = 0;            ///< of the slot: the sum of what is kept
  std::vector<int64_t> kept;    ///< offsets
  std::vector<int64_t> passing; ///< offsets; -1: there is no room
};

/// Lays out a slot. What is `kept` between the programs is a stack, first what
/// leaves last, so that where the slot is not filled yet, or empty again, its
/// upper part is free. There, of what is `passing`, lives in one program only,
/// the largest that find room; the slot does not grow for them. O(n^2).
StackLayout layOutSlot(const std::vector<StackBuffer> &kept,
                       const std::vector<StackBuffer> &passing);

} // namespace moe::optimize
