// Legality of the full list of steps: buffers, messages, deadlock.
#include "compiler/Schedule/Progress.h"
#include "compiler/Schedule/Schedule.h"

#include <algorithm>

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

  Arrived &of(const Step &step) {
    return arrived[static_cast<size_t>(step.stage * problem.microbatches +
                                       step.microbatch)];
  }
  SendBuffer &bufferOf(const Step &step) {
    return buffers[static_cast<size_t>(2 * step.stage +
                                       (step.phase == Phase::forward ? 0 : 1))];
  }

  Status checkRank(size_t rank) {
    const std::vector<Step> &steps = schedule.ranks[rank];
    size_t count = steps.size();
    if (count < 2 || steps[count - 2].kind != StepKind::reduce_gradients ||
        steps[count - 1].kind != StepKind::update)
      return Error{"steps: rank " + std::to_string(rank) +
                   " must end with reduce_gradients and update"};
    for (size_t i = 0; i + 2 < count; ++i) {
      const Step &step = steps[i];
      if (step.kind == StepKind::reduce_gradients ||
          step.kind == StepKind::update)
        return fail(rank, i, "belongs at the end of the rank");
      if (step.stage < 0 || step.stage >= problem.stages() ||
          problem.rankOf(step.stage) != static_cast<int64_t>(rank))
        return fail(rank, i, "the stage does not lie on this rank");
      if (step.microbatch < 0 || step.microbatch >= problem.microbatches)
        return fail(rank, i,
                    "there are " + std::to_string(problem.microbatches) +
                        " microbatches");
      MOE_RETURN_IF_ERROR(checkStep(rank, i, step));
    }
    for (int64_t stage = static_cast<int64_t>(rank); stage < problem.stages();
         stage += problem.ranks)
      for (int64_t direction : {0, 1})
        if (const SendBuffer &buffer =
                buffers[static_cast<size_t>(2 * stage + direction)];
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

  Status checkStep(size_t rank, size_t i, const Step &step) {
    switch (step.kind) {
    case StepKind::load:
      return checkLoad(rank, i, step);
    case StepKind::receive:
      return checkReceive(rank, i, step);
    case StepKind::run:
      return checkRun(rank, i, step);
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
      lossPending = false;
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
    int64_t peer = problem.rankOf(step.stage + (forward ? -1 : 1));
    if (step.peer != peer)
      return fail(rank, i, "must come from rank " + std::to_string(peer));
    return arrive(rank, i, step, forward ? of(step).input : of(step).gradient);
  }

  Status checkRun(size_t rank, size_t i, const Step &step) {
    if (step.phase == Phase::weight_grad)
      return {};
    Arrived &state = of(step);
    bool forward = step.phase == Phase::forward;
    bool needsInput = forward && !problem.isFirst(step.stage);
    bool needsGradient = !forward && !problem.isLast(step.stage);
    if (needsInput && !state.input)
      return fail(rank, i, "its input was not received");
    if (forward && problem.isFirst(step.stage) && !state.tokens)
      return fail(rank, i, "its tokens were not loaded");
    if (forward && problem.isLast(step.stage) &&
        state.labels != problem.labelRoles.size())
      return fail(rank, i, "its labels were not loaded");
    if (needsGradient && !state.gradient)
      return fail(rank, i, "the gradient of its output was not received");
    if (forward)
      state.forwardDone = true;
    if (forward && problem.isLast(step.stage)) {
      if (lossPending)
        return fail(rank, i,
                    "the loss of the microbatch before was not collected");
      lossPending = true;
      return {};
    }
    if (!forward && problem.isFirst(step.stage))
      return {};
    SendBuffer &buffer = bufferOf(step);
    if (buffer.state != SendBuffer::State::empty)
      return fail(rank, i,
                  "fills the send buffer that still holds microbatch " +
                      std::to_string(buffer.microbatch) +
                      "; wait_send must come before");
    buffer = {SendBuffer::State::filled, step.microbatch};
    return {};
  }

  Status checkSend(size_t rank, size_t i, const Step &step) {
    bool forward = step.phase == Phase::forward;
    if (!forward && step.phase != Phase::backward)
      return fail(rank, i, "transfers are forward or backward");
    if (forward ? problem.isLast(step.stage) : problem.isFirst(step.stage))
      return fail(rank, i, "there is no stage that it could go to");
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
        if (step.kind == StepKind::run)
          list.push_back({step.phase, step.stage, step.microbatch});
    }
    MOE_RETURN_IF_ERROR(verify(actions));
    for (int64_t m = 0; m < problem.microbatches; ++m) {
      Step last{StepKind::collect_loss,
                Phase::forward,
                problem.stages() - 1,
                m,
                -1,
                {}};
      if (!of(last).lossCollected)
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
    // How many messages of a channel have been posted and taken.
    std::vector<size_t> posted(ranks * ranks, 0), taken(ranks * ranks, 0);
    // The ordinal of the message in each posted send buffer.
    std::vector<size_t> inBuffer(buffers.size(), 0);
    auto tryStep = [&](size_t rank, size_t index) -> int64_t {
      const Step &step = schedule.ranks[rank][index];
      auto peer = static_cast<size_t>(step.peer);
      size_t ordinal = ordinals[rank][index];
      if (step.kind == StepKind::send) {
        posted[rank * ranks + peer] = ordinal + 1;
        inBuffer[static_cast<size_t>(&bufferOf(step) - buffers.data())] =
            ordinal;
      } else if (step.kind == StepKind::receive) {
        if (posted[peer * ranks + rank] <= ordinal)
          return step.peer;
        taken[peer * ranks + rank] = ordinal + 1;
      } else if (step.kind == StepKind::wait_send) {
        size_t sent =
            inBuffer[static_cast<size_t>(&bufferOf(step) - buffers.data())];
        if (taken[rank * ranks + peer] <= sent)
          return step.peer;
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
  std::vector<Arrived> arrived;              ///< by stage, then microbatch
  std::vector<SendBuffer> buffers;           ///< by stage, then direction
  bool lossPending = false;                  ///< there is one last stage
  std::vector<Channel> channels;             ///< by sender, then receiver
  std::vector<std::vector<size_t>> ordinals; ///< of sends and receives
};

} // namespace

Status verify(const StepSchedule &steps) { return Checker(steps).run(); }

} // namespace moe::schedule
