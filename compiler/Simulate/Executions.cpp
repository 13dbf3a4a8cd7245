#include "compiler/Simulate/Executions.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace moe::simulate {

namespace {

/// An op at its place in the order of issue.
struct Issue {
  int64_t member = 0;
  int64_t op = -1;
  const plan::Stage *stage = nullptr;
  const plan::Op *planOp = nullptr;
  std::vector<size_t> waits; ///< earlier places
  plan::ByteCounts live;     ///< while it runs
};

static_assert(static_cast<size_t>(Lane::copy_in) + 1 == plan::kStreamCount,
              "lanes begin with the streams");
Lane laneOf(plan::Stream stream) { return static_cast<Lane>(stream); }

Error opError(const Issue &issue, const std::string &reason) {
  return Error{"op " + issue.planOp->name + " of stage " + issue.stage->name +
               " " + reason};
}

/// The ops of one program, each at the place that `placeOf` gives it.
template <typename PlaceOf>
Result<Issue> issueOf(const plan::Stage &stage, const plan::Program &program,
                      int64_t member, size_t op, PlaceOf placeOf) {
  Issue issue;
  issue.member = member;
  issue.op = static_cast<int64_t>(op);
  issue.stage = &stage;
  issue.planOp = &program.ops[op];
  for (int64_t wait : issue.planOp->waits) {
    if (wait < 0 || wait >= issue.op)
      return opError(issue, "waits for op " + std::to_string(wait) +
                                ", which is not an earlier one");
    issue.waits.push_back(placeOf(static_cast<size_t>(wait)));
  }
  return issue;
}

/// What counts no longer once the op is done.
Result<plan::ByteCounts> freedBy(const Issue &issue) {
  plan::ByteCounts freed;
  freed[issue.planOp->scratchClass] += issue.planOp->scratchBytes;
  for (plan::ValueIndex index : issue.planOp->releases) {
    if (index < 0 || index >= static_cast<int64_t>(issue.stage->values.size()))
      return opError(issue, "releases value " + std::to_string(index) +
                                ", which does not exist");
    const plan::Value &value = issue.stage->values[static_cast<size_t>(index)];
    freed[value.memoryClass] += value.bytes;
  }
  return freed;
}

/// The shares of their own rates that copies to the host and from it get while
/// both run. As many devices as share the link do the same at the same time, so
/// their number changes the rates, but not the shares.
struct CopySpeeds {
  double out = 1, in = 1;
};

CopySpeeds speedsTogether(const plan::Machine &machine) {
  double half = machine.hostCombinedBytesPerSecond / 2;
  auto share = [&](double alone) {
    return half > 0 && alone > half ? half / alone : 1;
  };
  return {share(machine.toHostBytesPerSecond),
          share(machine.toDeviceBytesPerSecond)};
}

/// Works out when the ops run, and what follows from it.
class Streams {
public:
  Streams(const plan::Machine &machine, std::vector<Issue> issues)
      : issues(std::move(issues)), speeds(speedsTogether(machine)) {
    latest.fill(kNone);
  }

  Result<Execution> run() {
    MOE_RETURN_IF_ERROR(runOps());
    MOE_RETURN_IF_ERROR(sampleMemory());
    followCauses();
    for (size_t i = 0; i < issues.size(); ++i)
      if (times[i].ns() > 0)
        result.ops.push_back({laneOf(issues[i].planOp->stream),
                              issues[i].member, issues[i].op, times[i]});
    std::sort(result.ops.begin(), result.ops.end(),
              [](const Execution::Op &a, const Execution::Op &b) {
                // What takes time has its lane for itself, so this is total.
                return std::tie(a.time.beginNs, a.lane) <
                       std::tie(b.time.beginNs, b.lane);
              });
    return std::move(result);
  }

private:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  static constexpr const char *kTooLong =
      "takes a time that is negative or too long";

  /// What is under way on a lane.
  struct Running {
    size_t issue = kNone;
    double restNs = 0; ///< at full speed
    int64_t endNs = 0; ///< at the speed of now
  };

  /// From moment to moment: where an op ends others can begin, and copies in
  /// both directions slow each other down.
  Status runOps() {
    times.resize(issues.size());
    causes.assign(issues.size(), kNone);
    hasEnded.resize(issues.size());
    for (size_t i = 0; i < issues.size(); ++i)
      queues[laneIndex(i)].push_back(i);
    while (true) {
      MOE_RETURN_IF_ERROR(beginOps());
      const Running *next = nullptr;
      for (const Running &lane : running)
        if (lane.issue != kNone && (!next || lane.endNs < next->endNs))
          next = &lane;
      if (!next)
        break;
      if (next->endNs > kLongestNs)
        return opError(issues[next->issue], kTooLong);
      advance(next->endNs);
    }
    result.durationNs = nowNs;
    return {};
  }

