#include "compiler/Simulate/Simulate.h"

#include "compiler/Schedule/Progress.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

namespace moe::simulate {

using plan::StepKind;

namespace {

constexpr int64_t kNotYet = -1;

/// A message from its send to the end of its transfer.
struct Message {
  size_t sendStep = 0;
  int64_t postedNs = kNotYet;
  int64_t arrivedNs = kNotYet;
};

/// The messages from one rank to another, in order.
struct Channel {
  std::vector<Message> messages;
  std::vector<size_t> receiveSteps;
  int64_t freeNs = 0; ///< when the link has carried the last one
};

std::string describe(const plan::Plan &plan, const plan::Step &step) {
  std::string text(plan::name(step.kind));
  if (step.stage < 0)
    return text;
  const plan::Stage &stage = plan.stages[static_cast<size_t>(step.stage)];
  if (step.kind == StepKind::run)
    text += " " + std::string(plan::name(step.phase));
  text += " of stage " + stage.name + ", microbatch " +
          std::to_string(step.microbatch);
  if (step.kind != StepKind::run && step.value >= 0)
    text += ", value " + stage.values[static_cast<size_t>(step.value)].name;
  return text;
}

class Simulation {
public:
  Simulation(const plan::Plan &plan, const Timing &timing)
      : plan(plan), timing(timing), rankCount(plan.ranks.size()) {}

  Result<Timeline> run() {
    MOE_RETURN_IF_ERROR(checkTiming());
    MOE_RETURN_IF_ERROR(checkSteps());
    addUpPrograms();
    MOE_RETURN_IF_ERROR(matchMessages());

    std::vector<size_t> counts;
    timeline.ranks.resize(rankCount);
    for (size_t rank = 0; rank < rankCount; ++rank) {
      counts.push_back(plan.ranks[rank].steps.size());
      timeline.ranks[rank].steps.resize(counts.back());
    }
    Status status = schedule::runToEnd(
        counts, [&](size_t rank, size_t index) { return tryStep(rank, index); },
        [&](size_t rank, size_t index) {
          return describe(plan, plan.ranks[rank].steps[index]);
        });
    if (!status)
      return Error{"simulation: " + status.error().message};

    int64_t busiestNs = 0;
    for (const RankTimeline &rank : timeline.ranks) {
      timeline.stepNs = std::max(timeline.stepNs, rank.endNs);
      busiestNs = std::max(busiestNs, rank.busyNs);
    }
    if (timeline.stepNs > 0)
      timeline.bubble = 1 - static_cast<double>(busiestNs) /
                                static_cast<double>(timeline.stepNs);
    return std::move(timeline);
  }

private:
  Status checkTiming() const {
    for (const auto *times : {&timing.reduceGradientsNs, &timing.updateNs})
      if (!times->empty() && times->size() != rankCount)
        return Error{"simulation: times are given for " +
                     std::to_string(times->size()) + " ranks, the plan has " +
                     std::to_string(rankCount)};
    return {};
  }

  /// That no index of a step leaves its array, so that plans that did not come
  /// from plan::parse are safe too.
  Status checkSteps() const {
    for (size_t rank = 0; rank < rankCount; ++rank)
      for (size_t i = 0; i < plan.ranks[rank].steps.size(); ++i) {
        const plan::Step &step = plan.ranks[rank].steps[i];
        if (step.kind == StepKind::reduce_gradients ||
            step.kind == StepKind::update)
          continue;
        auto fail = [&](const char *what) -> Status {
          return Error{"simulation: rank " + std::to_string(rank) + ", step " +
                       std::to_string(i) + ": " + what};
        };
        if (step.stage < 0 ||
            step.stage >= static_cast<int64_t>(plan.stages.size()))
          return fail("there is no such stage");
        if (step.kind == StepKind::run)
          continue;
        const plan::Stage &stage = plan.stages[static_cast<size_t>(step.stage)];
        if (step.value < 0 ||
            step.value >= static_cast<int64_t>(stage.values.size()))
          return fail("there is no such value");
        bool transfer = step.kind == StepKind::send ||
                        step.kind == StepKind::receive ||
                        step.kind == StepKind::wait_send;
        if (transfer &&
            (step.peer < 0 || step.peer >= static_cast<int64_t>(rankCount)))
          return fail("there is no such peer");
      }
    return {};
  }

  void addUpPrograms() {
    programNs.resize(plan.stages.size());
    for (size_t stage = 0; stage < plan.stages.size(); ++stage)
      for (const plan::Program &program : plan.stages[stage].programs)
        for (const plan::Op &op : program.ops)
          programNs[stage][static_cast<size_t>(program.phase)] += op.timeNs;
  }

  Channel &channel(size_t from, size_t to) {
    return channels[from * rankCount + to];
  }

