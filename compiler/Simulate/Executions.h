//===- Executions.h - the inside of a run or overlap ------------*- C++ -*-===//
//
// All streams are joined at the end of a step that executes programs, so what
// happens inside does not depend on when it begins: it is worked out once for
// each program and each overlap.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Simulate/Simulate.h"

#include <optional>

namespace moe::simulate {

/// Times that a plan may name or lead to: what its document can hold.
inline constexpr int64_t kLongestNs = int64_t{1} << 53;

/// Everything relative to the begin of the step, bytes to those live before it.
struct Execution {
  struct Op {
    Lane lane = Lane::compute;
    int64_t member = 0;
    int64_t op = -1; ///< index into the member's program
    Interval time;
  };
  struct Segment {
    Lane lane = Lane::compute;
    Interval time;
  };
  std::vector<Op> ops;               ///< what takes time, by begin, then lane
  std::vector<Segment> critical;     ///< from 0 to durationNs without gaps
  std::vector<MemorySample> samples; ///< as RankTimeline::samples
  int64_t durationNs = 0;
  std::array<int64_t, kLaneCount> laneBusyNs{};
  // While no op computes: with an exchange under way, with copies only.
  int64_t exposedCommunicationNs = 0;
  int64_t exposedCopyNs = 0;
  // The largest total of live bytes; without ops, the lowest number there is.
  int64_t peakBytes = std::numeric_limits<int64_t>::min();
  int64_t peakNs = 0;
  int64_t peakMember = 0;
  int64_t peakOp = -1;
};

/// `program` must be one of the stage. Errors: see simulate(); they do not say
/// which program or overlap it is.
Result<Execution> execute(const plan::Plan &plan, int64_t stage,
                          const plan::Program &program);
Result<Execution> execute(const plan::Plan &plan, const plan::Overlap &overlap);

/// The program of a phase, or null.
const plan::Program *findProgram(const plan::Plan &plan, int64_t stage,
                                 plan::Phase phase);

} // namespace moe::simulate
