#include "compiler/Schedule/CriticalPath.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <optional>

namespace moe::schedule {

namespace {

bool isBackward(const Action &action) {
  return action.phase == Phase::backward ||
         action.phase == Phase::backward_input;
}

/// Adds up a chain.
class ChainCounter {
public:
  explicit ChainCounter(const ScheduleProblem &problem) {
    chain.stages.resize(static_cast<size_t>(problem.stages()));
  }

  /// The action at `index`, with the next one where both overlap.
  void add(const std::vector<Action> &actions, size_t index) {
    const Action &action = actions[index];
    if (action.overlapsNext) {
      const Action &second = actions[index + 1];
      ++pairs[{action.stage, second.stage, second.phase == Phase::backward}];
      return;
    }
    ActionChain::OfStage &stage = at(action.stage);
    stage.forwards += action.phase == Phase::forward;
    stage.inputGrads += isBackward(action);
    stage.weightGrads +=
        action.phase == Phase::backward || action.phase == Phase::weight_grad;
  }

  void addTransfer() { ++chain.transfers; }
  ActionChain::OfStage &at(int64_t stage) {
    return chain.stages[static_cast<size_t>(stage)];
  }

  ActionChain take() {
    for (const auto &[key, count] : pairs)
      chain.pairs.push_back({key[0], key[1], key[2] != 0, count});
    return std::move(chain);
  }

private:
  ActionChain chain;
  std::map<std::array<int64_t, 3>, int64_t> pairs;
};

class ChainFinder {
public:
  ChainFinder(const Schedule &schedule, const Costs &costs,
              const Evaluation &evaluation, const Transfers *transfers)
      : schedule(schedule), problem(schedule.problem), costs(costs),
        evaluation(evaluation), transfers(transfers), counter(problem) {
    const auto instances =
        static_cast<size_t>(problem.stages() * problem.microbatches);
    forwards.resize(instances);
    backwards.resize(instances);
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
      for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
        const Action &action = schedule.ranks[rank][i];
        if (action.phase == Phase::forward)
          forwards[instance(action.stage, action.microbatch)] = i;
        else if (isBackward(action))
          backwards[instance(action.stage, action.microbatch)] = i;
      }
  }

  ActionChain run() {
    std::optional<Place> at = last();
    while (at) {
      counter.add(schedule.ranks[at->rank], at->index);
      at = before(*at);
    }
    return counter.take();
  }

private:
  /// Of a pair, the first one.
  using Place = ActionPlace;

  size_t instance(int64_t stage, int64_t microbatch) const {
    return static_cast<size_t>(stage * problem.microbatches + microbatch);
  }
  const Action &actionAt(Place place) const {
    return schedule.ranks[place.rank][place.index];
  }
  const ActionTime &timeOf(Place place) const {
    return evaluation.ranks[place.rank].times[place.index];
  }
  Place firstOfPair(Place place) const {
    if (place.index > 0 &&
        schedule.ranks[place.rank][place.index - 1].overlapsNext)
      --place.index;
    return place;
  }

  std::optional<Place> last() const {
    std::optional<Place> latest;
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
      if (schedule.ranks[rank].empty())
        continue;
      const Place end = {rank, schedule.ranks[rank].size() - 1};
      if (!latest || timeOf(end).endNs > timeOf(*latest).endNs)
        latest = end;
    }
    if (latest)
      latest = firstOfPair(*latest);
    return latest;
  }

  /// What made the input of an action; none: nothing did.
  std::optional<Place> makerOf(const Action &action) const {
    int64_t source = action.stage;
    const std::vector<size_t> *indices = &forwards;
    if (action.phase == Phase::weight_grad ||
        (action.phase == Phase::forward && problem.isFirst(source)))
      return std::nullopt;
    if (action.phase == Phase::forward) {
      --source;
    } else if (!problem.isLast(source)) {
      ++source;
      indices = &backwards;
    }
    return Place{static_cast<size_t>(problem.rankOf(source)),
                 (*indices)[instance(source, action.microbatch)]};
  }

