//===- PackingCases.h - packing problems and their optimum ------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Offsets.h"

#include <random>

namespace moe::test {

/// `count` buffers that begin before `times` and live at most as long, of at
/// most `sizes` times `alignment` bytes.
optimize::PackingProblem randomProblem(std::mt19937 &random, size_t count,
                                       int64_t times, int64_t sizes,
                                       int64_t alignment);

/// Gives every buffer up to `most` more lifetimes behind its first.
void addLifetimes(std::mt19937 &random, size_t most,
                  optimize::PackingProblem &problem);

/// The lowest packing there is: some order of placement, each buffer at the
/// lowest free offset, gives it. Factorial: for a handful of buffers.
int64_t lowestHeight(const optimize::PackingProblem &problem);

/// A rectangle of `height` bytes, cut at random into `count` buffers that fill
/// it: every other packing as low wastes nothing either.
optimize::PackingProblem cutRectangle(std::mt19937 &random, size_t count,
                                      int64_t height);

} // namespace moe::test
