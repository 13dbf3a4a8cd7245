// Legality of the full list of steps: buffers, messages, deadlock.
#include "compiler/Schedule/Progress.h"
#include "compiler/Schedule/Schedule.h"

#include <algorithm>
#include <array>

namespace moe::schedule {

using plan::StepKind;

namespace {

/// A message buffer of one stage and direction.
struct SendBuffer {
  enum class State : uint8_t { empty, filled, posted } state = State::empty;
  int64_t microbatch = -1;
};

/// What a microbatch finds on its stage.
struct Arrived {
  bool tokens = false, input = false, gradient = false;
  size_t labels = 0; ///< how many of the problem's label roles
  bool forwardDone = false, lossCollected = false;
};

class Checker {
public:
  explicit Checker(const StepSchedule &schedule)
      : schedule(schedule), problem(schedule.problem) {}

  Status run() {
    MOE_RETURN_IF_ERROR(problem.check());
    if (schedule.ranks.size() != static_cast<size_t>(problem.ranks))
      return Error{"steps: there are " + std::to_string(schedule.ranks.size()) +
                   " ranks, the problem has " + std::to_string(problem.ranks)};
    arrived.assign(static_cast<size_t>(problem.stages() * problem.microbatches),
                   {});
    buffers.assign(static_cast<size_t>(2 * problem.stages()), {});
    gradientOf.assign(static_cast<size_t>(problem.stages()), -1);
    lossPending.assign(static_cast<size_t>(problem.stages()), false);
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
      MOE_RETURN_IF_ERROR(checkRank(rank));
    MOE_RETURN_IF_ERROR(checkActions());
    MOE_RETURN_IF_ERROR(checkMessages());
    return checkDeadlock();
  }

private:
  Error fail(size_t rank, size_t index, const std::string &what) const {
    return Error{"steps: rank " + std::to_string(rank) + ", step " +
                 std::to_string(index) + " (" +
                 describe(schedule.ranks[rank][index]) + "): " + what};
  }

  Arrived &of(int64_t stage, int64_t microbatch) {
    return arrived[static_cast<size_t>(stage * problem.microbatches +
                                       microbatch)];
  }
  Arrived &of(const Step &step) { return of(step.stage, step.microbatch); }
  static size_t bufferIndex(int64_t stage, Phase phase) {
    return static_cast<size_t>(2 * stage + (phase == Phase::forward ? 0 : 1));
  }
  SendBuffer &bufferOf(const Step &step) {
    return buffers[bufferIndex(step.stage, step.phase)];
  }

  /// What a run or overlap executes.
  struct Executed {
    std::array<Action, 2> actions;
    size_t count = 0;
    const Action *begin() const { return actions.data(); }
    const Action *end() const { return actions.data() + count; }
  };
  static Executed executedBy(const Step &step) {
    return {{Action{step.phase, step.stage, step.microbatch,
                    step.kind == StepKind::overlap},
             step.second},
            step.kind == StepKind::overlap ? size_t{2} : size_t{1}};
  }

  Status checkRank(size_t rank) {
    const std::vector<Step> &steps = schedule.ranks[rank];
    size_t count = steps.size(), atEnd = problem.trains() ? 2 : 0;
    if (problem.trains() &&
        (count < 2 || steps[count - 2].kind != StepKind::reduce_gradients ||
         steps[count - 1].kind != StepKind::update))
      return Error{"steps: rank " + std::to_string(rank) +
                   " must end with reduce_gradients and update"};
    for (size_t i = 0; i + atEnd < count; ++i) {
      const Step &step = steps[i];
      if (step.kind == StepKind::reduce_gradients ||
          step.kind == StepKind::update)
        return fail(rank, i,
                    problem.trains() ? "belongs at the end of the rank"
                                     : "has nothing to do: nothing is trained");
      MOE_RETURN_IF_ERROR(checkPlace(rank, i, step.stage, step.microbatch));
      MOE_RETURN_IF_ERROR(checkStep(rank, i, step));
    }
    for (int64_t stage = 0; stage < problem.stages(); ++stage)
      for (int64_t direction : {0, 1})
        if (const SendBuffer &buffer =
                buffers[static_cast<size_t>(2 * stage + direction)];
            problem.rankOf(stage) == static_cast<int64_t>(rank) &&
            buffer.state != SendBuffer::State::empty)
          return Error{"steps: rank " + std::to_string(rank) + ": the " +
                       (direction == 0 ? "forward" : "backward") +
                       " message of stage " + std::to_string(stage) +
                       ", microbatch " + std::to_string(buffer.microbatch) +
                       (buffer.state == SendBuffer::State::filled
                            ? " is never sent"
                            : " is never waited for (wait_send is missing)")};
    return {};
  }

