// Problems, generators and the facts that follow from the order of actions.
#include "compiler/Schedule/Schedule.h"

#include <algorithm>

namespace moe::schedule {

std::string_view name(Phase phase) {
  switch (phase) {
  case Phase::forward:
    return "forward";
  case Phase::backward:
    return "backward";
  case Phase::backward_input:
    return "backward_input";
  case Phase::weight_grad:
    return "weight_grad";
  }
  return "";
}

Status ScheduleProblem::check() const {
  auto positive = [](const char *what, int64_t value) -> Status {
    if (value < 1)
      return Error{std::string("schedule: ") + what +
                   " must be at least 1, is " + std::to_string(value)};
    return {};
  };
  MOE_RETURN_IF_ERROR(positive("the number of pipeline ranks", ranks));
  MOE_RETURN_IF_ERROR(positive("the number of microbatches", microbatches));
  MOE_RETURN_IF_ERROR(positive("the number of stages per rank", stagesPerRank));
  if (ranks == 1 && stagesPerRank > 1)
    return Error{"schedule: one pipeline rank takes one stage, not " +
                 std::to_string(stagesPerRank) +
                 ": consecutive stages on one rank are one stage"};
  return {};
}

namespace {

Status checkOneStagePerRank(const char *schedule,
                            const ScheduleProblem &problem) {
  MOE_RETURN_IF_ERROR(problem.check());
  if (problem.stagesPerRank != 1)
    return Error{std::string("schedule ") + schedule +
                 " needs one stage per rank, asked for " +
                 std::to_string(problem.stagesPerRank)};
  return {};
}

} // namespace

Result<Schedule> gpipe(const ScheduleProblem &problem) {
  MOE_RETURN_IF_ERROR(checkOneStagePerRank("gpipe", problem));
  Schedule schedule{"gpipe", problem, {}};
  schedule.ranks.resize(static_cast<size_t>(problem.ranks));
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    actions.reserve(static_cast<size_t>(2 * problem.microbatches));
    for (Phase phase : {Phase::forward, Phase::backward})
      for (int64_t m = 0; m < problem.microbatches; ++m)
        actions.push_back({phase, rank, m});
  }
  return schedule;
}

Result<Schedule> oneForwardOneBackward(const ScheduleProblem &problem) {
  MOE_RETURN_IF_ERROR(checkOneStagePerRank("1f1b", problem));
  Schedule schedule{"1f1b", problem, {}};
  schedule.ranks.resize(static_cast<size_t>(problem.ranks));
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    actions.reserve(static_cast<size_t>(2 * problem.microbatches));
    int64_t warmUp = std::min(problem.microbatches, problem.ranks - rank - 1);
    for (int64_t m = 0; m < warmUp; ++m)
      actions.push_back({Phase::forward, rank, m});
    for (int64_t m = 0; m < problem.microbatches; ++m) {
      if (warmUp + m < problem.microbatches)
        actions.push_back({Phase::forward, rank, warmUp + m});
      actions.push_back({Phase::backward, rank, m});
    }
  }
  return schedule;
}

Result<Schedule> generate(std::string_view name,
                          const ScheduleProblem &problem) {
  if (name == "gpipe")
    return gpipe(problem);
  if (name == "1f1b")
    return oneForwardOneBackward(problem);
  return Error{"unknown schedule '" + std::string(name) +
               "'; known: 1f1b, gpipe"};
}

int64_t maxInFlight(const Schedule &schedule, int64_t rank) {
  const ScheduleProblem &problem = schedule.problem;
  const auto &actions = schedule.ranks[static_cast<size_t>(rank)];
  auto key = [&](const Action &action) {
    return static_cast<size_t>(action.stage * problem.microbatches +
                               action.microbatch);
  };
  std::vector<size_t> last(
      static_cast<size_t>(problem.stages() * problem.microbatches), 0);
  for (size_t i = 0; i < actions.size(); ++i)
    last[key(actions[i])] = i;
  int64_t held = 0, most = 0;
  for (size_t i = 0; i < actions.size(); ++i) {
    if (actions[i].phase == Phase::forward)
      most = std::max(most, ++held);
    if (last[key(actions[i])] == i)
      --held;
  }
  return most;
}

} // namespace moe::schedule