  size_t laneIndex(size_t issue) const {
    return static_cast<size_t>(laneOf(issues[issue].planOp->stream));
  }

  bool canBegin(size_t issue) const {
    return std::all_of(issues[issue].waits.begin(), issues[issue].waits.end(),
                       [&](size_t wait) { return hasEnded[wait]; });
  }

  /// Begins all that can, until that ends nothing more at this moment.
  Status beginOps() {
    bool hasBegun = true;
    while (hasBegun) {
      hasBegun = false;
      for (size_t lane = 0; lane < queues.size(); ++lane) {
        std::vector<size_t> &queue = queues[lane];
        while (running[lane].issue == kNone && heads[lane] < queue.size() &&
               canBegin(queue[heads[lane]])) {
          MOE_RETURN_IF_ERROR(begin(lane, queue[heads[lane]++]));
          hasBegun = true;
        }
      }
    }
    setEnds();
    return {};
  }

  Status begin(size_t lane, size_t issue) {
    int64_t ns = issues[issue].planOp->timeNs;
    if (ns < 0 || ns > kLongestNs || nowNs + ns > kLongestNs)
      return opError(issues[issue], kTooLong);
    int64_t latestNs = 0;
    auto follow = [&](size_t earlier) {
      if (times[earlier].endNs > latestNs) {
        latestNs = times[earlier].endNs;
        causes[issue] = earlier;
      }
    };
    if (latest[lane] != kNone)
      follow(latest[lane]);
    for (size_t wait : issues[issue].waits)
      follow(wait);
    latest[lane] = issue;
    times[issue] = {nowNs, nowNs};
    if (ns == 0)
      hasEnded[issue] = true;
    else
      running[lane] = {issue, static_cast<double>(ns), nowNs + ns};
    return {};
  }

  double speedOf(size_t lane) const {
    constexpr auto out = static_cast<size_t>(Lane::copy_out);
    constexpr auto in = static_cast<size_t>(Lane::copy_in);
    if (running[out].issue == kNone || running[in].issue == kNone)
      return 1;
    return lane == out ? speeds.out : lane == in ? speeds.in : 1;
  }

  void setEnds() {
    for (size_t lane = 0; lane < running.size(); ++lane)
      if (running[lane].issue != kNone)
        running[lane].endNs =
            nowNs + static_cast<int64_t>(
                        std::ceil(running[lane].restNs / speedOf(lane)));
  }

  void advance(int64_t nextNs) {
    auto isRunning = [&](Lane lane) {
      return running[static_cast<size_t>(lane)].issue != kNone;
    };
    int64_t ns = nextNs - nowNs;
    if (!isRunning(Lane::compute))
      (isRunning(Lane::expert_communication) ? result.exposedCommunicationNs
                                             : result.exposedCopyNs) += ns;
    std::array<double, plan::kStreamCount> speed{};
    for (size_t lane = 0; lane < running.size(); ++lane)
      speed[lane] = speedOf(lane);
    nowNs = nextNs;
    for (size_t lane = 0; lane < running.size(); ++lane) {
      Running &at = running[lane];
      if (at.issue == kNone)
        continue;
      at.restNs -= static_cast<double>(ns) * speed[lane];
      if (at.endNs > nowNs)
        continue;
      times[at.issue].endNs = nowNs;
      result.laneBusyNs[lane] += times[at.issue].ns();
      hasEnded[at.issue] = true;
      at.issue = kNone;
    }
  }

  Status sampleMemory() {
    // The host issues in order, so an op is issued before any later one begins.
    std::vector<int64_t> issued(issues.size());
    int64_t earliest = result.durationNs;
    for (size_t i = issues.size(); i-- > 0;)
      issued[i] = earliest = std::min(earliest, times[i].beginNs);
    for (size_t i = 0; i < issues.size(); ++i) {
      const Issue &issue = issues[i];
      if (int64_t total = issue.live.total(); total > result.peakBytes) {
        result.peakBytes = total;
        result.peakNs = issued[i];
        result.peakMember = issue.member;
        result.peakOp = issue.op;
      }
      result.samples.push_back({issued[i], issue.live});
      Result<plan::ByteCounts> freed = freedBy(issue);
      if (!freed)
        return freed.error();
      int64_t nextNs =
          i + 1 < issues.size() ? issued[i + 1] : result.durationNs;
      if (times[i].endNs < nextNs && *freed != plan::ByteCounts()) {
        plan::ByteCounts rest = issue.live;
        for (size_t c = 0; c < plan::kMemoryClassCount; ++c)
          rest.bytes[c] -= freed->bytes[c];
        result.samples.push_back({times[i].endNs, rest});
      }
    }
    return {};
  }

