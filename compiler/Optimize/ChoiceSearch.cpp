#include "compiler/Optimize/ChoiceSearch.h"

#include "compiler/Optimize/ChoiceBounds.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace moe::optimize {
namespace {

/// States that go on to the next layer; the more layers, the less a choice for
/// one of them matters.
size_t mostStates(const PolicyProblem &problem, Effort effort) {
  if (effort == Effort::exact)
    return size_t{1} << 15;
  size_t layers = 0;
  for (const std::vector<int64_t> &stage : problem.stages)
    layers += stage.size();
  return std::clamp<size_t>(8192 / std::max<size_t>(1, layers), 128, 512);
}

/// For each state that goes on, those that are weighed by all bounds.
constexpr size_t kPromising = 12;

/// States that bounds are chosen by.
constexpr size_t kLooks = 128;

/// Choices for the first few layers.
struct State {
  uint32_t finished = 0; ///< of the stages that are, its number
  StageSums sums;        ///< of the stage under way
  double bound = 0;      ///< nothing that they lead to takes less
  int64_t keptBytes = 0; ///< ChoiceBounds::keptBytes
  uint32_t parent = 0, option = 0;
};

class ChoiceSearch {
public:
  ChoiceSearch(const PolicyProblem &problem, int64_t capacity, Effort effort)
      : problem(problem),
        bounds(problem, capacity,
               effort == Effort::exact ? Precision::fine : Precision::quick) {}

  /// Choices that take less than `belowNs`.
  QuickerChoices run(int64_t belowNs, size_t states) {
    known = static_cast<double>(belowNs);
    most = states;
    leftOutNs = std::numeric_limits<double>::infinity();
    finished = {bounds.none()};
    std::vector<std::vector<State>> levels = {{State{}}};
    for (size_t layer = 0; layer < bounds.layers().size(); ++layer) {
      levels.push_back(extend(levels.back(), layer));
      if (levels.back().empty())
        return result(std::nullopt, known);
    }
    // By rising bounds, which are times now.
    Choices choices;
    for (const std::vector<int64_t> &stage : problem.stages)
      choices.emplace_back(stage.size());
    uint32_t at = 0;
    size_t level = levels.size();
    for (size_t s = choices.size(); s-- > 0;)
      for (size_t l = choices[s].size(); l-- > 0;) {
        const State &state = levels[--level][at];
        choices[s][l] = state.option;
        at = state.parent;
      }
    return result(std::move(choices), levels.back().front().bound);
  }

private:
  /// `ns`: what all that was not left out takes at least.
  QuickerChoices result(std::optional<Choices> choices, double ns) const {
    const double least = std::min(leftOutNs, ns);
    return {std::move(choices), leftOutNs >= ns,
            least < 0x1p62 ? static_cast<int64_t>(least)
                           : std::numeric_limits<int64_t>::max()};
  }

  using Bounds = std::vector<ChoiceBounds::BoundAt>;

  std::vector<State> extend(const std::vector<State> &states, size_t layer) {
    using Which = ChoiceBounds::Which;
    const RankLayer &last = bounds.layers()[layer];
    const bool isDone = layer + 1 == bounds.layers().size();
    const size_t ways = last.options->size();
    const Bounds strongest =
        telling(bounds.boundsAt(Which::strongest, layer), states.size() * ways,
                [&](size_t number) {
                  return with(states, number / ways, number % ways, layer);
                });
    next.clear();
    for (size_t parent = 0; parent < states.size(); ++parent)
      for (size_t option = 0; option < ways; ++option)
        if (std::optional<State> state = with(states, parent, option, layer);
            state && isPromising(*state, strongest))
          next.push_back(*state);
    if (!isDone) {
      if (const size_t promising = kPromising * most; next.size() > promising) {
        std::nth_element(next.begin(),
                         next.begin() + static_cast<ptrdiff_t>(promising),
                         next.end(), isBefore);
        leaveOut(next[promising]);
        next.resize(promising);
      }
      const Bounds others = telling(
          bounds.boundsAt(Which::others, layer), next.size(),
          [&](size_t number) { return std::optional<State>(next[number]); });
      std::erase_if(next,
                    [&](State &state) { return !isPromising(state, others); });
    }
    std::sort(next.begin(), next.end(), isBefore);
    if (!isDone)
      spread(next);
    if (last.isLast)
      finishStage(next, layer);
    return undominated(next);
  }

