//===- Placement.h - offsets of every buffer of a rank ----------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::optimize {

/// When bytes may be used again.
enum class Reuse : uint8_t {
  /// By an op that begins after their last use even if ops wait for their data
  /// only: reuse adds no waits between streams, and takes from nothing that can
  /// run at the same time. Nothing else ever waits for a copy to the host: it
  /// counts as done where by the estimated times it is, so that a wait for it
  /// costs nothing.
  withoutWaits,
  /// By any op that is issued later: fewest bytes, and waits where streams have
  /// to be kept apart.
  inIssueOrder,
};

struct Arena {
  int64_t bytes = 0;
  /// The most bytes that by the lifetimes that `Reuse` asks for keep out of
  /// each other's way at a moment of a program: no arena is smaller.
  int64_t boundBytes = 0;
};

/// Gives every buffer of a rank its place, those of class host in one arena and
/// all others in another, the rank its hostArenaBytes, and returns the other
/// arena. Each has at most 2^53 bytes; more is an error. From the
/// bottom: parameters, gradients and optimizer state; slots (SlotPlacement.h),
/// which the steps are given, too; and a region for all else, packed by when
/// the steps and the issue order of programs and overlaps have it live. What
/// arrives for several microbatches before it is used is moved to their slots.
///
/// The rank must have its steps (but for slots) and overlaps (members and
/// order), and its programs the waits that data needs; which waits reuse needs
/// follows from the offsets (StreamWaits.h).
Result<Arena> placeRank(plan::Plan &plan, int64_t rank, Reuse reuse);

/// Bytes of the device that are in use while a program of `stage` runs, of what
/// it takes, makes and needs for its ops, where no stream waits for bytes that
/// another one still uses: at two moments for each op, while it runs and before
/// the next is issued. `ofOps`: for each op, whether what it makes counts; then
/// nothing else does. The stage is left as it is.
std::vector<int64_t> liveWithoutWaits(plan::Stage &stage,
                                      plan::Program &program,
                                      const std::vector<bool> &ofOps = {});

} // namespace moe::optimize
