// Schedules with several stages a rank, placed in a loop.
#include "compiler/Schedule/GeneratorSupport.h"

#include <algorithm>
#include <utility>

namespace moe::schedule {

namespace {

/// A pass of a microbatch through one of a rank's stages.
struct Pass {
  int64_t chunk = 0; ///< stage / ranks
  int64_t microbatch = 0;
};

/// Groups of microbatches, each through all chunks before the next group.
std::vector<Pass> passes(const ScheduleProblem &problem, int64_t group) {
  std::vector<Pass> list;
  list.reserve(
      static_cast<size_t>(problem.stagesPerRank * problem.microbatches));
  for (int64_t begin = 0; begin < problem.microbatches; begin += group)
    for (int64_t chunk = 0; chunk < problem.stagesPerRank; ++chunk)
      for (int64_t m = begin; m < std::min(begin + group, problem.microbatches);
           ++m)
        list.push_back({chunk, m});
  return list;
}

/// On every rank `warmUp(rank)` forwards, then a forward and a backward in
/// turn while there are forwards, then the other backwards. Backwards go
/// through the chunks from the last to the first.
template <typename WarmUp>
Schedule alternate(std::string_view name, const ScheduleProblem &problem,
                   int64_t group, Phase backward, WarmUp warmUp) {
  std::vector<Pass> list = passes(problem, group);
  Schedule schedule = emptySchedule(name, problem);
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    actions.reserve(2 * list.size());
    size_t forwards = 0;
    auto forward = [&] {
      const Pass &pass = list[forwards++];
      actions.push_back(
          {Phase::forward, pass.chunk * problem.ranks + rank, pass.microbatch});
    };
    while (forwards < std::min(list.size(), static_cast<size_t>(warmUp(rank))))
      forward();
    for (const Pass &pass : list) {
      if (forwards < list.size())
        forward();
      int64_t chunk = problem.stagesPerRank - 1 - pass.chunk;
      actions.push_back(
          {backward, chunk * problem.ranks + rank, pass.microbatch});
    }
  }
  return schedule;
}

Status checkLoop(std::string_view schedule, const ScheduleProblem &problem) {
  MOE_RETURN_IF_ERROR(
      checkShape(schedule, problem, Placement::loop, problem.stagesPerRank));
  if (problem.stagesPerRank < 2)
    return Error{"schedule " + std::string(schedule) +
                 " needs two stages per rank or more, asked for one"};
  return {};
}

std::string counts(const ScheduleProblem &problem, int64_t group) {
  return std::to_string(problem.ranks) + " ranks, " +
         std::to_string(problem.microbatches) + " microbatches and groups of " +
         std::to_string(group);
}

} // namespace

Result<Schedule> interleaved(const ScheduleProblem &problem,
                             const GeneratorOptions &options) {
  MOE_RETURN_IF_ERROR(checkLoop("interleaved", problem));
  int64_t group = options.groupSize == 0 ? problem.ranks : options.groupSize;
  int64_t rest = problem.microbatches % std::max<int64_t>(group, 1);
  if (group < problem.ranks || (rest != 0 && rest < problem.ranks))
    return Error{"schedule interleaved needs groups of at least as many "
                 "microbatches as there are ranks, the last one too, asked "
                 "for " +
                 counts(problem, group)};
  // The first rank makes the group's gradients for the last rank one after the
  // other; that uses them a round of all ranks later, after the group's
  // backwards of its later stage. Of any stage two can be on the way.
  if (std::min(group, problem.microbatches) > kGradientBuffers * problem.ranks)
    return Error{"schedule interleaved needs groups of at most twice as many "
                 "microbatches as there are ranks, because stages have no "
                 "buffers for the gradients that larger ones keep on the way "
                 "(they hold more and idle no less), asked for " +
                 counts(problem, group)};
  return alternate("interleaved", problem, group, Phase::backward,
                   [&](int64_t rank) {
                     return 2 * (problem.ranks - rank - 1) +
                            (problem.stagesPerRank - 1) * group;
                   });
}

Result<Schedule> groupedInterleaved(const ScheduleProblem &problem,
                                    const GeneratorOptions &options) {
  MOE_RETURN_IF_ERROR(checkLoop("grouped-interleaved", problem));
  int64_t group = options.groupSize == 0 ? problem.ranks : options.groupSize;
  // A group that is shorter keeps the ranks waiting for each other for ever,
  // unless it is the only one.
  auto isShort = [&](int64_t size) { return 2 * size < problem.ranks; };
  int64_t rest = problem.microbatches % std::max<int64_t>(group, 1);
  if (group < 1 || isShort(group) || group > problem.ranks ||
      (rest != 0 && isShort(rest) && problem.microbatches > group))
    return Error{"schedule grouped-interleaved needs groups of half as many "
                 "microbatches as there are ranks up to as many, the last one "
                 "too, asked for " +
                 counts(problem, group)};
  Result<Costs> costs = costsOf(problem, options);
  if (!costs)
    return costs.error();
  int64_t most = group * (problem.stagesPerRank - 1) + problem.ranks;
  // The forward that stands before a rank's first backward counts.
  Schedule order =
      alternate("grouped-interleaved", problem, group, Phase::backward_input,
                [&](int64_t rank) { return most - rank - 1; });
  std::vector<int64_t> limits(static_cast<size_t>(problem.ranks), most);
  return fillWithWeightGrads(order.name, problem, {sequenceOf(order.ranks)},
                             *costs, countingRoom(problem, std::move(limits)),
                             Aim::makespan, options.mostPending);
}

} // namespace moe::schedule
