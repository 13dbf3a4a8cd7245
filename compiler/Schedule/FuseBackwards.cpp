#include "compiler/Schedule/FuseBackwards.h"

#include <limits>

namespace moe::schedule {

Schedule fuseBackwards(const Schedule &schedule, const Costs &costs,
                       const Evaluation &evaluation) {
  const ScheduleProblem &problem = schedule.problem;
  auto instance = [&](int64_t stage, int64_t microbatch) {
    return static_cast<size_t>(stage * problem.microbatches + microbatch);
  };
  // When the backwards begin; those that nobody sends anything begin late.
  std::vector<int64_t> beginNs(
      static_cast<size_t>(problem.stages() * problem.microbatches),
      std::numeric_limits<int64_t>::max());
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
    for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
      const Action &action = schedule.ranks[rank][i];
      if (action.phase == Phase::backward ||
          action.phase == Phase::backward_input)
        beginNs[instance(action.stage, action.microbatch)] =
            evaluation.ranks[rank].times[i].beginNs;
    }
  auto isEarlyEnough = [&](const Action &action, int64_t endNs) {
    if (problem.isFirst(action.stage))
      return true;
    int64_t before = action.stage - 1;
    bool travels = problem.rankOf(before) != problem.rankOf(action.stage);
    return endNs + (travels ? costs.transferNs : 0) <=
           beginNs[instance(before, action.microbatch)];
  };

  Schedule fused{schedule.name, problem, {}};
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    const std::vector<Action> &actions = schedule.ranks[rank];
    std::vector<Action> &result = fused.ranks.emplace_back();
    for (size_t i = 0; i < actions.size(); ++i) {
      result.push_back(actions[i]);
      bool overlapped = i > 0 && actions[i - 1].overlapsNext;
      if (actions[i].phase != Phase::backward_input || overlapped ||
          i + 1 == actions.size())
        continue;
      const Action &next = actions[i + 1];
      if (next.phase != Phase::weight_grad || next.stage != actions[i].stage ||
          next.microbatch != actions[i].microbatch ||
          !isEarlyEnough(next, evaluation.ranks[rank].times[i + 1].endNs))
        continue;
      result.back().phase = Phase::backward;
      ++i;
    }
  }
  return fused;
}

void makeBackwardsWhole(std::vector<std::vector<Action>> &order) {
  for (std::vector<Action> &actions : order) {
    std::erase_if(actions, [](const Action &action) {
      return action.phase == Phase::weight_grad;
    });
    for (Action &action : actions)
      if (action.phase == Phase::backward_input)
        action.phase = Phase::backward;
  }
}

} // namespace moe::schedule