  Status matchMessages() {
    channels.resize(rankCount * rankCount);
    ordinals.resize(rankCount);
    // wait_send means the latest send of its value to its peer, which must be
    // of its microbatch.
    struct Sent {
      size_t ordinal;
      int64_t microbatch;
    };
    std::map<std::array<int64_t, 3>, Sent> latest;
    for (size_t rank = 0; rank < rankCount; ++rank) {
      const auto &steps = plan.ranks[rank].steps;
      ordinals[rank].assign(steps.size(), 0);
      latest.clear();
      for (size_t i = 0; i < steps.size(); ++i) {
        const plan::Step &step = steps[i];
        auto peer = static_cast<size_t>(step.peer);
        std::array key{step.stage, step.value, step.peer};
        if (step.kind == StepKind::send) {
          Channel &out = channel(rank, peer);
          ordinals[rank][i] = out.messages.size();
          latest[key] = {out.messages.size(), step.microbatch};
          out.messages.push_back({i, kNotYet, kNotYet});
        } else if (step.kind == StepKind::receive) {
          Channel &in = channel(peer, rank);
          ordinals[rank][i] = in.receiveSteps.size();
          in.receiveSteps.push_back(i);
        } else if (step.kind == StepKind::wait_send) {
          auto sent = latest.find(key);
          if (sent == latest.end() ||
              sent->second.microbatch != step.microbatch)
            return Error{"simulation: rank " + std::to_string(rank) +
                         ", step " + std::to_string(i) + " (" +
                         describe(plan, step) + "): was not sent before"};
          ordinals[rank][i] = sent->second.ordinal;
        }
      }
    }
    for (size_t from = 0; from < rankCount; ++from)
      for (size_t to = 0; to < rankCount; ++to)
        MOE_RETURN_IF_ERROR(checkChannel(from, to));
    return {};
  }

  Status checkChannel(size_t from, size_t to) {
    const Channel &pair = channel(from, to);
    auto at = [&](size_t rank, size_t step) {
      return "rank " + std::to_string(rank) + ", step " + std::to_string(step) +
             " (" + describe(plan, plan.ranks[rank].steps[step]) + ")";
    };
    size_t matched = std::min(pair.messages.size(), pair.receiveSteps.size());
    for (size_t k = 0; k < matched; ++k) {
      size_t sendStep = pair.messages[k].sendStep;
      size_t receiveStep = pair.receiveSteps[k];
      const plan::Step &send = plan.ranks[from].steps[sendStep];
      const plan::Step &receive = plan.ranks[to].steps[receiveStep];
      if (send.microbatch != receive.microbatch ||
          value(send).bytes != value(receive).bytes)
        return Error{"simulation: " + at(to, receiveStep) +
                     " meets another message: " + at(from, sendStep)};
    }
    if (pair.messages.size() > matched)
      return Error{"simulation: " + at(from, pair.messages[matched].sendStep) +
                   ": rank " + std::to_string(to) + " never receives it"};
    if (pair.receiveSteps.size() > matched)
      return Error{"simulation: " + at(to, pair.receiveSteps[matched]) +
                   ": rank " + std::to_string(from) + " never sends it"};
    return {};
  }

  const plan::Value &value(const plan::Step &step) const {
    return plan.stages[static_cast<size_t>(step.stage)]
        .values[static_cast<size_t>(step.value)];
  }

  int64_t transferNs(int64_t bytes) const {
    double ns = timing.linkBytesPerSecond > 0
                    ? std::ceil(static_cast<double>(bytes) * 1e9 /
                                timing.linkBytesPerSecond)
                    : 0;
    return timing.linkLatencyNs + static_cast<int64_t>(std::min(ns, 0x1p60));
  }

  /// Executes the step, or returns the rank that it has to wait for.
  int64_t tryStep(size_t rank, size_t index) {
    const plan::Step &step = plan.ranks[rank].steps[index];
    RankTimeline &times = timeline.ranks[rank];
    auto peer = static_cast<size_t>(step.peer);
    int64_t beginNs = times.endNs;
    int64_t endNs = beginNs;
    auto work = [&](int64_t ns) {
      endNs += ns;
      times.busyNs += ns;
    };
    auto ofRank = [&](const std::vector<int64_t> &list) {
      return list.empty() ? 0 : list[rank];
    };
    switch (step.kind) {
    case StepKind::load:
    case StepKind::collect_loss:
      break;
    case StepKind::run:
      work(programNs[static_cast<size_t>(step.stage)]
                    [static_cast<size_t>(step.phase)]);
      break;
    case StepKind::send:
      channel(rank, peer).messages[ordinals[rank][index]].postedNs = beginNs;
      break;
    case StepKind::receive: {
      Channel &in = channel(peer, rank);
      Message &message = in.messages[ordinals[rank][index]];
      if (message.postedNs == kNotYet)
        return step.peer;
      int64_t startNs = std::max({beginNs, message.postedNs, in.freeNs});
      endNs = startNs + transferNs(value(step).bytes);
      message.arrivedNs = in.freeNs = endNs;
      break;
    }
    case StepKind::wait_send: {
      const Message &message =
          channel(rank, peer).messages[ordinals[rank][index]];
      if (message.arrivedNs == kNotYet)
        return step.peer;
      endNs = std::max(beginNs, message.arrivedNs);
      break;
    }
    case StepKind::reduce_gradients:
      work(ofRank(timing.reduceGradientsNs));
      break;
    case StepKind::update:
      work(ofRank(timing.updateNs));
      break;
    }
    times.steps[index] = {beginNs, endNs};
    times.endNs = endNs;
    return -1;
  }

  const plan::Plan &plan;
  const Timing &timing;
  size_t rankCount;
  Timeline timeline;
  /// By stage and phase.
  std::vector<std::array<int64_t, 3>> programNs;
  std::vector<Channel> channels; ///< by sender, then receiver
  /// Of sends, receives and waits: which message of the channel.
  std::vector<std::vector<size_t>> ordinals;
};

} // namespace

Result<Timeline> simulate(const plan::Plan &plan, const Timing &timing) {
  return Simulation(plan, timing).run();
}

} // namespace moe::simulate