  Status checkPlace(size_t rank, size_t i, int64_t stage, int64_t microbatch) {
    if (stage < 0 || stage >= problem.stages() ||
        problem.rankOf(stage) != static_cast<int64_t>(rank))
      return fail(rank, i, "the stage does not lie on this rank");
    if (microbatch < 0 || microbatch >= problem.microbatches)
      return fail(rank, i,
                  "there are " + std::to_string(problem.microbatches) +
                      " microbatches");
    if (!problem.runsOn(microbatch, stage))
      return fail(rank, i,
                  "the microbatch runs through the other copy of the model");
    return {};
  }

  Status checkStep(size_t rank, size_t i, const Step &step) {
    switch (step.kind) {
    case StepKind::load:
      return checkLoad(rank, i, step);
    case StepKind::receive:
      return checkReceive(rank, i, step);
    case StepKind::run:
    case StepKind::overlap:
      return checkExecution(rank, i, step);
    case StepKind::send:
    case StepKind::wait_send:
      return checkSend(rank, i, step);
    case StepKind::collect_loss:
      if (!problem.isLast(step.stage))
        return fail(rank, i, "only the last stage has a loss");
      if (!of(step).forwardDone)
        return fail(rank, i, "comes before the forward that makes the loss");
      if (of(step).lossCollected)
        return fail(rank, i, "the loss was collected before");
      of(step).lossCollected = true;
      lossPending[static_cast<size_t>(step.stage)] = false;
      return {};
    case StepKind::reduce_gradients:
    case StepKind::update:
      break;
    }
    return {};
  }

  Status checkLoad(size_t rank, size_t i, const Step &step) {
    bool tokens = step.role == "tokens";
    const std::vector<std::string> &roles = problem.labelRoles;
    auto label = std::find(roles.begin(), roles.end(), step.role);
    if (!tokens && label == roles.end())
      return fail(rank, i, "role must be tokens or labels");
    if (tokens ? !problem.isFirst(step.stage) : !problem.isLast(step.stage))
      return fail(rank, i,
                  tokens ? "only the first stage takes tokens"
                         : "only the last stage takes labels");
    if (tokens)
      return arrive(rank, i, step, of(step).tokens);
    // Labels come in the order of their roles.
    size_t &labels = of(step).labels;
    auto number = static_cast<size_t>(label - roles.begin());
    bool seen = number < labels;
    if (number > labels)
      return fail(rank, i, roles[labels] + " must be loaded before");
    MOE_RETURN_IF_ERROR(arrive(rank, i, step, seen));
    ++labels;
    return {};
  }

  Status arrive(size_t rank, size_t i, const Step &step, bool &flag) {
    if (flag)
      return fail(rank, i, "happens twice");
    bool forward = step.kind == StepKind::load || step.phase == Phase::forward;
    if (forward && of(step).forwardDone)
      return fail(rank, i, "comes after the forward that needs it");
    flag = true;
    return {};
  }

  Status checkReceive(size_t rank, size_t i, const Step &step) {
    bool forward = step.phase == Phase::forward;
    if (!forward && step.phase != Phase::backward)
      return fail(rank, i, "transfers are forward or backward");
    if (forward ? problem.isFirst(step.stage) : problem.isLast(step.stage))
      return fail(rank, i, "there is no stage that it could come from");
    if (!forward && !problem.hasBackward(step.stage))
      return fail(rank, i, "the stage has no backward that could take it");
    int64_t peer = problem.rankOf(step.stage + (forward ? -1 : 1));
    if (step.peer != peer)
      return fail(rank, i, "must come from rank " + std::to_string(peer));
    MOE_RETURN_IF_ERROR(
        arrive(rank, i, step, forward ? of(step).input : of(step).gradient));
    if (forward)
      return {};
    int64_t &holder = gradientOf[static_cast<size_t>(step.stage)];
    if (holder >= 0)
      return fail(rank, i,
                  "the gradient of microbatch " + std::to_string(holder) +
                      ", for which the stage has its one buffer, was not used");
    holder = step.microbatch;
    return {};
  }

  Status checkExecution(size_t rank, size_t i, const Step &step) {
    for (const Action &action : executedBy(step)) {
      MOE_RETURN_IF_ERROR(checkPlace(rank, i, action.stage, action.microbatch));
      MOE_RETURN_IF_ERROR(checkInputs(rank, i, action));
    }
    for (const Action &action : executedBy(step))
      MOE_RETURN_IF_ERROR(checkOutput(rank, i, action));
    return {};
  }

