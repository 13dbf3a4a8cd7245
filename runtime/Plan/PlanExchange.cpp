//===- PlanExchange.cpp - what all ranks do together ----------------------===//
//
// A rank's sends to a peer and that peer's receives from it meet in order, as
// they do on every transport without tags: the k-th with the k-th.
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/Checks.h"

#include <algorithm>
#include <deque>
#include <tuple>

namespace moe::plan {
namespace {

std::string stepPath(int64_t rank, int64_t step) {
  return element(element("$.ranks", rank) + ".steps", step);
}

/// One end of a transfer.
struct End {
  int64_t rank;
  int64_t step;
};

/// What one rank sends to another, in order.
struct Channel {
  std::vector<End> sends;
  std::vector<End> receives;
};

using Channels = std::map<std::pair<int64_t, int64_t>, Channel>;

Channels collectChannels(const Plan &plan) {
  Channels channels;
  for (size_t r = 0; r < plan.ranks.size(); ++r) {
    const std::vector<Step> &steps = plan.ranks[r].steps;
    for (size_t i = 0; i < steps.size(); ++i) {
      End end{static_cast<int64_t>(r), static_cast<int64_t>(i)};
      if (steps[i].kind == StepKind::send)
        channels[{end.rank, steps[i].peer}].sends.push_back(end);
      if (steps[i].kind == StepKind::receive)
        channels[{steps[i].peer, end.rank}].receives.push_back(end);
    }
  }
  return channels;
}

std::string describe(const Value &value) {
  std::string text = std::string(name(value.dtype)) + "[";
  for (size_t i = 0; i < value.shape.size(); ++i)
    text += (i ? "," : "") + std::to_string(value.shape[i]);
  return text + "]";
}

Status checkPair(const Plan &plan, End send, End receive) {
  const Step &from = plan.ranks[send.rank].steps[send.step];
  const Step &to = plan.ranks[receive.rank].steps[receive.step];
  auto fail = [&](const char *key, const std::string &reason) {
    return errorAt(stepPath(receive.rank, receive.step) + key,
                   reason + "; it meets " + stepPath(send.rank, send.step));
  };
  if (from.microbatch != to.microbatch)
    return fail(".microbatch", "is " + std::to_string(to.microbatch) +
                                   ", but " + std::to_string(from.microbatch) +
                                   " is sent");
  const Value &sent = plan.stages[from.stage].values[from.value];
  const Value &received = plan.stages[to.stage].values[to.value];
  if (sent.dtype != received.dtype || sent.shape != received.shape)
    return fail(".value", quoted(received.name) + " is " + describe(received) +
                              ", but " + quoted(sent.name) + " is " +
                              describe(sent));
  return {};
}

/// Whether all ranks meet in this step.
bool isMeeting(StepKind kind) {
  return kind == StepKind::reduce_gradients || kind == StepKind::update;
}

/// All ranks meet in the same steps in the same order: tied parameters are
/// summed, and the norm of the gradient is, over all of them.
Status checkMeetings(const Plan &plan) {
  auto meetingsOf = [&](int64_t rank) {
    std::vector<int64_t> meetings;
    const std::vector<Step> &steps = plan.ranks[rank].steps;
    for (size_t i = 0; i < steps.size(); ++i)
      if (isMeeting(steps[i].kind))
        meetings.push_back(static_cast<int64_t>(i));
    return meetings;
  };
  std::vector<int64_t> first = meetingsOf(0);
  for (size_t r = 1; r < plan.ranks.size(); ++r) {
    auto rank = static_cast<int64_t>(r);
    std::vector<int64_t> own = meetingsOf(rank);
    for (size_t i = 0; i < std::max(first.size(), own.size()); ++i) {
      auto describe = [&](int64_t rank, const std::vector<int64_t> &meetings) {
        if (i >= meetings.size())
          return "rank " + std::to_string(rank) + " has none";
        const Step &step = plan.ranks[rank].steps[meetings[i]];
        return "rank " + std::to_string(rank) + " has " +
               quoted(name(step.kind)) + " (" + stepPath(rank, meetings[i]) +
               ")";
      };
      bool both = i < first.size() && i < own.size();
      if (both && plan.ranks[0].steps[first[i]].kind ==
                      plan.ranks[rank].steps[own[i]].kind)
        continue;
      return errorAt(element("$.ranks", rank) + ".steps",
                     "ranks meet in different steps: as number " +
                         std::to_string(i + 1) +
                         " of reduce_gradients and "
                         "update, " +
                         describe(0, first) + " and " + describe(rank, own));
    }
  }
  return {};
}

/// Runs all ranks against each other, as far as messages and meetings hold them
/// up: posting a send or a receive never waits. A program waits until what it
/// has among its inputs was sent, wait_send until it was taken, and
/// reduce_gradients and update until every rank has come there.
class Progress {
public:
  explicit Progress(const Plan &plan)
      : plan(plan), states(plan.ranks.size()), received(plan.stages.size()) {
    for (size_t s = 0; s < plan.stages.size(); ++s)
      received[s].resize(plan.stages[s].values.size());
    for (const Rank &rank : plan.ranks)
      for (const Step &step : rank.steps)
        if (step.kind == StepKind::receive)
          received[step.stage][step.value] = true;
  }

