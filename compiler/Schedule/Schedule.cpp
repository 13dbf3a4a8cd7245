// Problems and the facts that follow from the order of actions.
#include "compiler/Schedule/Schedule.h"

#include <algorithm>
#include <array>

namespace moe::schedule {

static constexpr std::array<std::string_view, 3> kPlacements = {
    "loop", "v", "bidirectional"};

std::string_view name(Placement placement) {
  return kPlacements[static_cast<size_t>(placement)];
}

std::optional<Placement> parsePlacement(std::string_view text) {
  for (size_t i = 0; i < kPlacements.size(); ++i)
    if (kPlacements[i] == text)
      return static_cast<Placement>(i);
  return std::nullopt;
}

int64_t ScheduleProblem::rankOf(int64_t stage) const {
  int64_t place = stage % ranks;
  bool backwards = placement != Placement::loop && stage / ranks % 2 == 1;
  return backwards ? ranks - 1 - place : place;
}

int64_t ScheduleProblem::replicaOf(int64_t microbatch) const {
  return microbatch * replicas() / microbatches;
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
  if (firstBackward < 0 || firstBackward > stagesPerReplica())
    return Error{"schedule: the first stage with a backward must be one of 0 "
                 "to " +
                 std::to_string(stagesPerReplica()) + ", is " +
                 std::to_string(firstBackward)};
  switch (placement) {
  case Placement::loop:
    if (ranks == 1 && stagesPerRank > 1)
      return Error{"schedule: one pipeline rank takes one stage, not " +
                   std::to_string(stagesPerRank) +
                   ": consecutive stages on one rank are one stage"};
    break;
  case Placement::v:
    if (stagesPerRank < 2)
      return Error{"schedule: placement v needs two stages a rank or more, "
                   "asked for one"};
    break;
  case Placement::bidirectional:
    if (stagesPerRank != 2 || ranks % 2 != 0 || microbatches % 2 != 0)
      return Error{
          "schedule: bidirectional placement needs two stages a rank "
          "and an even number of ranks and of microbatches, asked for " +
          std::to_string(stagesPerRank) + " stages, " + std::to_string(ranks) +
          " ranks and " + std::to_string(microbatches) + " microbatches"};
    break;
  }
  return {};
}

Schedule leaveOutUntrained(const Schedule &schedule, int64_t firstBackward,
                           const std::vector<bool> &hasWeightGradients) {
  Schedule result = schedule;
  result.problem.firstBackward = firstBackward;
  for (std::vector<Action> &actions : result.ranks) {
    std::vector<Action> left;
    for (Action action : actions) {
      bool forward = action.phase == Phase::forward;
      bool splits = hasWeightGradients[static_cast<size_t>(action.stage)];
      if ((!forward && !result.problem.hasBackward(action.stage)) ||
          (action.phase == Phase::weight_grad && !splits)) {
        // What it was to run together with runs alone.
        if (!left.empty() && left.back().overlapsNext)
          left.back().overlapsNext = false;
        continue;
      }
      if (action.phase == Phase::backward_input && !splits)
        action.phase = Phase::backward;
      left.push_back(action);
    }
    actions = std::move(left);
  }
  return result;
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

bool splitsBackwards(const Schedule &schedule) {
  for (const std::vector<Action> &actions : schedule.ranks)
    for (const Action &action : actions)
      if (action.phase == Phase::weight_grad)
        return true;
  return false;
}

std::set<std::pair<int64_t, int64_t>>
overlappingPairs(const Schedule &schedule) {
  std::set<std::pair<int64_t, int64_t>> pairs;
  for (const std::vector<Action> &actions : schedule.ranks)
    for (size_t i = 0; i + 1 < actions.size(); ++i)
      if (actions[i].overlapsNext)
        pairs.insert({actions[i].stage, actions[i + 1].stage});
  return pairs;
}

bool turnsAtOnce(const Schedule &schedule, int64_t stage) {
  bool runs = false;
  for (const std::vector<Action> &actions : schedule.ranks)
    for (size_t i = 0; i < actions.size(); ++i) {
      const Action &forward = actions[i];
      if (forward.phase != Phase::forward || forward.stage != stage)
        continue;
      runs = true;
      // An overlapping pair is run as one.
      const size_t next = i + (forward.overlapsNext ? 2 : 1);
      auto isItsBackward = [&](size_t at) {
        return at < actions.size() && actions[at].stage == stage &&
               actions[at].microbatch == forward.microbatch;
      };
      if (!isItsBackward(next) &&
          !(next < actions.size() && actions[next].overlapsNext &&
            isItsBackward(next + 1)))
        return false;
    }
  return runs;
}

} // namespace moe::schedule
