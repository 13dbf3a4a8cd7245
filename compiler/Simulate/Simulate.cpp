#include "compiler/Simulate/Simulate.h"

#include "compiler/Simulate/Ranks.h"

#include <algorithm>
#include <tuple>

namespace moe::simulate {

using plan::StepKind;

namespace {

/// That no index of a step leaves its array, so that plans that did not come
/// from plan::parse are safe too.
class StepCheck {
public:
  explicit StepCheck(const plan::Plan &plan) : plan(plan) {}

  Status run() const {
    if (plan.machine.linkLatencyNs < 0)
      return Error{"the machine's link latency is negative"};
    for (size_t r = 0; r < plan.ranks.size(); ++r) {
      const plan::Rank &rank = plan.ranks[r];
      std::string where = "rank " + std::to_string(r);
      for (int64_t ns : {rank.reduceGradientsNs, rank.updateNs})
        if (ns < 0 || ns > kLongestNs)
          return Error{where + ": the time of the gradient reduction or update "
                               "is negative or too long"};
      for (size_t i = 0; i < rank.steps.size(); ++i)
        if (const char *wrong = wrongWith(rank, rank.steps[i]))
          return Error{where + ", step " + std::to_string(i) + ": " + wrong};
    }
    return {};
  }

private:
  const char *wrongWith(const plan::Rank &rank, const plan::Step &step) const {
    if (!plan::isOfMicrobatch(step.kind))
      return nullptr;
    if (step.stage < 0 || step.stage >= count(plan.stages))
      return "there is no such stage";
    if (step.kind == StepKind::run &&
        !findProgram(plan, step.stage, step.phase))
      return "the stage has no program of this phase";
    if (step.kind == StepKind::overlap &&
        (step.overlap < 0 || step.overlap >= count(rank.overlaps)))
      return "there is no such overlap";
    if (plan::hasValue(step.kind) &&
        (step.value < 0 ||
         step.value >=
             count(plan.stages[static_cast<size_t>(step.stage)].values)))
      return "there is no such value";
    if (plan::hasPeer(step.kind) &&
        (step.peer < 0 || step.peer >= count(plan.ranks)))
      return "there is no such peer";
    return nullptr;
  }

  template <typename T> static int64_t count(const std::vector<T> &list) {
    return static_cast<int64_t>(list.size());
  }

  const plan::Plan &plan;
};

/// What a rank did, from the history of all.
class RankReport {
public:
  RankReport(const plan::Plan &plan, const Executions &executions,
             History &history, size_t rank)
      : plan(plan), executions(executions), index(rank), rank(plan.ranks[rank]),
        of(history.ranks[rank]) {}

  RankTimeline make(const Options &options) {
    result.steps = std::move(of.steps);
    result.endNs = of.issuedNs.back();
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      countTime(i);
      notePeak(i);
    }
    if (options.detail) {
      listEvents(options);
      listSamples(options);
    }
    return std::move(result);
  }

private:
  int64_t &busyOf(Lane lane) {
    return result.laneBusyNs[static_cast<size_t>(lane)];
  }

  Lane laneOfReceive(const plan::Step &step) const {
    return step.peer == static_cast<int64_t>(index)
               ? Lane::local_copy
               : Lane::pipeline_communication;
  }

  void countTime(size_t i) {
    const plan::Step &step = rank.steps[i];
    int64_t ns = result.steps[i].ns();
    if (plan::isExecution(step.kind)) {
      const Execution &execution = executions.of(index, step);
      for (size_t lane = 0; lane < kLaneCount; ++lane)
        result.laneBusyNs[lane] += execution.laneBusyNs[lane];
      result.busyNs += ns;
      result.exposedCommunicationNs += execution.exposedCommunicationNs;
      result.exposedCopyNs += execution.exposedCopyNs;
    } else if (step.kind == StepKind::reduce_gradients) {
      busyOf(Lane::expert_communication) += ns;
      result.busyNs += ns;
      result.exposedCommunicationNs += ns;
    } else if (step.kind == StepKind::update) {
      busyOf(Lane::compute) += ns;
      result.busyNs += ns;
    } else if (step.kind == StepKind::receive) {
      busyOf(laneOfReceive(step)) += ns;
    }
  }

  void noteMoment(int64_t bytes, int64_t ns, size_t step, int64_t member,
                  int64_t op) {
    if (result.peakStep >= 0 && bytes <= result.peakBytes)
      return;
    result.peakBytes = bytes;
    result.peakNs = ns;
    result.peakStep = static_cast<int64_t>(step);
    result.peakMember = member;
    result.peakOp = op;
  }

  void notePeak(size_t i) {
    const plan::Step &step = rank.steps[i];
    int64_t bytes = step.live.total();
    // What the step allocates itself is its own, as in plan::replay.
    if (step.kind == StepKind::load || step.kind == StepKind::receive)
      bytes += plan.stages[static_cast<size_t>(step.stage)]
                   .values[static_cast<size_t>(step.value)]
                   .bytes;
    noteMoment(bytes, of.issuedNs[i], i, 0, -1);
    if (!plan::isExecution(step.kind))
      return;
    const Execution &execution = executions.of(index, step);
    if (execution.peakOp >= 0)
      noteMoment(step.live.total() + execution.peakBytes,
                 result.steps[i].beginNs + execution.peakNs, i,
                 execution.peakMember, execution.peakOp);
  }

