#include "compiler/Simulate/Executions.h"

#include <algorithm>
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

Lane laneOf(plan::Stream stream) {
  return stream == plan::Stream::compute ? Lane::compute
                                         : Lane::expert_communication;
}

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

/// Works out when the ops run, and what follows from it.
class Streams {
public:
  explicit Streams(std::vector<Issue> issues) : issues(std::move(issues)) {}

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

  Status runOps() {
    std::array<size_t, kLaneCount> latest;
    latest.fill(kNone);
    times.resize(issues.size());
    causes.assign(issues.size(), kNone);
    for (size_t i = 0; i < issues.size(); ++i) {
      const Issue &issue = issues[i];
      auto lane = static_cast<size_t>(laneOf(issue.planOp->stream));
      int64_t beginNs = 0;
      auto follow = [&](size_t earlier) {
        if (times[earlier].endNs > beginNs) {
          beginNs = times[earlier].endNs;
          causes[i] = earlier;
        }
      };
      if (latest[lane] != kNone)
        follow(latest[lane]);
      for (size_t wait : issue.waits)
        follow(wait);
      latest[lane] = i;
      int64_t ns = issue.planOp->timeNs;
      if (ns < 0 || ns > kLongestNs || beginNs + ns > kLongestNs)
        return opError(issue, "takes a time that is negative or too long");
      times[i] = {beginNs, beginNs + ns};
      result.durationNs = std::max(result.durationNs, times[i].endNs);
      result.laneBusyNs[lane] += ns;
    }
    return {};
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
  std::vector<Interval> times;
  std::vector<size_t> causes; ///< whose end was the op's begin
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
  return Streams(std::move(issues)).run();
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
  return Streams(std::move(issues)).run();
}

} // namespace moe::simulate
