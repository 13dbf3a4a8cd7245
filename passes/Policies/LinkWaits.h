//===- LinkWaits.h - what a block waits for the host link -------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>

namespace moe {

/// What copies back from the host do to the lowest block of a stage.
/// Nanoseconds.
struct LinkWaits {
  /// The program, if copies for the blocks above take no time, and those that
  /// are issued before the lowest block's turn are back when it begins.
  int64_t unhinderedNs = 0;
  /// How late the latter may be without making that longer; at most what the
  /// block's turn takes.
  int64_t mayWaitNs = 0;
  int64_t earlyNs = 0; ///< what these copies take
  int64_t lateNs = 0;  ///< what copies in the block's turn take
};

/// Of a program that comes to blocks from the last one down, by the block of
/// each of its ops, copies aside. 0 is the lowest. The program comes back as it
/// was.
LinkWaits findLinkWaits(plan::Program &program, llvm::ArrayRef<size_t> blocks);

} // namespace moe