  static bool isDetailed(const plan::Step &step, const Options &options) {
    int64_t earlier = step.kind == StepKind::overlap
                          ? std::min(step.microbatch, step.secondMicrobatch)
                          : step.microbatch;
    return plan::isExecution(step.kind) && earlier < options.detailMicrobatches;
  }

  void listEvents(const Options &options) {
    std::vector<Event> transfers, own;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      auto number = static_cast<int64_t>(i);
      Interval time = result.steps[i];
      if (isDetailed(step, options)) {
        for (const Execution::Op &op : executions.of(index, step).ops)
          own.push_back(
              {op.lane,
               {time.beginNs + op.time.beginNs, time.beginNs + op.time.endNs},
               number,
               op.member,
               op.op});
      } else if (time.ns() > 0) {
        if (step.kind == StepKind::receive)
          transfers.push_back({laneOfReceive(step), time, number, 0, -1});
        else if (step.kind == StepKind::reduce_gradients)
          own.push_back({Lane::expert_communication, time, number, 0, -1});
        else if (step.kind == StepKind::update)
          own.push_back({Lane::compute, time, number, 0, -1});
      }
    }
    auto before = [](const Event &a, const Event &b) {
      return std::tie(a.time.beginNs, a.lane) <
             std::tie(b.time.beginNs, b.lane);
    };
    std::sort(transfers.begin(), transfers.end(), before);
    result.events.resize(transfers.size() + own.size());
    std::merge(own.begin(), own.end(), transfers.begin(), transfers.end(),
               result.events.begin(), before);
  }

  void sample(int64_t ns, const plan::ByteCounts &live) {
    if (result.samples.empty() || result.samples.back().live != live)
      result.samples.push_back({ns, live});
  }

  void listSamples(const Options &options) {
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      sample(of.issuedNs[i], step.live);
      if (!isDetailed(step, options))
        continue;
      for (const MemorySample &inside : executions.of(index, step).samples) {
        plan::ByteCounts live = step.live;
        live += inside.live;
        sample(result.steps[i].beginNs + inside.ns, live);
      }
    }
    if (!rank.steps.empty())
      sample(result.endNs, rank.persistent);
  }

  const plan::Plan &plan;
  const Executions &executions;
  size_t index;
  const plan::Rank &rank;
  History::OfRank &of;
  RankTimeline result;
};

double utilization(const plan::Plan &plan, int64_t stepNs) {
  const plan::Layout &layout = plan.layout;
  double devices = 1;
  for (int64_t ways : {layout.pipeline, layout.expert, layout.data,
                       layout.tensor, layout.context})
    devices *= static_cast<double>(ways);
  double possible =
      devices * plan.machine.flopsPerSecond * static_cast<double>(stepNs) / 1e9;
  return possible > 0 ? plan.prediction.modelFlops / possible : 0;
}

Result<Timeline> run(const plan::Plan &plan, const Options &options) {
  MOE_RETURN_IF_ERROR(StepCheck(plan).run());
  Result<Executions> executions = Executions::make(plan);
  if (!executions)
    return executions.error();
  Result<Exchange> exchange = matchMessages(plan);
  if (!exchange)
    return exchange.error();
  Result<History> history = runRanks(plan, *executions, std::move(*exchange));
  if (!history)
    return history.error();

  Timeline timeline;
  timeline.criticalPath = findCriticalPath(plan, *executions, *history);
  int64_t busiestNs = 0;
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    timeline.ranks.push_back(
        RankReport(plan, *executions, *history, rank).make(options));
    timeline.stepNs = std::max(timeline.stepNs, timeline.ranks.back().endNs);
    busiestNs = std::max(busiestNs, timeline.ranks.back().busyNs);
  }
  if (timeline.stepNs > 0)
    timeline.bubble = 1 - static_cast<double>(busiestNs) /
                              static_cast<double>(timeline.stepNs);
  timeline.modelFlopsUtilization = utilization(plan, timeline.stepNs);
  return timeline;
}

} // namespace

std::string_view name(Lane lane) {
  switch (lane) {
  case Lane::compute:
    return "compute";
  case Lane::expert_communication:
    return "expert_communication";
  case Lane::copy_out:
    return "copy_out";
  case Lane::copy_in:
    return "copy_in";
  case Lane::pipeline_communication:
    return "pipeline_communication";
  case Lane::local_copy:
    return "local_copy";
  }
  return "unknown";
}

Result<Timeline> simulate(const plan::Plan &plan, const Options &options) {
  Result<Timeline> timeline = run(plan, options);
  if (!timeline)
    return Error{"simulation: " + timeline.error().message};
  return timeline;
}

} // namespace moe::simulate
