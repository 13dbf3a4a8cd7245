//===- Offsets.h - static packing of lifetimes ------------------*- C++ -*-===//
//
// Buffers with known sizes and lifetimes get offsets in one arena, such that
// buffers that live at the same time do not share bytes. NP-hard; the greedy
// here is good enough for regular programs, a search finds what it does not,
// and both report the bound they are measured against.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace moe::optimize {

/// [begin, end) of any discrete time.
struct Lifetime {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const Lifetime &) const = default;
};

/// Lives over the half-open interval [begin, end), and again over those in
/// `later`, always at the same place.
struct Buffer {
  int64_t size = 0; ///< bytes, >= 0; a buffer of 0 bytes goes to offset 0
  int64_t begin = 0;
  int64_t end = 0;
  int64_t alignment = 1;            ///< the offset is a multiple of it
  std::vector<Lifetime> later = {}; ///< each begins after the one before ended
  /// Bytes that something else needs above all buffers while this one lives.
  int64_t above = 0;
  bool operator==(const Buffer &) const = default;
};

struct PackingProblem {
  std::vector<Buffer> buffers;

  /// Whether every buffer has size and above >= 0, begin < end in all
  /// lifetimes, these in rising order, alignment >= 1, and the sum of all sizes
  /// and alignments fits 62 bits.
  Status check() const;
};

struct PackingSolution {
  std::vector<int64_t> offsets; ///< one for each buffer of the problem
  int64_t height = 0; ///< most of the end of a buffer and what is above it
  /// No packing is lower: maxLive of the problem, or more where the search has
  /// proven that.
  int64_t lowerBound = 0;
  std::string_view order; ///< the greedy order that gave the height, "search"
};

/// The most bytes live at any time, with the least of what is above them then:
/// no packing is lower. O(n log n) for n lifetimes.
int64_t maxLive(const PackingProblem &problem);

/// Whether the solution is legal: an aligned offset >= 0 for each buffer, no
/// two live buffers overlap, and `height` is right. The
/// error names the buffers.
Status verify(const PackingProblem &problem, const PackingSolution &solution);

/// The lowest of several deterministic greedy packings: buffers are taken in
/// order of size, lifetime, area, begin, or of what is above them, and each
/// goes to the lowest offset
/// that is free over its lifetimes. Stops early at the bound. Buffers that no
/// chain of overlapping lifetimes connects are packed apart. The problem must
/// pass check(). O(n log n + k log k) for n lifetimes and k overlapping pairs
/// of them. Where the lowest is not at the bound, what reached highest goes
/// first, again and again, for a fixed number of placements.
///
/// Where that leaves a gap to the bound and nothing is above the buffers, a
/// search (PackingSearch.h) with at most `searchSteps` decisions looks for
/// something lower: first for the bound itself, then for heights between it and
/// the best.
PackingSolution pack(const PackingProblem &problem, int64_t searchSteps = 0);

} // namespace moe::optimize
