//===- StreamWaits.h - which ops must wait for each other -------*- C++ -*-===//
//
// Ops of one stream run in the order in which they are issued; ops of different
// streams run at the same time unless one waits for the other. A wait is needed
// where an op
// - reads what another stream wrote (data),
// - gives back bytes that another stream uses (release),
// - writes bytes that another stream used for something else (reuse; only known
//   once values have offsets; of those in slots, where all slots of the stage
//   have one layout);
// - copies in, or exchanges again what weight gradients need: such an op needs
//   nothing that the program makes, so it waits for the op of the compute
//   stream that its program issues before it. Its place in the order of issue
//   says when it begins; else all of them would run at once, and what they make
//   live.
// Everything else follows: an op that is known to be done carries along the
// ops before it on its stream and whatever those waited for.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <array>
#include <cstdint>
#include <vector>

namespace moe::optimize {

/// For each stream a position in issue order, -1 for none.
using StreamPositions = std::array<int64_t, plan::kStreamCount>;

/// One op of those that a rank issues for a `run` or `overlap` step.
struct IssuedOp {
  int64_t member = 0; ///< of an overlap
  const plan::Stage *stage = nullptr;
  const plan::Op *op = nullptr;
  std::vector<int64_t> waits; ///< positions
  bool isForWeights = false;  ///< of a program of weight gradients
};

/// The ops of a program in issue order.
std::vector<IssuedOp> issueProgram(const plan::Stage &stage,
                                   const plan::Program &program);
/// The ops of both programs of an overlap, with its own waits.
std::vector<IssuedOp> issueOverlap(const plan::Plan &plan,
                                   const plan::Overlap &overlap);

/// For each position, the last op of every stream that is done when the op
/// begins, by stream order and waits. Linear.
std::vector<StreamPositions> doneBefore(const std::vector<IssuedOp> &issued);

/// When an op runs by its estimated time, from the begin of the step.
struct IssuedTime {
  int64_t beginNs = 0, endNs = 0;
};

/// Of each position, by stream order and waits. Linear.
std::vector<IssuedTime> estimateTimes(const std::vector<IssuedOp> &issued);

/// Replaces the waits of a program's ops by those that data and releases need:
/// at most one a stream, none that follows from others.
void setDataWaits(const plan::Stage &stage, plan::Program &program);

/// The same with those that reuse of bytes needs; values and scratch must have
/// their offsets. n log n in ops and operands.
void setWaits(const plan::Stage &stage, plan::Program &program);

/// The waits that an overlap needs beyond those of its programs, which must
/// have theirs: its two programs reuse each other's bytes.
std::vector<plan::Overlap::Wait> overlapWaits(const plan::Plan &plan,
                                              const plan::Overlap &overlap);

} // namespace moe::optimize