  /// What made the input of an action arrive at `ns`; none: it did not then.
  std::optional<Place> arrivalCause(Place taker, int64_t ns) {
    const std::optional<Place> maker = makerOf(actionAt(taker));
    if (!maker)
      return std::nullopt;
    if (maker->rank == taker.rank)
      return timeOf(*maker).endNs == ns ? std::optional(firstOfPair(*maker))
                                        : std::nullopt;
    const size_t ended =
        transfers ? (*transfers)[taker.rank][taker.index].postedBehind : 0;
    const int64_t makerNs = timeOf(*maker).endNs;
    const Place posting = {taker.rank, ended > 0 ? ended - 1 : 0};
    const int64_t postedNs = ended > 0 ? timeOf(posting).endNs : 0;
    if (std::max(makerNs, postedNs) + costs.transferNs != ns)
      return std::nullopt;
    counter.addTransfer();
    return firstOfPair(postedNs > makerNs ? posting : *maker);
  }

  /// What an action, or a pair, began behind; none: the step began with it.
  std::optional<Place> before(Place place) {
    const int64_t beginNs = timeOf(place).beginNs;
    if (place.index > 0) {
      const Place earlier = {place.rank, place.index - 1};
      if (timeOf(earlier).endNs == beginNs)
        return firstOfPair(earlier);
    }
    const size_t end = place.index + (actionAt(place).overlapsNext ? 2 : 1);
    for (size_t i = place.index; i < end; ++i) {
      const Place own = {place.rank, i};
      if (std::optional<Place> cause = arrivalCause(own, beginNs))
        return cause;
      if (transfers)
        if (const auto &awaited = (*transfers)[own.rank][i].awaited)
          if (std::optional<Place> cause = arrivalCause(*awaited, beginNs))
            return cause;
    }
    assert(beginNs == 0 && "an action waits for nothing and begins late");
    return std::nullopt;
  }

  const Schedule &schedule;
  const ScheduleProblem &problem;
  const Costs &costs;
  const Evaluation &evaluation;
  const Transfers *transfers;
  /// By stage and microbatch, which action of its rank it is.
  std::vector<size_t> forwards, backwards;
  ChainCounter counter;
};

} // namespace

int64_t ActionChain::ns(const Costs &costs) const {
  int64_t ns = transfers * costs.transferNs;
  for (size_t s = 0; s < stages.size(); ++s)
    ns += stages[s].forwards * costs.stages[s].forwardNs +
          stages[s].inputGrads * costs.stages[s].inputGradNs +
          stages[s].weightGrads * costs.stages[s].weightGradNs;
  for (const Pairs &each : pairs)
    ns += each.count *
          costs.pairNs(each.forwardStage, each.backwardStage, each.isWhole);
  return ns;
}

ActionChain criticalPath(const Schedule &schedule, const Costs &costs,
                         const Evaluation &evaluation,
                         const Transfers *transfers) {
  return ChainFinder(schedule, costs, evaluation, transfers).run();
}

ActionChain chainThrough(const Schedule &schedule, int64_t rank) {
  const ScheduleProblem &problem = schedule.problem;
  const std::vector<Action> &actions =
      schedule.ranks[static_cast<size_t>(rank)];
  ChainCounter counter(problem);
  for (size_t i = 0; i < actions.size(); ++i)
    if (i == 0 || !actions[i - 1].overlapsNext)
      counter.add(actions, i);
  auto passBelow = [&](int64_t stage, auto pass) {
    for (int64_t s = stage - problem.positionOf(stage); s < stage; ++s)
      if (pass(counter.at(s), s) && problem.rankOf(s) != problem.rankOf(s + 1))
        counter.addTransfer();
  };
  if (actions.empty())
    return counter.take();
  if (actions.front().phase == Phase::forward)
    passBelow(actions.front().stage, [](ActionChain::OfStage &stage, int64_t) {
      ++stage.forwards;
      return true;
    });
  // Nothing waits for weight gradients where they can be actions of their own.
  const bool areWhole = !splitsBackwards(schedule);
  if (isBackward(actions.back()))
    passBelow(actions.back().stage,
              [&](ActionChain::OfStage &stage, int64_t number) {
                if (!problem.hasBackward(number))
                  return false;
                ++stage.inputGrads;
                stage.weightGrads += areWhole;
                return true;
              });
  return counter.take();
}

} // namespace moe::schedule
