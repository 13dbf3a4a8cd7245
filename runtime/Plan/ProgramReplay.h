//===- ProgramReplay.h - the account of one program -------------*- C++ -*-===//
//
// What a program does to the bytes that are live is the same for every
// microbatch: it is worked out once. Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Checks.h"

namespace moe::plan {

/// What a program does to the bytes that are live, whatever the microbatch.
struct ProgramAccount {
  /// Bytes live while each op runs, relative to the start of the program.
  std::vector<ByteCounts> live;
  /// Bytes live after each op and its releases, relative to the start.
  std::vector<ByteCounts> after;
  /// Bytes live at the end, relative to the start.
  ByteCounts change;
  // By offset, fixed ones first, and those of each group together.
  std::vector<ValueIndex> inputs;
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

/// "$.stages[1].programs[0]".
inline std::string programPath(int64_t stage, int64_t program) {
  return element(element("$.stages", stage) + ".programs", program);
}

/// "$.stages[1].programs[0].ops[7]".
inline std::string opPath(int64_t stage, int64_t program, size_t op) {
  return element(programPath(stage, program) + ".ops", op);
}

} // namespace moe::plan
