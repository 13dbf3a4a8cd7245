//===- PackAround.h - short lives between those that have places *- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/TimeOrder.h"

#include <cstdint>
#include <vector>

namespace moe::optimize {

/// Offsets of `buffers` such that those that live at the same time share no
/// byte, nor any with what is `placed`, whose places are `places`. Those that a
/// chain of common lives connects take the lowest free bytes one after the
/// other, the largest first. For n buffers, of which c live together, and p
/// placed ones, of which a do meanwhile: O((n + p) log(n + p) + n (a + c)).
std::vector<int64_t> packAround(const std::vector<TimedBuffer> &placed,
                                const std::vector<int64_t> &places,
                                const std::vector<TimedBuffer> &buffers);

} // namespace moe::optimize
