#include "compiler/Optimize/ChoiceSearch.h"

#include "compiler/Optimize/StageFronts.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <tuple>

namespace moe::optimize {
namespace {

/// States that go on to the next layer.
size_t mostStates(Effort effort) {
  return effort == Effort::exact ? size_t{1} << 15 : 256;
}

/// Prices of bytes that are tried, and those that bounds go by.
constexpr size_t kPrices = 24, kMostBounds = 16;

/// Of a microbatch that runs while so many are held, and so many wait for their
/// weight gradients, with what else lives.
struct Load {
  int64_t held, pending, otherBytes;

  int64_t of(const StageSums &sums) const {
    return otherBytes + held * sums.kept + pending * sums.pending;
  }
};

/// No choice for the layers from one on takes less than
///   timeOf[layer] + price * (held bytes - capacity),
/// where what is held counts as `row` says: the layers below it, `held` + 1
/// times each, or all of them `held` times besides the peak that was. Those
/// above the peak hold what waits for their weight gradients.
struct Bound {
  double price = 0;
  size_t row = 0; ///< of the peak; behind the last layer: it was already
  Load load{};
  /// Whether the link has a queue from here to the end, or none at the end.
  bool isQueued = false;
  std::vector<double> timeOf; ///< by layer, and 0 behind the last
};

struct State {
  StageSums sums;
  double bound = 0;
  uint32_t parent = 0, option = 0;

  bool isNoWorseThan(const State &other) const {
    return sums.extraNs <= other.sums.extraNs &&
           sums.takenNs() <= other.sums.takenNs() &&
           sums.kept <= other.sums.kept && sums.peak <= other.sums.peak &&
           sums.pending <= other.sums.pending &&
           sums.ahead <= other.sums.ahead && sums.host <= other.sums.host;
  }
};

/// What layers need, however they are treated.
struct Least {
  int64_t kept = 0, pending = 0;
};

class ChoiceSearch {
public:
  ChoiceSearch(const PolicyProblem &problem, int64_t capacity)
      : problem(problem), layers(problem.stages.front()), capacity(capacity) {
    int64_t hosted = 1;
    for (const Moment &moment : problem.moments) {
      loads.push_back({moment.held.front(),
                       moment.pending.empty() ? 0 : moment.pending.front(),
                       moment.otherBytes});
      hosted =
          std::max(hosted, moment.held.front() + 1 + (moment.overlapped >= 0));
    }
    if (problem.hostCapacityBytes < kUnlimitedBytes)
      hostBytes = problem.hostCapacityBytes / hosted;
    // What is no more than another one in all says nothing.
    std::sort(loads.begin(), loads.end(), [](const Load &a, const Load &b) {
      return std::tie(a.held, a.pending, a.otherBytes) >
             std::tie(b.held, b.pending, b.otherBytes);
    });
    std::vector<Load> binding;
    for (const Load &load : loads)
      if (std::none_of(binding.begin(), binding.end(), [&](const Load &other) {
            return other.pending >= load.pending &&
                   other.otherBytes >= load.otherBytes;
          }))
        binding.push_back(load);
    loads = std::move(binding);
    findLeast();
    findBounds();
  }

  QuickerChoices run(int64_t knownNs, size_t mostStates) {
    known = knownNs;
    most = mostStates;
    isCertain = true;
    std::vector<std::vector<State>> levels = {{State{}}};
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      std::vector<State> next = extend(levels.back(), layer);
      if (next.empty())
        return {std::nullopt, isCertain};
      levels.push_back(std::move(next));
    }
    // By rising bounds, which are times now.
    std::vector<int64_t> options(layers.size());
    uint32_t at = 0;
    for (size_t layer = layers.size(); layer > 0; --layer) {
      options[layer - 1] = levels[layer][at].option;
      at = levels[layer][at].parent;
    }
    return {Choices{std::move(options)}, isCertain};
  }

private:
  const std::vector<LayerOption> &optionsOf(size_t layer) const {
    return problem.kinds[static_cast<size_t>(layers[layer])];
  }

