#include "compiler/Schedule/Holdings.h"

#include <set>

namespace moe::schedule {

std::vector<Holding> holdings(const Schedule &schedule, int64_t rank) {
  std::vector<int64_t> place(static_cast<size_t>(schedule.problem.stages()),
                             -1);
  Holding now;
  for (int64_t stage = 0; stage < schedule.problem.stages(); ++stage)
    if (schedule.problem.rankOf(stage) == rank) {
      place[static_cast<size_t>(stage)] = static_cast<int64_t>(now.held.size());
      now.held.push_back(0);
      now.pending.push_back(0);
    }
  std::set<Holding> different;
  auto placeOf = [&](const Action &action) {
    return static_cast<size_t>(place[static_cast<size_t>(action.stage)]);
  };
  // A backward that runs is no longer among those held, a forward not yet.
  auto begin = [&](const Action &action) {
    if (action.phase == Phase::backward ||
        action.phase == Phase::backward_input)
      --now.held[placeOf(action)];
  };
  auto end = [&](const Action &action) {
    if (action.phase == Phase::forward)
      ++now.held[placeOf(action)];
    else if (action.phase == Phase::backward_input)
      ++now.pending[placeOf(action)];
    else if (action.phase == Phase::weight_grad)
      --now.pending[placeOf(action)];
  };
  const std::vector<Action> &actions =
      schedule.ranks[static_cast<size_t>(rank)];
  for (size_t i = 0; i < actions.size(); ++i) {
    const Action &action = actions[i];
    bool isPair = action.overlapsNext;
    begin(action);
    if (isPair)
      begin(actions[i + 1]);
    auto note = [&](const Action &runs, const Action *other) {
      if (runs.phase == Phase::weight_grad)
        return;
      now.running = static_cast<int64_t>(placeOf(runs));
      now.overlapped =
          other ? static_cast<int64_t>(placeOf(*other)) : int64_t{-1};
      different.insert(now);
    };
    note(action, isPair ? &actions[i + 1] : nullptr);
    if (isPair)
      note(actions[i + 1], &action);
    end(action);
    if (isPair)
      end(actions[++i]);
  }
  return {different.begin(), different.end()};
}

} // namespace moe::schedule