  Status run() {
    // Ranks that may get on. What a rank posts lets only its peer get on.
    for (size_t r = 0; r < plan.ranks.size(); ++r)
      wake(static_cast<int64_t>(r));
    while (!ready.empty()) {
      int64_t r = ready.front();
      ready.pop_front();
      states[r].isReady = false;
      while (!isAtEnd(r) && advance(r))
        ++states[r].next;
    }
    for (size_t r = 0; r < plan.ranks.size(); ++r)
      if (!isAtEnd(static_cast<int64_t>(r)))
        return deadlock();
    return {};
  }

private:
  /// Stage, microbatch, value.
  using Key = std::tuple<int64_t, int64_t, int64_t>;
  /// The other end of a message and its number between the two, from 1.
  struct Message {
    int64_t peer;
    int64_t number;
  };
  struct State {
    int64_t next = 0; ///< step
    bool isReady = false;
    bool isMeeting = false; ///< has come to the meeting that is next
    int64_t met = 0;        ///< meetings that are over
    std::map<Key, Message> arriving;
    std::map<std::pair<Key, int64_t>, int64_t> posted; ///< by value and peer
  };

  bool isAtEnd(int64_t r) const {
    return states[r].next == static_cast<int64_t>(plan.ranks[r].steps.size());
  }

  void wake(int64_t r) {
    if (states[r].isReady)
      return;
    states[r].isReady = true;
    ready.push_back(r);
  }

  /// The message that a program of rank `r` waits for first.
  std::optional<Message> firstMissing(int64_t r, int64_t stage, Phase phase,
                                      int64_t microbatch) const {
    for (ValueIndex input : programOf(plan, stage, phase).inputs) {
      if (!received[stage][input])
        continue;
      auto found = states[r].arriving.find({stage, microbatch, input});
      if (found == states[r].arriving.end())
        continue;
      auto count = sends.find({found->second.peer, r});
      if (count == sends.end() || count->second < found->second.number)
        return found->second;
    }
    return std::nullopt;
  }

  std::optional<Message> firstMissing(int64_t r) const {
    const Rank &rank = plan.ranks[r];
    const Step &step = rank.steps[states[r].next];
    std::optional<Message> missing =
        firstMissing(r, step.stage, step.phase, step.microbatch);
    if (missing || step.kind == StepKind::run)
      return missing;
    const Overlap::Member &second = rank.overlaps[step.overlap].members[1];
    return firstMissing(r, second.stage, second.phase, step.secondMicrobatch);
  }

  /// Forgets what a program found among its inputs: it has arrived.
  void take(int64_t r, int64_t stage, Phase phase, int64_t microbatch) {
    for (ValueIndex input : programOf(plan, stage, phase).inputs)
      if (received[stage][input])
        states[r].arriving.erase({stage, microbatch, input});
  }

  /// Whether the meeting that is next for rank `r` is over: all have come.
  bool meet(int64_t r) {
    State &state = states[r];
    if (!state.isMeeting) {
      state.isMeeting = true;
      if (++came[state.met] == static_cast<int64_t>(states.size()))
        for (size_t other = 0; other < states.size(); ++other)
          wake(static_cast<int64_t>(other));
    }
    if (came[state.met] < static_cast<int64_t>(states.size()))
      return false;
    state.isMeeting = false;
    ++state.met;
    return true;
  }

  /// Whether the next step of rank `r` can be done; does it.
  bool advance(int64_t r) {
    const Rank &rank = plan.ranks[r];
    const Step &step = rank.steps[states[r].next];
    Key key{step.stage, step.microbatch, step.value};
    switch (step.kind) {
    case StepKind::send:
      states[r].posted[{key, step.peer}] = ++sends[{r, step.peer}];
      wake(step.peer);
      return true;
    case StepKind::receive:
      states[r].arriving[key] = {step.peer, ++receives[{step.peer, r}]};
      wake(step.peer);
      return true;
    case StepKind::wait_send:
      if (states[r].posted[{key, step.peer}] > receives[{r, step.peer}])
        return false;
      states[r].posted.erase({key, step.peer});
      return true;
    case StepKind::run:
    case StepKind::overlap:
      if (firstMissing(r))
        return false;
      take(r, step.stage, step.phase, step.microbatch);
      if (step.kind == StepKind::overlap) {
        const auto &[stage, phase] = rank.overlaps[step.overlap].members[1];
        take(r, stage, phase, step.secondMicrobatch);
      }
      return true;
    case StepKind::reduce_gradients:
    case StepKind::update:
      return meet(r);
    default:
      return true;
    }
  }

