#include "compiler/Schedule/SearchLocal.h"

#include <algorithm>

namespace moe::schedule::search {

Sequence splitSequenceOf(const std::vector<std::vector<Action>> &order) {
  Sequence sequence(order.size());
  for (size_t rank = 0; rank < order.size(); ++rank)
    for (const Action &action : order[rank])
      if (action.phase != Phase::weight_grad)
        sequence[rank].emplace_back(action.stage, action.phase == Phase::forward
                                                      ? Phase::forward
                                                      : Phase::backward_input);
  return sequence;
}

bool isSequential(const std::vector<std::vector<Action>> &order) {
  for (const auto &actions : order)
    for (const Action &action : actions)
      if (action.overlapsNext)
        return false;
  return true;
}

void improve(Kitchen &kitchen, const Sequence &start, Score &score,
             int64_t effort, int64_t boundNs,
             const std::function<void()> &better) {
  int64_t endEffort = kitchen.effort() + effort;
  auto take = [&] {
    if (kitchen.score() < score) {
      score = kitchen.score();
      better();
    }
  };
  // With weight gradients where the order has them, and where they fall for
  // various rules.
  Sequence bare = withoutWeightGrads(start);
  FillRules rules;
  const Sequence *chosen = nullptr;
  Score current;
  auto consider = [&](const Sequence &sequence, double overrun,
                      int64_t mostPending) {
    FillRules tried;
    tried.overrun = overrun;
    tried.mostPending = mostPending;
    tried.mostNs = current.makespanNs;
    if (kitchen.effort() > endEffort || !kitchen.run(sequence, tried) ||
        kitchen.score() >= current)
      return;
    current = kitchen.score();
    rules = tried;
    chosen = &sequence;
    take();
  };
  consider(start, 0, kNoLimit);
  for (double overrun : {0.0, 0.5, 1.0})
    for (int64_t mostPending : {int64_t{0}, int64_t{1}, int64_t{3}, kNoLimit})
      consider(bare, overrun, mostPending);
  if (!chosen)
    return;
  Sequence sequence = *chosen;
  kitchen.improve(sequence, rules, endEffort - kitchen.effort(), boundNs, take);
}

} // namespace moe::schedule::search
