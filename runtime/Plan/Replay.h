//===- Replay.h - what a schedule does to an arena --------------*- C++ -*-===//
//
// Walks the steps of a rank and the programs that they run, and keeps account
// of every buffer: the reference for all that a plan says about live bytes.
//
// Rules:
// - load and receive allocate their value;
// - an op allocates its outputs and its scratch, runs, frees the scratch and
//   then its releases;
// - send leaves its value live, wait_send frees it, collect_loss frees it;
// - an instance is a (stage, value, microbatch), and all steps of a stage and
//   microbatch that name a slot name the same one; parameters, gradients and
//   optimizer state are live throughout;
// - every program runs once for every microbatch, before gradients are reduced
//   and the update is made.
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
  /// The live bytes at the moment when their total is largest, the first such
  /// moment when there are several.
  ByteCounts peak;
  int64_t peakStep = -1; ///< -1 when the rank has no steps
  std::string peakOp;    ///< empty: the step itself
};

/// Replays the schedule of a rank. Errors name the path of the step or op that
/// uses a value that is not live, allocates bytes that are taken, or leaves a
/// value behind; also whatever is wrong with the structure of the rank and its
/// stages. The plan's own claims about live bytes are not looked at.
Result<Replay> replay(const Plan &plan, int64_t rank);

/// Replays one program of a stage by itself: for each op, the bytes live while
/// it runs relative to the start of the program (what Op::live claims).
Result<std::vector<ByteCounts>> replayProgram(const Plan &plan, int64_t stage,
                                              int64_t program);

} // namespace moe::plan
