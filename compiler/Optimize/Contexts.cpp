#include "compiler/Optimize/Contexts.h"

#include <algorithm>
#include <set>
#include <utility>

namespace moe::optimize {

Contexts::Contexts(plan::Plan &plan, plan::Rank &rank) {
  for (int64_t stage : rank.stages)
    for (plan::Program &program : plan.stages[stage].programs) {
      programs[{stage, program.phase}] = contexts.size();
      contexts.push_back(
          {{{stage, &program}}, issueProgram(plan.stages[stage], program)});
    }
  firstOverlap = contexts.size();
  for (const plan::Overlap &overlap : rank.overlaps) {
    Context context;
    for (const plan::Overlap::Member &member : overlap.members)
      context.members.push_back(
          contexts[programs.at({member.stage, member.phase})].members.front());
    // Its own waits follow from where bytes lie.
    plan::Overlap withoutWaits = overlap;
    withoutWaits.waits.clear();
    context.issued = issueOverlap(plan, withoutWaits);
    contexts.push_back(std::move(context));
  }
}

size_t Contexts::indexOf(const plan::Step &step) const {
  return step.kind == plan::StepKind::run
             ? programs.at({step.stage, step.phase})
             : firstOverlap + static_cast<size_t>(step.overlap);
}

std::vector<plan::Overlap::Member> membersOf(const plan::Rank &rank,
                                             const plan::Step &step) {
  if (step.kind != plan::StepKind::overlap)
    return {{step.stage, step.phase}};
  const auto &members = rank.overlaps[step.overlap].members;
  return {members.begin(), members.end()};
}

size_t mostHeld(const plan::Rank &rank) {
  using Key = std::pair<int64_t, int64_t>; // stage and microbatch
  auto forEachRun = [&](auto visit) {
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      if (!plan::isExecution(step.kind))
        continue;
      const std::vector<plan::Overlap::Member> members = membersOf(rank, step);
      for (size_t m = 0; m < members.size(); ++m)
        visit(Key(members[m].stage,
                  m == 0 ? step.microbatch : step.secondMicrobatch),
              i);
    }
  };
  std::map<Key, size_t> last; // step of
  forEachRun([&](const Key &key, size_t step) { last[key] = step; });
  std::set<Key> held;
  size_t most = 0;
  forEachRun([&](const Key &key, size_t step) {
    held.insert(key);
    most = std::max(most, held.size());
    if (last.at(key) == step)
      held.erase(key);
  });
  return most;
}

Reach reachOf(const Context &context, Reuse reuse, Sharing sharing) {
  const std::vector<IssuedOp> &issued = context.issued;
  auto count = static_cast<int64_t>(issued.size());
  Reach reach;
  for (int64_t i = 0; i < count; ++i) {
    reach.begin.push_back(2 * i);
    reach.end.push_back(2 * i + 1);
  }
  if (sharing == Sharing::fixed && reuse == Reuse::inIssueOrder)
    return reach;
  constexpr auto compute = static_cast<size_t>(plan::Stream::compute);
  std::vector<StreamPositions> done = doneBefore(issued);
  std::vector<IssuedTime> times = estimateTimes(issued);
  std::vector<int64_t> computes;
  for (int64_t i = 0; i < count; ++i)
    if (issued[i].op->stream == plan::Stream::compute)
      computes.push_back(i);
  for (int64_t i = 0; i < count; ++i) {
    if (issued[i].op->stream == plan::Stream::compute)
      continue;
    auto stream = static_cast<size_t>(issued[i].op->stream);
    // From behind the last compute op that is done; the next may still run when
    // this one begins.
    int64_t last = done[i][compute];
    reach.begin[i] = last == -1 ? 0 : 2 * last + 1;
    // Until the first compute op before which this one is done. Clocks only
    // grow along the stream.
    auto later = std::upper_bound(computes.begin(), computes.end(), i);
    auto knows =
        std::partition_point(later, computes.end(), [&](int64_t position) {
          return done[position][stream] < i;
        });
    // Nobody waits for a copy to the host but who needs its bytes: where it has
    // ended by then, such a wait costs nothing.
    if (sharing == Sharing::fixed &&
        issued[i].op->stream == plan::Stream::copy_out)
      knows = std::min(
          knows,
          std::partition_point(later, computes.end(), [&](int64_t position) {
            return times[position].beginNs < times[i].endNs;
          }));
    reach.end[i] = knows == computes.end() ? context.length() : 2 * *knows;
  }
  return reach;
}

} // namespace moe::optimize