  Bound boundOf(double price, size_t row, const Load &load,
                bool isQueued) const {
    Bound bound{price, row, load, isQueued,
                std::vector<double>(layers.size() + 1, 0)};
    for (size_t layer = layers.size(); layer > 0; --layer) {
      const size_t l = layer - 1;
      const bool isBelow = row < layers.size() && l < row;
      const int64_t held = load.held + (isBelow ? 1 : 0);
      double least = std::numeric_limits<double>::max();
      for (const LayerOption &option : optionsOf(l)) {
        const int64_t ns = option.extraNs + (isQueued ? option.queueNs : 0);
        const int64_t bytes = held * option.keptBytes +
                              load.pending * option.pendingBytes +
                              (l == row  ? option.peakBytes
                               : isBelow ? 0
                                         : option.pendingBytes);
        least = std::min(least, static_cast<double>(ns) +
                                    price * static_cast<double>(bytes));
      }
      bound.timeOf[l] = bound.timeOf[layer] + least;
    }
    return bound;
  }

  /// Of a state with the layers below `layer`.
  double timeBy(const Bound &bound, const StageSums &sums, size_t layer) const {
    const bool isAhead = bound.row < layers.size();
    const int64_t bytes =
        bound.load.of(sums) + (isAhead ? sums.kept : sums.peak);
    return static_cast<double>(bound.isQueued ? sums.takenNs() : sums.extraNs) +
           bound.timeOf[layer] +
           bound.price * static_cast<double>(bytes - capacity);
  }

  /// Those that say most to begin with, and one of each row for what comes
  /// later.
  void findBounds() {
    // Nanoseconds per byte, as far as options differ.
    double steepest = 0, flattest = std::numeric_limits<double>::max();
    for (size_t layer = 0; layer < layers.size(); ++layer)
      for (const LayerOption &option : optionsOf(layer)) {
        const LayerOption &all = optionsOf(layer).front();
        const int64_t bytes = all.keptBytes - option.keptBytes;
        if (option.extraNs <= 0 || bytes <= 0)
          continue;
        const double slope =
            static_cast<double>(option.extraNs) / static_cast<double>(bytes);
        steepest = std::max(steepest, slope);
        flattest = std::min(flattest, slope);
      }
    if (steepest == 0)
      return;
    // A byte kept by all microbatches counts more than once.
    int64_t most = 1;
    for (const Load &load : loads)
      most = std::max(most, load.held + 1);
    flattest /= static_cast<double>(most);
    struct Candidate {
      double time;
      size_t number;
      Bound bound;
    };
    std::vector<Candidate> all;
    double price = flattest;
    const double factor =
        std::pow(2 * steepest / flattest, 1.0 / (kPrices - 1));
    for (size_t p = 0; p < kPrices; ++p, price *= factor)
      for (size_t row = 0; row <= layers.size(); ++row)
        for (const Load &load : loads)
          for (bool isQueued : {false, true}) {
            Bound bound = boundOf(price, row, load, isQueued);
            const double time = timeBy(bound, {}, 0);
            all.push_back({time, all.size(), std::move(bound)});
          }
    std::sort(
        all.begin(), all.end(), [](const Candidate &a, const Candidate &b) {
          return std::pair(-a.time, a.number) < std::pair(-b.time, b.number);
        });
    std::vector<bool> hasRow(layers.size() + 1, false);
    for (Candidate &candidate : all) {
      const bool isFirst = !hasRow[candidate.bound.row];
      if (bounds.size() >= kMostBounds && !isFirst)
        continue;
      hasRow[candidate.bound.row] = true;
      bounds.push_back(std::move(candidate.bound));
    }
  }