  Status checkInputs(size_t rank, size_t i, const Action &action) {
    if (action.phase == Phase::weight_grad)
      return {};
    const Arrived &state = of(action.stage, action.microbatch);
    bool forward = action.phase == Phase::forward;
    bool first = problem.isFirst(action.stage);
    bool last = problem.isLast(action.stage);
    if (forward && !first && !state.input)
      return fail(rank, i, "its input was not received");
    if (forward && first && !state.tokens)
      return fail(rank, i, "its tokens were not loaded");
    if (forward && last && state.labels != problem.labelRoles.size())
      return fail(rank, i, "its labels were not loaded");
    if (!forward && !last && !state.gradient)
      return fail(rank, i, "the gradient of its output was not received");
    return {};
  }

  Status checkOutput(size_t rank, size_t i, const Action &action) {
    if (action.phase == Phase::weight_grad)
      return {};
    bool forward = action.phase == Phase::forward;
    auto stage = static_cast<size_t>(action.stage);
    if (forward)
      of(action.stage, action.microbatch).forwardDone = true;
    else
      gradientOf[stage] = -1;
    if (forward && problem.isLast(action.stage)) {
      if (lossPending[stage])
        return fail(rank, i,
                    "the loss of the microbatch before was not collected");
      lossPending[stage] = true;
      return {};
    }
    if (!forward && !problem.sendsGradient(action.stage))
      return {};
    SendBuffer &buffer = buffers[bufferIndex(action.stage, action.phase)];
    if (buffer.state != SendBuffer::State::empty)
      return fail(rank, i,
                  "fills the send buffer that still holds microbatch " +
                      std::to_string(buffer.microbatch) +
                      "; wait_send must come before");
    buffer = {SendBuffer::State::filled, action.microbatch};
    return {};
  }

  Status checkSend(size_t rank, size_t i, const Step &step) {
    bool forward = step.phase == Phase::forward;
    if (!forward && step.phase != Phase::backward)
      return fail(rank, i, "transfers are forward or backward");
    if (forward ? problem.isLast(step.stage) : problem.isFirst(step.stage))
      return fail(rank, i, "there is no stage that it could go to");
    if (!forward && !problem.sendsGradient(step.stage))
      return fail(rank, i, "no stage before this one takes a gradient");
    int64_t peer = problem.rankOf(step.stage + (forward ? 1 : -1));
    if (step.peer != peer)
      return fail(rank, i, "must go to rank " + std::to_string(peer));
    SendBuffer &buffer = bufferOf(step);
    bool send = step.kind == StepKind::send;
    auto wanted = send ? SendBuffer::State::filled : SendBuffer::State::posted;
    if (buffer.state != wanted || buffer.microbatch != step.microbatch)
      return fail(rank, i,
                  send ? "the send buffer does not hold this microbatch"
                       : "this microbatch has not been sent, or was waited "
                         "for already");
    buffer.state = send ? SendBuffer::State::posted : SendBuffer::State::empty;
    return {};
  }

  Status checkActions() {
    Schedule actions{"", problem, {}};
    for (const auto &steps : schedule.ranks) {
      auto &list = actions.ranks.emplace_back();
      for (const Step &step : steps)
        if (plan::isExecution(step.kind))
          for (const Action &action : executedBy(step))
            list.push_back(action);
    }
    MOE_RETURN_IF_ERROR(verify(actions));
    for (int64_t m = 0; m < problem.microbatches; ++m) {
      int64_t last =
          (problem.replicaOf(m) + 1) * problem.stagesPerReplica() - 1;
      if (!of(last, m).lossCollected)
        return Error{"steps: the loss of microbatch " + std::to_string(m) +
                     " is never collected"};
    }
    return {};
  }

  /// The messages from one rank to another, as the sender and as the receiver
  /// list them. Indices into the ranks' steps.
  struct Channel {
    std::vector<size_t> sends, receives;
  };
  Channel &channel(size_t from, size_t to) {
    return channels[from * schedule.ranks.size() + to];
  }

  Status checkMessages() {
    size_t ranks = schedule.ranks.size();
    channels.assign(ranks * ranks, {});
    ordinals.resize(ranks);
    for (size_t rank = 0; rank < ranks; ++rank) {
      const auto &steps = schedule.ranks[rank];
      ordinals[rank].assign(steps.size(), 0);
      for (size_t i = 0; i < steps.size(); ++i) {
        auto peer = static_cast<size_t>(steps[i].peer);
        if (steps[i].kind == StepKind::send) {
          ordinals[rank][i] = channel(rank, peer).sends.size();
          channel(rank, peer).sends.push_back(i);
        } else if (steps[i].kind == StepKind::receive) {
          ordinals[rank][i] = channel(peer, rank).receives.size();
          channel(peer, rank).receives.push_back(i);
        }
      }
    }
    for (size_t from = 0; from < ranks; ++from)
      for (size_t to = 0; to < ranks; ++to)
        MOE_RETURN_IF_ERROR(checkChannel(from, to));
    return {};
  }

