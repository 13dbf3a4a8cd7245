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
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moe::schedule {

/// What an action computes: a program of the plan.
using plan::Phase;

/// How stages, in model order, lie on ranks.
enum class Placement : uint8_t {
  loop, ///< stage s on rank s % ranks: every pass starts on rank 0
  /// Down the ranks and up again, turning on the same rank: stage s of pass
  /// p = s / ranks on rank s % ranks, for odd p on ranks - 1 - s % ranks.
  v,
  /// Two copies of the model, run in opposite directions: stages 0 to ranks - 1
  /// are the first copy, stage s on rank s; stages ranks to 2 ranks - 1 the
  /// second, stage ranks + s on rank ranks - 1 - s. The first half of the
  /// microbatches runs through the first copy, the others through the second.
  bidirectional,
};
std::string_view name(Placement placement);
std::optional<Placement> parsePlacement(std::string_view text);

/// An instance: how many of everything, and where stages lie.
struct ScheduleProblem {
  int64_t ranks = 1;
  int64_t microbatches = 1;
  int64_t stagesPerRank = 1;
  Placement placement = Placement::loop;
  /// What the last stage loads: roles of `load` steps.
  std::vector<std::string> labelRoles = {"labels"};
  /// The place, in its copy of the model, of the first stage that runs
  /// backward: nothing before it is trained. stagesPerReplica(): no stage does.
  int64_t firstBackward = 0;

  int64_t stages() const { return ranks * stagesPerRank; }
  /// Copies of the model.
  int64_t replicas() const {
    return placement == Placement::bidirectional ? 2 : 1;
  }
  /// Stages of one copy of the model.
  int64_t stagesPerReplica() const { return stages() / replicas(); }
  int64_t rankOf(int64_t stage) const;
  /// The place of a stage in its copy of the model.
  int64_t positionOf(int64_t stage) const { return stage % stagesPerReplica(); }
  bool isFirst(int64_t stage) const { return positionOf(stage) == 0; }
  bool isLast(int64_t stage) const {
    return positionOf(stage) == stagesPerReplica() - 1;
  }
  bool hasBackward(int64_t stage) const {
    return positionOf(stage) >= firstBackward;
  }
  /// Whether the backward of a stage has a gradient to send on.
  bool sendsGradient(int64_t stage) const {
    return positionOf(stage) > firstBackward;
  }
  /// Whether anything is trained: only then do ranks reduce gradients and
  /// update.
  bool trains() const { return firstBackward < stagesPerReplica(); }
  /// The copy of the model that a microbatch runs through, and whether a stage
  /// belongs to it.
  int64_t replicaOf(int64_t microbatch) const;
  bool runsOn(int64_t microbatch, int64_t stage) const {
    return stage / stagesPerReplica() == replicaOf(microbatch);
  }

  /// Whether the instance is complete: positive counts; loop: no two
  /// consecutive stages on one rank (they would be one stage); v: two stages a
  /// rank or more; bidirectional: two stages a rank, an even number of ranks
  /// and of microbatches.
  Status check() const;
  bool operator==(const ScheduleProblem &) const = default;
};

/// One stage, one phase, one microbatch.
struct Action {
  Phase phase = Phase::forward;
  int64_t stage = 0;
  int64_t microbatch = 0;
  /// Runs interleaved with the rank's next action, which does not overlap any
  /// other: a forward first, then a backward of another stage or microbatch.
  bool overlapsNext = false;
  bool operator==(const Action &) const = default;
};

/// The order of actions on each rank.
struct Schedule {
  std::string name;
  ScheduleProblem problem;
  std::vector<std::vector<Action>> ranks;
  bool operator==(const Schedule &) const = default;
};

/// The same order for a model of which parts are not trained: without the
/// backwards of stages before `firstBackward`, and with a backward in place of
/// backward_input and weight_grad on stages that `hasWeightGradients`, one
/// entry a stage, says to have no weight gradients. Where nothing is trained
/// the forwards are left. The result passes verify() if `schedule` does.
Schedule leaveOutUntrained(const Schedule &schedule, int64_t firstBackward,
                           const std::vector<bool> &hasWeightGradients);

/// Whether the schedule is legal: every microbatch runs forward on every stage
/// exactly once, and on stages with a backward also backward (backward, or
/// backward_input and weight_grad), on the rank that holds the stage;
/// backwards of a stage take microbatches in
/// ascending order; and the order of actions can be executed, each action
/// waiting for the stage before (forward) or after (backward) it.
Status verify(const Schedule &schedule);

/// The most microbatches that `rank` holds at once: counted per (stage,
/// microbatch) from its forward to the end of its last action. Both of an
/// overlapping pair are held.
int64_t maxInFlight(const Schedule &schedule, int64_t rank);

/// Whether `stage` runs every microbatch backward right behind its forward, as
/// the last one does under most schedules. False where it runs none.
bool turnsAtOnce(const Schedule &schedule, int64_t stage);

/// Whether some gradients of weights are actions of their own.
bool splitsBackwards(const Schedule &schedule);

/// The stages of all overlapping pairs, that of the forward first.
std::set<std::pair<int64_t, int64_t>>
overlappingPairs(const Schedule &schedule);

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
  /// Of an overlap: what runs interleaved with the phase, stage and microbatch
  /// above.
  Action second = {};
  bool operator==(const Step &) const = default;
};

