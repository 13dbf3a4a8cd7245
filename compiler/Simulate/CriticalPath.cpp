#include "compiler/Simulate/Ranks.h"

#include <algorithm>

namespace moe::simulate {

using plan::StepKind;

namespace {

/// Walks from effects to causes. Each is known to have happened before, so the
/// walk ends; what ends a step or message is at hand, so it is linear in what
/// it passes.
class Walker {
public:
  Walker(const plan::Plan &plan, const Executions &executions,
         const History &history)
      : plan(plan), executions(executions), history(history) {}

  std::vector<CriticalSegment> run() {
    if (plan.ranks.empty())
      return {};
    for (size_t i = 1; i < history.ranks.size(); ++i)
      if (endOf(i) > endOf(rank))
        rank = i;
    next = plan.ranks[rank].steps.size();
    while (message != kNone || next > 0)
      message != kNone ? passMessage() : passStep();
    std::reverse(path.begin(), path.end());
    return std::move(path);
  }

private:
  int64_t endOf(size_t of) const { return history.ranks[of].issuedNs.back(); }

  void add(size_t of, Lane lane, Interval time, size_t step) {
    if (time.ns() == 0)
      return;
    CriticalSegment segment{static_cast<int64_t>(of), lane, time,
                            static_cast<int64_t>(step)};
    if (!path.empty() && path.back().rank == segment.rank &&
        path.back().lane == lane && path.back().step == segment.step)
      path.back().time.beginNs = time.beginNs;
    else
      path.push_back(segment);
  }

  /// Over the step before `next` of `rank`, whose end is explained.
  void passStep() {
    size_t index = --next;
    const plan::Step &step = plan.ranks[rank].steps[index];
    const History::OfRank &of = history.ranks[rank];
    Interval time = of.steps[index];
    switch (step.kind) {
    case StepKind::run:
    case StepKind::overlap: {
      const auto &inside = executions.of(rank, step).critical;
      for (size_t i = inside.size(); i-- > 0;)
        add(rank, inside[i].lane,
            {time.beginNs + inside[i].time.beginNs,
             time.beginNs + inside[i].time.endNs},
            index);
      if (time.beginNs > of.issuedNs[index])
        for (size_t awaited : history.exchange.arrivalsOf(rank, index))
          if (history.exchange.messages[awaited].time.endNs == time.beginNs) {
            message = awaited;
            break;
          }
      break;
    }
    case StepKind::wait_send:
      if (time.ns() > 0)
        message = history.exchange.ranks[rank].messageOf[index];
      break;
    case StepKind::reduce_gradients:
      add(rank, Lane::expert_communication, time, index);
      break;
    case StepKind::update:
      add(rank, Lane::compute, time, index);
      break;
    case StepKind::load:
    case StepKind::receive:
    case StepKind::send:
    case StepKind::collect_loss:
      break;
    }
  }

  void passMessage() {
    const Message &passed = history.exchange.messages[message];
    const Pair &pair = history.exchange.pairs[passed.pair];
    add(pair.to,
        pair.isLocal() ? Lane::local_copy : Lane::pipeline_communication,
        passed.time, passed.receiveStep);
    message = passed.blocker;
    if (message != kNone)
      return;
    bool isSend = passed.sendPostedNs == passed.time.beginNs;
    rank = isSend ? pair.from : pair.to;
    next = isSend ? passed.sendStep : passed.receiveStep;
  }

  const plan::Plan &plan;
  const Executions &executions;
  const History &history;
  std::vector<CriticalSegment> path;
  // What is to be explained: how `message` came to arrive, if there is one,
  // otherwise how the step before `next` of `rank` came to end.
  size_t message = kNone;
  size_t rank = 0;
  size_t next = 0;
};

} // namespace

std::vector<CriticalSegment> findCriticalPath(const plan::Plan &plan,
                                              const Executions &executions,
                                              const History &history) {
  return Walker(plan, executions, history).run();
}

} // namespace moe::simulate
