//===- Schedule.h - pipeline schedules as plain data ------------*- C++ -*-===//
//
// A problem (how many ranks, stages, microbatches), the order in which each
// rank works through it, and the full list of steps with loads, transfers and
// the end of the training step. Generators never talk to IR; everything they
// make passes verify().
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe::schedule {

/// What an action computes. `backward` is the gradient of the input and of the
/// weights together; the other two are its halves.
enum class Phase : uint8_t { forward, backward, backward_input, weight_grad };
std::string_view name(Phase phase);

/// An instance. Stages are numbered in model order and placed in a loop: stage
/// s lies on rank s % ranks.
struct ScheduleProblem {
  int64_t ranks = 1;
  int64_t microbatches = 1;
  int64_t stagesPerRank = 1;
  /// What the last stage loads: roles of `load` steps.
  std::vector<std::string> labelRoles = {"labels"};

  int64_t stages() const { return ranks * stagesPerRank; }
  int64_t rankOf(int64_t stage) const { return stage % ranks; }
  bool isFirst(int64_t stage) const { return stage == 0; }
  bool isLast(int64_t stage) const { return stage == stages() - 1; }

  /// Whether the instance is complete: positive counts, and no two consecutive
  /// stages on one rank (they would be one stage).
  Status check() const;
  bool operator==(const ScheduleProblem &) const = default;
};

/// One stage, one phase, one microbatch.
struct Action {
  Phase phase = Phase::forward;
  int64_t stage = 0;
  int64_t microbatch = 0;
  bool operator==(const Action &) const = default;
};

/// The order of actions on each rank.
struct Schedule {
  std::string name;
  ScheduleProblem problem;
  std::vector<std::vector<Action>> ranks;
  bool operator==(const Schedule &) const = default;
};

/// All forwards, then all backwards, microbatches ascending in both
/// (arXiv 1811.06965, with backwards in ascending order so that gradient sums
/// do not depend on the schedule). Needs one stage per rank. Every rank holds
/// all microbatches at once.
Result<Schedule> gpipe(const ScheduleProblem &problem);

/// Rank r runs min(M, P - r - 1) forwards, then alternates one forward and one
/// backward, then drains (PipeDream-Flush, arXiv 2006.09503). Needs one stage
/// per rank. Rank r holds min(M, P - r) microbatches at once.
Result<Schedule> oneForwardOneBackward(const ScheduleProblem &problem);

/// The generator called `name` ("gpipe" or "1f1b"); the error lists the names.
Result<Schedule> generate(std::string_view name,
                          const ScheduleProblem &problem);

/// Whether the schedule is legal: every microbatch runs on every stage forward
/// and backward exactly once (backward, or backward_input and weight_grad), on
/// the rank that holds the stage; backwards of a stage take microbatches in
/// ascending order; and the order of actions can be executed, each action
/// waiting for the stage before (forward) or after (backward) it.
Status verify(const Schedule &schedule);

/// The most microbatches that `rank` holds at once: counted per (stage,
/// microbatch) from its forward to the end of its last action.
int64_t maxInFlight(const Schedule &schedule, int64_t rank);

/// One entry of a rank's full list. `stage`, `microbatch` and `phase` say what
/// the step belongs to; they are -1 (and forward) for reduce_gradients and
/// update.
///  load: `role` is "tokens" or one of the problem's label roles.
///  receive: forward, the input of `stage`; backward, the gradient of its
///    output. send and wait_send: forward, the output of `stage`; backward, the
///    gradient of its input. Transfers carry the phase forward or backward,
///    also where the backward is split.
struct Step {
  plan::StepKind kind = plan::StepKind::run;
  Phase phase = Phase::forward;
  int64_t stage = -1;
  int64_t microbatch = -1;
  int64_t peer = -1; ///< rank, of receive, send and wait_send
  std::string role;
  bool operator==(const Step &) const = default;
};

/// "receive forward of stage 1, microbatch 3, from rank 0".
std::string describe(const Step &step);

/// The full list of steps of each rank.
struct StepSchedule {
  ScheduleProblem problem;
  std::vector<std::vector<Step>> ranks;
  bool operator==(const StepSchedule &) const = default;
};

/// Puts around every action what it needs: loads (tokens on the first stage,
/// labels on the last) and receives before it; after it the send to the next
/// stage, or collect_loss after the forward of the last. Each stage has one
/// send buffer a direction, so wait_send stands right before the next action
/// that fills the buffer again, and for the last ones after the rank's last
/// action. reduce_gradients and update end every rank. The schedule must pass
/// verify().
StepSchedule insertTransfers(const Schedule &schedule);

/// Whether the steps are legal: the actions they run pass verify(Schedule);
/// every action finds its inputs, received or loaded for it and not used up;
/// no send buffer is filled before it was waited for, none is left unwaited;
/// the k-th send from one rank to another is the k-th receive there; the loss
/// of each microbatch is collected once; each rank ends with reduce_gradients
/// and update; and execution cannot deadlock when sends post and return,
/// receives block until the send was posted, and wait_send blocks until the
/// receive has run. A deadlock is reported as the circle of ranks and steps.
Status verify(const StepSchedule &steps);

/// Which of a stage's slots each microbatch uses.
struct SlotAssignment {
  /// Per rank and step: the slot of the step's stage and microbatch; -1 for
  /// steps without one. A slot is held from the first step of its stage and
  /// microbatch (load, receive or forward run) to the end of its last run;
  /// transfers that follow read send buffers only.
  std::vector<std::vector<int64_t>> slots;
  /// Per stage: how many slots it needs.
  std::vector<int64_t> slotCounts;
};

/// Gives every microbatch the lowest slot of its stage that is free.
SlotAssignment assignSlots(const StepSchedule &steps);

} // namespace moe::schedule