  /// A state with one more layer; none: it cannot fit.
  std::optional<State> with(const std::vector<State> &states, size_t parent,
                            size_t option, size_t layer) const {
    State state = states[parent];
    state.parent = static_cast<uint32_t>(parent);
    state.option = static_cast<uint32_t>(option);
    state.sums.add((*bounds.layers()[layer].options)[option],
                   problem.hostBytesPerNs);
    const FinishedStages &below = finished[state.finished];
    if (!bounds.mayFit(below, state.sums, layer))
      return std::nullopt;
    state.bound =
        std::max(state.bound,
                 static_cast<double>(bounds.takenNs(below, state.sums, layer)));
    state.keptBytes = bounds.keptBytes(below, state.sums, layer);
    return state;
  }

  /// Those of `all` that say most of some of `count` states, of which it looks
  /// at a few: the others would say next to nothing of the rest.
  template <typename StateOf>
  Bounds telling(Bounds all, size_t count, StateOf stateOf) const {
    std::vector<std::pair<size_t, size_t>> told; // how often, by what
    for (size_t i = 0; i < all.size(); ++i)
      told.push_back({0, i});
    const size_t looks = std::min(count, kLooks);
    for (size_t look = 0; look < looks; ++look) {
      const std::optional<State> state = stateOf(look * count / looks);
      if (!state)
        continue;
      double mostNs = state->bound;
      size_t by = all.size();
      for (size_t i = 0; i < all.size() && mostNs < known; ++i) {
        const double ns = all[i].timeNs(finished[state->finished], state->sums);
        if (ns > mostNs) {
          mostNs = ns;
          by = i;
        }
      }
      if (by < all.size())
        ++told[by].first;
    }
    std::sort(told.begin(), told.end(), [](const auto &a, const auto &b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    Bounds some;
    for (auto [times, number] : told)
      if (times > 0)
        some.push_back(all[number]);
    return some;
  }

  /// Raises the bound of a state; says whether it is still below what is known.
  bool isPromising(State &state, const Bounds &by) const {
    state.bound = bounds.raised(by, state.bound, known,
                                finished[state.finished], state.sums);
    return state.bound < known;
  }

  /// The first one, by rising bounds, that does not go on.
  void leaveOut(const State &state) {
    leftOutNs = std::min(leftOutNs, state.bound);
  }

  /// By rising bounds.
  static bool isBefore(const State &a, const State &b) {
    return std::tuple(a.bound, a.keptBytes, a.sums.peak, a.parent, a.option) <
           std::tuple(b.bound, b.keptBytes, b.sums.peak, b.parent, b.option);
  }

  /// Of too many states, by rising bounds, leaves those that promise most, and
  /// of each of as many equal parts of what is kept the one that does. Where
  /// memory costs little, many promise the same, and what is kept so far
  /// decides what the layers above can do.
  void spread(std::vector<State> &states) {
    if (states.size() <= most)
      return;
    const size_t half = most / 2;
    const auto [least, largest] = std::minmax_element(
        states.begin(), states.end(), [](const State &a, const State &b) {
          return a.keptBytes < b.keptBytes;
        });
    const int64_t from = least->keptBytes;
    const int64_t width =
        (largest->keptBytes - from) / static_cast<int64_t>(half) + 1;
    std::vector<bool> isCovered(half, false);
    std::vector<State> chosen, rest;
    for (const State &state : states) {
      auto part = static_cast<size_t>((state.keptBytes - from) / width);
      const bool isFirst = !isCovered[part];
      isCovered[part] = true;
      (chosen.size() < half || isFirst ? chosen : rest).push_back(state);
    }
    size_t more = 0;
    while (chosen.size() < most)
      chosen.push_back(rest[more++]);
    leaveOut(rest[more]);
    states = std::move(chosen);
  }

  /// Behind the last layer of a stage only its loads count.
  void finishStage(std::vector<State> &states, size_t layer) {
    std::vector<FinishedStages> made;
    made.reserve(states.size());
    for (State &state : states) {
      made.push_back(
          bounds.finished(finished[state.finished], state.sums, layer));
      state.finished = static_cast<uint32_t>(made.size()) - 1;
      state.sums = {};
    }
    finished = std::move(made);
  }

  /// Of kept bytes and what the link has not copied yet. Layers above raise
  /// the latter to the same or by the same.
  double withWaiting(const StageSums &sums) const {
    return static_cast<double>(sums.kept) +
           problem.hostBytesPerNs * static_cast<double>(sums.lagNs);
  }

  bool isNoWorse(const State &a, const State &b) const {
    const StageSums &x = a.sums, &y = b.sums;
    if (x.kept > y.kept || x.peak > y.peak || x.pending > y.pending ||
        x.ahead > y.ahead || x.host > y.host ||
        !x.backward.isNoWorseThan(y.backward) ||
        !x.weightGrad.isNoWorseThan(y.weightGrad))
      return false;
    const FinishedStages &below = finished[a.finished],
                         &other = finished[b.finished];
    return below.ns + x.extraNs <= other.ns + y.extraNs &&
           below.ns + x.takenNs() <= other.ns + y.takenNs() &&
           withWaiting(x) <= withWaiting(y) &&
           (a.finished == b.finished || below.isNoWorseThan(other));
  }

  /// Those that no other one is no worse than, as they come.
  std::vector<State> undominated(const std::vector<State> &states) {
    std::vector<State> chosen;
    std::vector<uint32_t> order; // in which they are looked at
    for (const State &state : states) {
      auto better =
          std::find_if(order.begin(), order.end(), [&](uint32_t other) {
            return isNoWorse(chosen[other], state);
          });
      if (better != order.end()) {
        // What dominates once does so again and again: it comes sooner then.
        std::iter_swap(better, order.begin() + (better - order.begin()) / 2);
        continue;
      }
      if (chosen.size() == most) {
        leaveOut(state);
        break;
      }
      order.push_back(static_cast<uint32_t>(chosen.size()));
      chosen.push_back(state);
    }
    return chosen;
  }

  const PolicyProblem &problem;
  ChoiceBounds bounds;
  // Of the run.
  double known = 0;
  size_t most = 0;
  double leftOutNs = 0;                 ///< a bound of all that did not go on
  std::vector<FinishedStages> finished; ///< of the states of now
  std::vector<State> next;              ///< of extend(), to be allocated once
};

} // namespace

QuickerChoices quickerChoices(const PolicyProblem &problem,
                              int64_t capacityBytes, int64_t knownNs,
                              Effort effort, int64_t toleranceNs) {
  if (knownNs <= 0) // nothing takes less
    return {std::nullopt, true};
  ChoiceSearch search(problem, capacityBytes, effort);
  QuickerChoices found =
      search.run(knownNs - toleranceNs, mostStates(problem, Effort::fast));
  if (effort == Effort::fast || found.isCertain)
    return found;
  if (found.choices)
    knownNs = evaluate(problem, *found.choices).extraNs;
  QuickerChoices better =
      search.run(knownNs - toleranceNs, mostStates(problem, effort));
  if (!better.choices)
    better.choices = std::move(found.choices);
  return better;
}

QuickerChoices narrowSearch(const PolicyProblem &problem, int64_t capacityBytes,
                            int64_t knownNs, size_t states) {
  return ChoiceSearch(problem, capacityBytes, Effort::exact)
      .run(knownNs, states);
}

} // namespace moe::optimize
