//===- EndOrder.h - packing of lifetimes by their ends ----------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/TimeOrder.h"

#include <vector>

namespace moe::optimize {

/// In order of begin, each buffer goes beside one that ends when it does, so
/// that what they leave is one gap: into the gap, and to that end of it, where
/// the two times differ least, `wasteWeight` times the bytes that stay free
/// there counted with them. Bytes and moments weigh alike for 1 where they do
/// on average. O(n (log n + k)) for n buffers, k of which live at a time.
TimedPacking packByEnds(const std::vector<TimedBuffer> &buffers,
                        double wasteWeight);

} // namespace moe::optimize
