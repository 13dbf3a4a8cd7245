//===- PlanExchange.cpp - sends and receives of all ranks -----------------===//
//
// A rank's sends to a peer and that peer's receives from it meet in order, as
// they do on every transport without tags: the k-th with the k-th.
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/Checks.h"

#include <algorithm>
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
  std::string path = stepPath(receive.rank, receive.step);
  std::string partner = "; it meets " + stepPath(send.rank, send.step);
  if (from.microbatch != to.microbatch)
    return errorAt(path + ".microbatch",
                   "is " + std::to_string(to.microbatch) + ", but " +
                       std::to_string(from.microbatch) + " is sent" + partner);
  const Value &sent = plan.stages[from.stage].values[from.value];
  const Value &received = plan.stages[to.stage].values[to.value];
  if (sent.dtype != received.dtype || sent.shape != received.shape)
    return errorAt(path + ".value", quoted(received.name) + " is " +
                                        describe(received) + ", but " +
                                        quoted(sent.name) + " is " +
                                        describe(sent) + partner);
  return {};
}

/// Runs all ranks against each other, as far as sends and receives hold them
/// up: posting a send never waits, taking delivery does.
class Progress {
public:
  explicit Progress(const Plan &plan)
      : plan(plan), next(plan.ranks.size()), posted(plan.ranks.size()) {}

  Status run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t r = 0; r < plan.ranks.size(); ++r)
        while (next[r] < static_cast<int64_t>(plan.ranks[r].steps.size()) &&
               advance(static_cast<int64_t>(r))) {
          ++next[r];
          moved = true;
        }
    }
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      if (next[r] == static_cast<int64_t>(plan.ranks[r].steps.size()))
        continue;
      const Step &step = plan.ranks[r].steps[next[r]];
      std::string reason =
          "deadlock: waits for rank " + std::to_string(step.peer);
      if (next[step.peer] <
          static_cast<int64_t>(plan.ranks[step.peer].steps.size()))
        reason +=
            ", which never gets past " + stepPath(step.peer, next[step.peer]);
      return errorAt(stepPath(static_cast<int64_t>(r), next[r]), reason);
    }
    return {};
  }

private:
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t>;

  /// Whether the next step of rank `r` can be done; does it.
  bool advance(int64_t r) {
    const Step &step = plan.ranks[r].steps[next[r]];
    std::pair<int64_t, int64_t> out{r, step.peer};
    std::pair<int64_t, int64_t> in{step.peer, r};
    Key key{step.stage, step.value, step.microbatch, step.peer};
    switch (step.kind) {
    case StepKind::send:
      posted[r][key] = ++sends[out];
      return true;
    case StepKind::receive:
      if (sends[in] <= receives[in])
        return false;
      ++receives[in];
      return true;
    case StepKind::wait_send:
      return posted[r][key] <= receives[out];
    default:
      return true;
    }
  }

  const Plan &plan;
  std::vector<int64_t> next; ///< step of each rank
  /// Number of the send of a value, counted for its peer.
  std::vector<std::map<Key, int64_t>> posted;
  std::map<std::pair<int64_t, int64_t>, int64_t> sends;
  std::map<std::pair<int64_t, int64_t>, int64_t> receives;
};

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
  return Progress(plan).run();
}

} // namespace moe::plan