  /// Of the layers from each on, and none behind the last, what they keep and
  /// have pending at least.
  void findLeast() {
    least.resize(layers.size() + 1);
    for (size_t layer = layers.size(); layer > 0; --layer) {
      const std::vector<LayerOption> &options = optionsOf(layer - 1);
      least[layer - 1] = least[layer];
      least[layer - 1].kept += leastOf(options, &LayerOption::keptBytes);
      least[layer - 1].pending += leastOf(options, &LayerOption::pendingBytes);
    }
  }

  static int64_t leastOf(const std::vector<LayerOption> &options,
                         int64_t LayerOption::*figure) {
    int64_t bytes = options.front().*figure;
    for (const LayerOption &option : options)
      bytes = std::min(bytes, option.*figure);
    return bytes;
  }

  /// With the layers below `layer`.
  bool mayFit(StageSums sums, size_t layer) const {
    if (sums.host > hostBytes)
      return false;
    sums.kept += least[layer].kept;
    sums.pending += least[layer].pending;
    sums.peak = std::max(sums.peak + least[layer].pending, sums.kept);
    return std::all_of(loads.begin(), loads.end(), [&](const Load &load) {
      return load.of(sums) + sums.peak <= capacity;
    });
  }

  std::vector<State> extend(const std::vector<State> &states, size_t layer) {
    const bool isLast = layer + 1 == layers.size();
    std::vector<State> next;
    for (uint32_t parent = 0; parent < states.size(); ++parent)
      for (uint32_t option = 0; option < optionsOf(layer).size(); ++option) {
        State state{states[parent].sums, 0, parent, option};
        state.sums.add(optionsOf(layer)[option]);
        if (!mayFit(state.sums, layer + 1))
          continue;
        state.bound = static_cast<double>(isLast ? state.sums.takenNs()
                                                 : state.sums.extraNs);
        for (const Bound &bound : bounds) {
          if (state.bound >= static_cast<double>(known))
            break;
          if (bound.row > layer)
            state.bound =
                std::max(state.bound, timeBy(bound, state.sums, layer + 1));
        }
        if (state.bound < static_cast<double>(known))
          next.push_back(state);
      }
    std::sort(next.begin(), next.end(), [](const State &a, const State &b) {
      return std::tuple(a.bound, a.sums.kept, a.sums.peak, a.parent, a.option) <
             std::tuple(b.bound, b.sums.kept, b.sums.peak, b.parent, b.option);
    });
    std::vector<State> chosen;
    std::vector<uint32_t> order; // in which they are looked at
    for (const State &state : next) {
      auto better =
          std::find_if(order.begin(), order.end(), [&](uint32_t other) {
            return chosen[other].isNoWorseThan(state);
          });
      if (better != order.end()) {
        // What dominates once does so again and again: it comes sooner then.
        std::iter_swap(better, order.begin() + (better - order.begin()) / 2);
        continue;
      }
      if (chosen.size() == most) {
        isCertain = false;
        break;
      }
      order.push_back(static_cast<uint32_t>(chosen.size()));
      chosen.push_back(state);
    }
    return chosen;
  }

  const PolicyProblem &problem;
  const std::vector<int64_t> &layers; ///< their kinds
  int64_t capacity;
  // Of the run.
  int64_t known = 0;
  size_t most = 0;
  bool isCertain = false;
  int64_t hostBytes = kUnlimitedBytes; ///< of a microbatch
  std::vector<Load> loads;
  std::vector<Least> least;
  std::vector<Bound> bounds;
};

} // namespace

QuickerChoices quickerChoices(const PolicyProblem &problem,
                              int64_t capacityBytes, int64_t knownNs,
                              Effort effort) {
  if (problem.stages.size() != 1)
    return {};
  ChoiceSearch search(problem, capacityBytes);
  QuickerChoices found = search.run(knownNs, mostStates(Effort::fast));
  if (effort == Effort::fast || found.isCertain)
    return found;
  if (found.choices)
    knownNs = evaluate(problem, *found.choices).extraNs;
  QuickerChoices better = search.run(knownNs, mostStates(effort));
  if (better.choices)
    return better;
  found.isCertain = better.isCertain;
  return found;
}

} // namespace moe::optimize
