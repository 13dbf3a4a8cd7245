// Schedules that run a forward and a backward of a rank interleaved.
#include "compiler/Schedule/GeneratorSupport.h"

#include <algorithm>
#include <array>

namespace moe::schedule {

namespace {

/// The eight steps of one rank, for both ways of placing two stages on it.
///
/// A rank has two directions: direction 0 is the stage that it reaches first,
/// direction 1 the other. `place` counts ranks from the outside (0) to where
/// direction 0 turns into direction 1 (`places` - 1).
class Eight {
public:
  struct Direction {
    int64_t stage = 0;
    int64_t firstMicrobatch = 0;
  };

  Eight(std::vector<Action> &actions, const Direction &zero,
        const Direction &one)
      : actions(actions), directions{zero, one} {}

  void run(int64_t place, int64_t places, int64_t microbatches) {
    int64_t outer = places - place - 1;
    for (int64_t i = 0; i < 2 * outer; ++i)
      forward(0);
    for (int64_t i = 0; i <= place; ++i) {
      forward(0);
      forward(1);
    }
    for (int64_t i = 0; i < outer; ++i) {
      backwardInput(1);
      weightGrad();
      forward(1);
    }
    for (int64_t i = 0; i < microbatches - 2 * places + place + 1; ++i) {
      // Where the direction turns, the first pair is one microbatch's own.
      pair(0, 1, i == 0 && outer == 0);
      pair(1, 0, false);
    }
    for (int64_t i = 0; i < outer; ++i) {
      backward(1);
      pair(1, 0, false);
    }
    bool split = false;
    for (int64_t i = 0; i <= place; ++i) {
      bool turn = i == (place + 1) / 2;
      split = split || (turn && place % 2 == 1);
      backward(1, split);
      split = split || (turn && place % 2 == 0);
      backward(0, split);
    }
    for (int64_t i = 0; i < outer; ++i) {
      weightGrad();
      backward(0, true);
    }
    while (nextWeight < weights.size())
      weightGrad();
  }

private:
  void push(Phase phase, int64_t direction, int64_t count, bool overlaps) {
    const Direction &of = directions[static_cast<size_t>(direction)];
    actions.push_back({phase, of.stage, of.firstMicrobatch + count, overlaps});
  }
  void forward(int64_t direction, bool overlaps = false) {
    push(Phase::forward, direction, forwards[static_cast<size_t>(direction)]++,
         overlaps);
  }
  void backwardInput(int64_t direction) {
    push(Phase::backward_input, direction,
         backwards[static_cast<size_t>(direction)]++, false);
    weights.push_back(actions.back());
    weights.back().phase = Phase::weight_grad;
  }
  void backward(int64_t direction, bool split = false) {
    if (split)
      return backwardInput(direction);
    push(Phase::backward, direction,
         backwards[static_cast<size_t>(direction)]++, false);
  }
  void pair(int64_t forwards, int64_t backwards, bool apart) {
    forward(forwards, !apart);
    backward(backwards);
  }
  void weightGrad() { actions.push_back(weights[nextWeight++]); }

  std::vector<Action> &actions;
  std::array<Direction, 2> directions;
  std::array<int64_t, 2> forwards{}, backwards{};
  std::vector<Action> weights; ///< in the order they became possible
  size_t nextWeight = 0;
};

} // namespace

Result<Schedule> dualPipe(const ScheduleProblem &problem,
                          const GeneratorOptions &) {
  MOE_RETURN_IF_ERROR(
      checkShape("dualpipe", problem, Placement::bidirectional, 2));
  if (problem.microbatches < 2 * problem.ranks)
    return Error{"schedule dualpipe needs twice as many microbatches as ranks, "
                 "asked for " +
                 std::to_string(problem.microbatches) + " microbatches on " +
                 std::to_string(problem.ranks) + " ranks"};
  Schedule schedule = emptySchedule("dualpipe", problem);
  int64_t half = problem.microbatches / 2;
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    Eight::Direction down{rank, 0};
    Eight::Direction up{2 * problem.ranks - 1 - rank, half};
    int64_t place = std::min(rank, problem.ranks - 1 - rank);
    bool first = place == rank;
    Eight(schedule.ranks[static_cast<size_t>(rank)], first ? down : up,
          first ? up : down)
        .run(place, problem.ranks / 2, half);
  }
  return schedule;
}

Result<Schedule> dualPipeV(const ScheduleProblem &problem,
                           const GeneratorOptions &) {
  MOE_RETURN_IF_ERROR(checkShape("dualpipe-v", problem, Placement::v, 2));
  if (problem.microbatches < 2 * problem.ranks)
    return Error{"schedule dualpipe-v needs twice as many microbatches as "
                 "ranks, asked for " +
                 std::to_string(problem.microbatches) + " microbatches on " +
                 std::to_string(problem.ranks) + " ranks"};
  Schedule schedule = emptySchedule("dualpipe-v", problem);
  for (int64_t rank = 0; rank < problem.ranks; ++rank)
    Eight(schedule.ranks[static_cast<size_t>(rank)], {rank, 0},
          {2 * problem.ranks - 1 - rank, 0})
        .run(rank, problem.ranks, problem.microbatches);
  return schedule;
}

} // namespace moe::schedule