/// "receive forward of stage 1, microbatch 3, from rank 0".
std::string describe(const Step &step);
/// "forward of stage 1, microbatch 3".
std::string describe(const Action &action);

/// The full list of steps of each rank.
struct StepSchedule {
  ScheduleProblem problem;
  std::vector<std::vector<Step>> ranks;
  bool operator==(const StepSchedule &) const = default;
};

/// How early receives are posted. One that is posted before it is needed lets
/// the transfer run behind the rank's own work, and takes its bytes for longer.
enum class ReceiveAhead : uint8_t {
  never, ///< right before the action that needs it
  /// One action earlier, as long as no stage needs another slot for it: a
  /// stage's input lies in the slot of its microbatch.
  inFreeSlots,
  always, ///< one action earlier
};

/// Puts around every action what it needs: loads (tokens on the first stage of
/// each copy of the model, labels on the last) and receives before it; after it
/// the send to the next stage, or collect_loss after the forward of the last.
/// Both of an overlapping pair have theirs before and after the overlap step.
///
/// Each stage has one send buffer a direction, so wait_send stands right before
/// the next action that fills the buffer again, and for the last ones after the
/// rank's last action. Each stage has one buffer for the gradient of its output
/// and, in the microbatch's slot, one a microbatch for its input.
///
/// Receives are posted as `ahead` says when that buffer is not in use; earlier
/// when messages from the same rank arrive in another order than they are
/// needed, or when the ranks could not go on otherwise. A gradient that a rank
/// hands over to itself is received right behind its send when its buffer is
/// free, unless `ahead` is never.
/// reduce_gradients and update end every rank if anything is trained. The
/// schedule must pass verify(); the steps then do too, unless the ranks would
/// need more buffers to follow the schedule, which verify() reports.
StepSchedule insertTransfers(const Schedule &schedule,
                             ReceiveAhead ahead = ReceiveAhead::inFreeSlots);

/// Whether the steps are legal: the actions they run pass verify(Schedule);
/// every action finds its inputs, received or loaded for it and not used up;
/// no send buffer is filled before it was waited for, none is left unwaited; no
/// gradient is received before the stage has used the one before; the k-th send
/// from one rank to another is the k-th receive there; the loss of each
/// microbatch is collected once; each rank ends with reduce_gradients and
/// update if anything is trained, and has neither otherwise; and execution
/// cannot deadlock when sends and receives post and return, run and overlap
/// block until their messages were sent, and wait_send blocks until the receive
/// was posted. A deadlock is reported as the circle of ranks and steps.
Status verify(const StepSchedule &steps);

/// Which of a stage's slots each microbatch uses.
struct SlotAssignment {
  /// Per rank and step: the slot of the step's stage and microbatch; -1 for
  /// steps without one. A slot is held from the first step of its stage and
  /// microbatch (load, receive or forward run) to the end of its last run;
  /// transfers that follow read send buffers only.
  std::vector<std::vector<int64_t>> slots;
  /// The same for the second of an overlap; -1 for all other steps.
  std::vector<std::vector<int64_t>> secondSlots;
  /// Per stage: how many slots it needs.
  std::vector<int64_t> slotCounts;
};

/// Gives every microbatch the lowest slot of its stage that is free.
SlotAssignment assignSlots(const StepSchedule &steps);

} // namespace moe::schedule