  void followCauses() {
    size_t last = 0;
    while (last < issues.size() && times[last].endNs < result.durationNs)
      ++last;
    for (size_t i = last < issues.size() ? last : kNone; i != kNone;
         i = causes[i]) {
      Lane lane = laneOf(issues[i].planOp->stream);
      if (times[i].ns() == 0)
        continue;
      auto &path = result.critical;
      if (!path.empty() && path.back().lane == lane)
        path.back().time.beginNs = times[i].beginNs;
      else
        path.push_back({lane, times[i]});
    }
    std::reverse(result.critical.begin(), result.critical.end());
  }

  std::vector<Issue> issues;
  CopySpeeds speeds; ///< while both directions run
  std::vector<Interval> times;
  std::vector<size_t> causes; ///< whose end was the op's begin
  std::vector<bool> hasEnded;
  // By lane: its ops in order, how many have begun, the last of these.
  std::array<std::vector<size_t>, plan::kStreamCount> queues;
  std::array<size_t, plan::kStreamCount> heads{};
  std::array<size_t, plan::kStreamCount> latest;
  std::array<Running, plan::kStreamCount> running;
  int64_t nowNs = 0;
  Execution result;
};

} // namespace

const plan::Program *findProgram(const plan::Plan &plan, int64_t stage,
                                 plan::Phase phase) {
  if (stage < 0 || stage >= static_cast<int64_t>(plan.stages.size()))
    return nullptr;
  for (const plan::Program &program :
       plan.stages[static_cast<size_t>(stage)].programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

Result<Execution> execute(const plan::Plan &plan, int64_t stage,
                          const plan::Program &program) {
  std::vector<Issue> issues;
  for (size_t op = 0; op < program.ops.size(); ++op) {
    Result<Issue> issue = issueOf(plan.stages[static_cast<size_t>(stage)],
                                  program, 0, op, [](size_t i) { return i; });
    if (!issue)
      return issue.error();
    issue->live = program.ops[op].live;
    issues.push_back(std::move(*issue));
  }
  return Streams(plan.machine, std::move(issues)).run();
}

Result<Execution> execute(const plan::Plan &plan,
                          const plan::Overlap &overlap) {
  std::array<const plan::Program *, 2> programs{};
  for (size_t member = 0; member < 2; ++member) {
    const plan::Overlap::Member &of = overlap.members[member];
    programs[member] = findProgram(plan, of.stage, of.phase);
    if (!programs[member])
      return Error{"there is no program of its member " +
                   std::to_string(member)};
  }
  if (overlap.live.size() != overlap.order.size())
    return Error{"its live bytes are not those of its ops"};
  std::vector<Issue> issues;
  std::array<std::vector<size_t>, 2> places;
  for (size_t position = 0; position < overlap.order.size(); ++position) {
    int64_t member = overlap.order[position];
    if (member != 0 && member != 1)
      return Error{"its order names a member that does not exist"};
    auto which = static_cast<size_t>(member);
    size_t op = places[which].size();
    if (op == programs[which]->ops.size())
      return Error{"its order has too many ops of member " +
                   std::to_string(member)};
    places[which].push_back(position);
    Result<Issue> issue =
        issueOf(plan.stages[static_cast<size_t>(overlap.members[which].stage)],
                *programs[which], member, op,
                [&](size_t i) { return places[which][i]; });
    if (!issue)
      return issue.error();
    issue->live = overlap.live[position];
    issues.push_back(std::move(*issue));
  }
  for (size_t member = 0; member < 2; ++member)
    if (places[member].size() != programs[member]->ops.size())
      return Error{"its order has too few ops of member " +
                   std::to_string(member)};
  for (const plan::Overlap::Wait &wait : overlap.waits) {
    if (wait.on < 0 || wait.on >= wait.op ||
        wait.op >= static_cast<int64_t>(issues.size()))
      return Error{"it has a wait for an op that is not an earlier one"};
    issues[static_cast<size_t>(wait.op)].waits.push_back(
        static_cast<size_t>(wait.on));
  }
  return Streams(plan.machine, std::move(issues)).run();
}

} // namespace moe::simulate