  /// Whom rank `r`, which cannot get on, waits for.
  int64_t blockerOf(int64_t r) const {
    const Step &step = plan.ranks[r].steps[states[r].next];
    if (isExecution(step.kind))
      if (std::optional<Message> missing = firstMissing(r))
        return missing->peer;
    if (isMeeting(step.kind))
      for (size_t other = 0; other < states.size(); ++other)
        if (states[other].met == states[r].met && !states[other].isMeeting)
          return static_cast<int64_t>(other);
    return step.peer;
  }

  /// The ranks that wait for each other: the shortest circle, or the shortest
  /// way to a rank that has ended.
  std::vector<int64_t> findCircle() const {
    std::vector<int64_t> shortest;
    for (size_t r = 0; r < states.size(); ++r) {
      std::vector<int64_t> way;
      auto at = static_cast<int64_t>(r);
      auto seen = way.end();
      while (!isAtEnd(at) &&
             (seen = std::find(way.begin(), way.end(), at)) == way.end()) {
        way.push_back(at);
        at = blockerOf(at);
      }
      if (!isAtEnd(at))
        way.erase(way.begin(), seen);
      if (!way.empty() && (shortest.empty() || way.size() < shortest.size()))
        shortest = way;
    }
    return shortest;
  }

  Error deadlock() const {
    std::vector<int64_t> way = findCircle();
    std::string reason = "deadlock";
    for (size_t i = 0; i < way.size(); ++i) {
      int64_t blocker = blockerOf(way[i]);
      reason += (i ? " and waits for rank " : ": waits for rank ") +
                std::to_string(blocker);
      if (blocker == way[i])
        reason += " itself";
      else if (isAtEnd(blocker))
        reason += ", which has ended";
      else if (i == 0 || blocker != way.front())
        reason += ", which never gets past " +
                  stepPath(blocker, states[blocker].next);
    }
    return errorAt(stepPath(way.front(), states[way.front()].next), reason);
  }

  const Plan &plan;
  std::vector<State> states; ///< of ranks
  /// For each stage and value whether any step receives it.
  std::vector<std::vector<bool>> received;
  std::deque<int64_t> ready;
  // Messages posted from one rank to another.
  std::map<std::pair<int64_t, int64_t>, int64_t> sends;
  std::map<std::pair<int64_t, int64_t>, int64_t> receives;
  std::map<int64_t, int64_t> came; ///< ranks at a meeting, by its number
};

/// Each microbatch runs through one copy of the model: it has one loss.
Status checkLosses(const Plan &plan) {
  std::map<int64_t, End> collected;
  for (size_t r = 0; r < plan.ranks.size(); ++r)
    for (size_t i = 0; i < plan.ranks[r].steps.size(); ++i) {
      const Step &step = plan.ranks[r].steps[i];
      if (step.kind != StepKind::collect_loss)
        continue;
      End end{static_cast<int64_t>(r), static_cast<int64_t>(i)};
      auto [first, isNew] = collected.emplace(step.microbatch, end);
      if (!isNew)
        return errorAt(stepPath(end.rank, end.step),
                       "the loss of microbatch " +
                           std::to_string(step.microbatch) +
                           " is collected already by " +
                           stepPath(first->second.rank, first->second.step));
    }
  for (int64_t m = 0; m < plan.layout.microbatches; ++m)
    if (collected.count(m) == 0)
      return errorAt("$.ranks", "no step collects the loss of microbatch " +
                                    std::to_string(m));
  return {};
}

} // namespace

Status checkExchange(const Plan &plan) {
  for (const auto &[ends, channel] : collectChannels(plan)) {
    size_t pairs = std::min(channel.sends.size(), channel.receives.size());
    for (size_t i = 0; i < pairs; ++i)
      MOE_RETURN_IF_ERROR(
          checkPair(plan, channel.sends[i], channel.receives[i]));
    if (channel.sends.size() == channel.receives.size())
      continue;
    bool isSend = channel.sends.size() > pairs;
    End end = isSend ? channel.sends[pairs] : channel.receives[pairs];
    return errorAt(stepPath(end.rank, end.step),
                   isSend ? "rank " + std::to_string(ends.second) +
                                " has no receive for this send"
                          : "rank " + std::to_string(ends.first) +
                                " has no send for this receive");
  }
  MOE_RETURN_IF_ERROR(checkMeetings(plan));
  MOE_RETURN_IF_ERROR(Progress(plan).run());
  return checkLosses(plan);
}

} // namespace moe::plan
