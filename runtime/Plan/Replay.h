//===- Replay.h - what a schedule does to an arena --------------*- C++ -*-===//
//
// Walks the steps of a rank and the programs that they run, and keeps account
// of every buffer: the reference for all that a plan says about live bytes.
//
// Rules:
// - load and receive allocate their value; what is received is there once a
//   program has begun that has it among its inputs, and until then it is
//   neither sent nor freed;
// - an op allocates its outputs and its scratch, runs, frees the scratch and
//   then its releases: in issue order, whatever the stream. An overlap issues
//   the ops of two programs in the order that it lists;
// - within a run or overlap, what the waits say is enough that on streams every
//   value is read after it was written, bytes are written after all earlier
//   uses of them are done, and released when no other stream uses them, and
//   that ops that add to the gradient of one parameter (those whose kind ends
//   in _weight_grad) run one after the other;
// - send leaves its value live, wait_send frees it, collect_loss frees it;
// - an instance is a (stage, value, microbatch), and all steps of a stage and
//   microbatch that name a slot name the same one; parameters, gradients and
//   optimizer state are live throughout;
// - a microbatch runs through a stage at most once: forward, and then, where
//   the stage has programs for gradients, either backward, or backward_input
//   and after it weight_grad; gradients are complete before they are reduced,
//   and nothing runs after the update. Every program is used.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::plan {

/// The account of one rank.
struct Replay {
  ByteCounts persistent;
  /// Bytes live before each step.
  std::vector<ByteCounts> stepLive;
  /// The live bytes at the moment when their total (of the device, that is) is
  /// largest, the first such
  /// moment when there are several.
  ByteCounts peak;
  int64_t peakStep = -1; ///< -1 when the rank has no steps
  std::string peakOp;    ///< empty: the step itself
  /// Most bytes of class host that are live at a time.
  int64_t hostPeakBytes = 0;
};

/// Replays the schedule of a rank. Errors name the path of the step or op that
/// uses a value that is not live, allocates bytes that are taken, or leaves a
/// value behind; also whatever is wrong with the structure of the rank and its
/// stages. The plan's own claims about live bytes are not looked at.
Result<Replay> replay(const Plan &plan, int64_t rank);

/// What check() looks at, but for what replay() found of every rank: for a plan
/// that has been given these figures just now.
Status checkReplayed(const Plan &plan);

/// Replays one program of a stage by itself: for each op, the bytes live while
/// it runs relative to the start of the program (what Op::live claims). Where
/// buffers lie and what waits for what is not looked at.
Result<std::vector<ByteCounts>> replayProgram(const Plan &plan, int64_t stage,
                                              int64_t program);

/// The same for an overlap of a rank: for each place of its order, what
/// Overlap::live claims.
Result<std::vector<ByteCounts>> replayOverlap(const Plan &plan, int64_t rank,
                                              int64_t overlap);

} // namespace moe::plan
