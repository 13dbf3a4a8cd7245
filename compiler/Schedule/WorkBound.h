//===- WorkBound.h - what no order of steps can be quicker than -*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Schedule.h"

#include <cstdint>
#include <vector>

namespace moe::schedule {

/// What a microbatch of a block takes of one stream of the block's rank, both
/// in nanoseconds.
struct BlockWork {
  int64_t forwardNs = 0;
  int64_t backwardNs = 0; ///< with the gradients of weights
  bool isLayer = false;   ///< every stage has one
};

/// Nanoseconds that the steps take at least, in whatever order, and however the
/// blocks, in model order, are cut into stages: a stream does one thing at a
/// time. The larger of two bounds: blocks are whole, so that some rank has the
/// work of several large ones; and ranks take the mean of all work, behind that
/// of the layers that the first microbatch comes through before it is there,
/// one at least for each rank before. The latter holds for one copy of the
/// model; with more, `copies` shares the microbatches evenly, and no rank is
/// taken to wait. Microbatches times the sum of all work fit 62 bits.
int64_t leastNsOfAnyOrder(const std::vector<BlockWork> &blocks, int64_t ranks,
                          int64_t microbatches, int64_t copies);

} // namespace moe::schedule