  Status checkChannel(size_t from, size_t to) {
    const Channel &messages = channel(from, to);
    for (size_t k = 0;
         k < std::min(messages.sends.size(), messages.receives.size()); ++k) {
      const Step &send = schedule.ranks[from][messages.sends[k]];
      const Step &receive = schedule.ranks[to][messages.receives[k]];
      int64_t distance = send.phase == Phase::forward ? 1 : -1;
      if (send.phase != receive.phase ||
          send.microbatch != receive.microbatch ||
          send.stage + distance != receive.stage)
        return fail(to, messages.receives[k],
                    "meets another message: rank " + std::to_string(from) +
                        ", step " + std::to_string(messages.sends[k]) + " (" +
                        describe(send) + ")");
    }
    if (messages.sends.size() > messages.receives.size())
      return fail(from, messages.sends[messages.receives.size()],
                  "rank " + std::to_string(to) + " never receives it");
    if (messages.receives.size() > messages.sends.size())
      return fail(to, messages.receives[messages.sends.size()],
                  "rank " + std::to_string(from) + " never sends it");
    return {};
  }

  Status checkDeadlock() {
    size_t ranks = schedule.ranks.size();
    std::vector<size_t> counts;
    for (const auto &steps : schedule.ranks)
      counts.push_back(steps.size());
    // How many messages of a channel were sent, and posted for.
    std::vector<size_t> sent(ranks * ranks, 0), posted(ranks * ranks, 0);
    // The ordinal of the message in each send buffer and, by stage, direction
    // and microbatch, of each that arrives.
    std::vector<size_t> inBuffer(buffers.size(), 0);
    std::vector<size_t> arriving(buffers.size() *
                                 static_cast<size_t>(problem.microbatches));
    auto arrivalOf = [&](int64_t stage, Phase phase, int64_t microbatch) {
      return bufferIndex(stage, phase) *
                 static_cast<size_t>(problem.microbatches) +
             static_cast<size_t>(microbatch);
    };
    auto senderOf = [&](const Action &action) -> int64_t {
      bool forward = action.phase == Phase::forward;
      if (action.phase == Phase::weight_grad ||
          (forward ? problem.isFirst(action.stage)
                   : problem.isLast(action.stage)))
        return -1;
      return problem.rankOf(action.stage + (forward ? -1 : 1));
    };
    auto tryStep = [&](size_t rank, size_t index) -> int64_t {
      const Step &step = schedule.ranks[rank][index];
      auto peer = static_cast<size_t>(step.peer);
      size_t ordinal = ordinals[rank][index];
      if (step.kind == StepKind::send) {
        sent[rank * ranks + peer] = ordinal + 1;
        inBuffer[bufferIndex(step.stage, step.phase)] = ordinal;
      } else if (step.kind == StepKind::receive) {
        posted[peer * ranks + rank] = ordinal + 1;
        arriving[arrivalOf(step.stage, step.phase, step.microbatch)] = ordinal;
      } else if (step.kind == StepKind::wait_send) {
        if (posted[rank * ranks + peer] <=
            inBuffer[bufferIndex(step.stage, step.phase)])
          return step.peer;
      } else if (plan::isExecution(step.kind)) {
        for (const Action &action : executedBy(step)) {
          int64_t sender = senderOf(action);
          if (sender >= 0 && sent[static_cast<size_t>(sender) * ranks + rank] <=
                                 arriving[arrivalOf(action.stage, action.phase,
                                                    action.microbatch)])
            return sender;
        }
      }
      return -1;
    };
    Status status = runToEnd(counts, tryStep, [&](size_t rank, size_t index) {
      return describe(schedule.ranks[rank][index]);
    });
    if (!status)
      return Error{"steps: " + status.error().message};
    return {};
  }

  const StepSchedule &schedule;
  const ScheduleProblem &problem;
  std::vector<Arrived> arrived;    ///< by stage, then microbatch
  std::vector<SendBuffer> buffers; ///< by stage, then direction
  std::vector<int64_t> gradientOf; ///< microbatch whose gradient was received
                                   ///< and not used, -1: none; by stage
  std::vector<bool> lossPending;   ///< by stage
  std::vector<Channel> channels;   ///< by sender, then receiver
  std::vector<std::vector<size_t>> ordinals; ///< of sends and receives
};

} // namespace

Status verify(const StepSchedule &steps) { return Checker(steps).run(); }

} // namespace moe::schedule
