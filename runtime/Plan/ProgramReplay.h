//===- ProgramReplay.h - the account of one program -------------*- C++ -*-===//
//
// A program is replayed once for its byte counts and once for every slot for
// its places; running it for a microbatch then costs only its inputs and
// outputs, not its ops. Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Checks.h"
#include "runtime/Plan/LiveRanges.h"

#include <optional>

namespace moe::plan {

/// What a program does to the bytes that are live, whatever the microbatch.
struct ProgramAccount {
  /// Bytes live while each op runs, relative to the start of the program.
  std::vector<ByteCounts> live;
  /// Bytes live at the end, relative to the start.
  ByteCounts change;
  int64_t peakOp = -1;           ///< first op with the largest total of `live`
  std::vector<ValueIndex> freed; ///< inputs that are not live at the end
  std::vector<ValueIndex> made;  ///< values that are live only at the end
  std::vector<bool> isInput;     ///< for every value of the stage
  bool usesSlot = false;         ///< touches a value that lies in a slot
};

/// Replays the ops of a program: every value is used while it is live and
/// written once, and what lives at the end was announced. Needs
/// checkStructure().
Result<ProgramAccount> accountProgram(const Plan &plan, int64_t stage,
                                      int64_t program);

/// A range of bytes.
struct Extent {
  int64_t begin;
  int64_t end;
};

/// Checks that no two buffers of a program share bytes while both are live,
/// for a microbatch in `slot` (-1: none). Returns the bytes that the program
/// allocates at any time, as few extents in rising order.
Result<std::vector<Extent>> placeProgram(const Plan &plan, int64_t stage,
                                         int64_t program, int64_t slot);

} // namespace moe::plan
