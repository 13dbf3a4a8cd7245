#include "compiler/Optimize/ChoiceBounds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace moe::optimize {

namespace {

/// Prices that are tried, and bounds that all choices are weighed by.
constexpr size_t kPrices = 24, kStrongest = 16;
constexpr std::array kQueueShares = {0.0, .25, .5, .75, 1.0};

/// Where a layer lies when another one of its stage runs, or itself; layers of
/// other stages are nowhere.
enum Turn : int { kBelow, kRunning, kAbove, kElsewhere };
constexpr size_t kTurns = 4;

int64_t leastOf(const std::vector<LayerOption> &options,
                int64_t LayerOption::*figure) {
  int64_t bytes = options.front().*figure;
  for (const LayerOption &option : options)
    bytes = std::min(bytes, option.*figure);
  return bytes;
}

bool areWithin(const std::vector<int64_t> &a, const std::vector<int64_t> &b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i] > b[i])
      return false;
  return true;
}

} // namespace

bool FinishedStages::isNoWorseThan(const FinishedStages &other) const {
  return ns <= other.ns && areWithin(loads, other.loads) &&
         areWithin(host, other.host);
}

/// What is not a bound yet: at the begin no choice takes less than `time`.
struct ChoiceBounds::Candidate {
  double time = 0;
  double price = 0, queueShare = 0;
  size_t moment = 0, row = 0;

  bool operator<(const Candidate &other) const {
    return std::tuple(-time, price, queueShare, moment, row) <
           std::tuple(-other.time, other.price, other.queueShare, other.moment,
                      other.row);
  }
};

ChoiceBounds::ChoiceBounds(const PolicyProblem &problem, int64_t capacityBytes)
    : problem(problem), capacity(capacityBytes),
      moments(binding(problem.moments)), limit(problem) {
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    firstOf.push_back(list.size());
    const std::vector<int64_t> &kinds = problem.stages[s];
    for (size_t l = 0; l < kinds.size(); ++l)
      list.push_back({s, &problem.kinds[static_cast<size_t>(kinds[l])], l == 0,
                      l + 1 == kinds.size()});
    int64_t &held = mostHeld.emplace_back(0);
    for (const Moment &moment : moments)
      held = std::max(held, moment.held[s] + 1);
  }
  findLeast();
  findBounds();
}

FinishedStages ChoiceBounds::none() const {
  FinishedStages stages;
  for (const Moment &moment : moments)
    stages.loads.push_back(moment.otherBytes);
  stages.host.assign(limit.hosted.size(), 0);
  return stages;
}

FinishedStages ChoiceBounds::finished(const FinishedStages &below,
                                      const StageSums &sums,
                                      size_t layer) const {
  const size_t stage = list[layer].stage;
  FinishedStages stages = below;
  for (size_t m = 0; m < moments.size(); ++m)
    stages.loads[m] += loadOf(moments[m], stage, sums);
  for (size_t m = 0; m < limit.hosted.size(); ++m)
    stages.host[m] += limit.hosted[m][stage] * sums.host;
  stages.ns = takenNs(below, sums, layer);
  stages.keptBytes = keptBytes(below, sums, layer);
  return stages;
}

bool ChoiceBounds::mayFit(const FinishedStages &below, const StageSums &sums,
                          size_t layer) const {
  const size_t stage = list[layer].stage;
  for (size_t m = 0; m < limit.hosted.size(); ++m)
    if (below.host[m] + limit.hosted[m][stage] * sums.host >
        limit.capacityBytes)
      return false;
  StageSums all = sums;
  all.kept += rest[layer].kept;
  all.pending += rest[layer].pending;
  all.peak = std::max(all.peak + rest[layer].pending, all.kept);
  for (size_t m = 0; m < moments.size(); ++m)
    if (below.loads[m] + loadOf(moments[m], stage, all) + future[m][stage] >
        capacity)
      return false;
  return true;
}

int64_t ChoiceBounds::takenNs(const FinishedStages &below,
                              const StageSums &sums, size_t layer) const {
  return below.ns + (list[layer].isLast ? sums.takenNs() : sums.extraNs);
}

double ChoiceBounds::raised(Which which, double ns, double enoughNs,
                            const FinishedStages &below, const StageSums &sums,
                            size_t layer) const {
  for (const Bound &bound : which == Which::strongest ? strongest : others) {
    if (ns >= enoughNs)
      break;
    ns = std::max(ns, timeBy(bound, below, sums, layer));
  }
  return ns;
}

double ChoiceBounds::timeBy(const Bound &bound, const FinishedStages &below,
                            const StageSums &sums, size_t layer) const {
  const size_t stage = list[layer].stage;
  const Moment &moment = moments[bound.moment];
  int64_t bytes = below.loads[bound.moment] + moment.held[stage] * sums.kept +
                  pendingAt(moment, stage) * sums.pending;
  if (moment.running == static_cast<int64_t>(stage))
    bytes += bound.row > layer ? sums.kept : sums.peak;
  const double share = list[layer].isLast ? 1 : bound.queueShare;
  return static_cast<double>(below.ns + sums.extraNs) +
         share * static_cast<double>(sums.lagNs) + bound.timeOf[layer + 1] +
         bound.price * static_cast<double>(bytes - capacity);
}

int64_t ChoiceBounds::bytesOf(const LayerOption &option, const RankLayer &layer,
                              const Moment &moment, int turn) const {
  return moment.held[layer.stage] * option.keptBytes +
         pendingAt(moment, layer.stage) * option.pendingBytes +
         (turn == kBelow     ? option.keptBytes
          : turn == kRunning ? option.peakBytes
          : turn == kAbove   ? option.pendingBytes
                             : 0);
}

/// The least that the layer takes, bytes at their price.
double ChoiceBounds::leastOf(const RankLayer &layer, const Bound &bound,
                             int turn) const {
  double least = std::numeric_limits<double>::max();
  for (const LayerOption &option : *layer.options) {
    const int64_t lag = layer.isFirst ? option.tailNs : option.queueNs;
    const int64_t bytes = bytesOf(option, layer, moments[bound.moment], turn);
    least = std::min(least, static_cast<double>(option.extraNs) +
                                bound.queueShare * static_cast<double>(lag) +
                                bound.price * static_cast<double>(bytes));
  }
  return least;
}

ChoiceBounds::Bound ChoiceBounds::made(const Candidate &candidate) const {
  Bound bound{candidate.price, candidate.queueShare, candidate.moment,
              candidate.row, std::vector<double>(list.size() + 1, 0)};
  const size_t running = list[bound.row].stage;
  for (size_t l = list.size(); l-- > 0;) {
    const int turn = list[l].stage != running ? kElsewhere
                     : l < bound.row          ? kBelow
                     : l == bound.row         ? kRunning
                                              : kAbove;
    bound.timeOf[l] = bound.timeOf[l + 1] + leastOf(list[l], bound, turn);
  }
  return bound;
}

void ChoiceBounds::findLeast() {
  rest.resize(list.size());
  std::vector<Least> ofStage(problem.stages.size());
  for (size_t l = list.size(); l-- > 0;) {
    Least &all = ofStage[list[l].stage];
    rest[l] = all;
    all.kept += optimize::leastOf(*list[l].options, &LayerOption::keptBytes);
    all.pending +=
        optimize::leastOf(*list[l].options, &LayerOption::pendingBytes);
  }
  for (const Moment &moment : moments) {
    std::vector<int64_t> &bytes = future.emplace_back(problem.stages.size(), 0);
    for (size_t s = problem.stages.size(); s-- > 1;)
      bytes[s - 1] = bytes[s] + loadOf(moment, s,
                                       {ofStage[s].kept, ofStage[s].kept, 0, 0,
                                        0, ofStage[s].pending, 0});
  }
}

/// As far as options differ, evenly by their logarithms; none: they do not.
std::vector<double> ChoiceBounds::findPrices() const {
  double steepest = 0, flattest = std::numeric_limits<double>::max();
  for (const RankLayer &layer : list)
    for (const LayerOption &option : *layer.options) {
      const int64_t bytes = layer.options->front().keptBytes - option.keptBytes;
      if (option.extraNs <= 0 || bytes <= 0)
        continue;
      const double slope =
          static_cast<double>(option.extraNs) / static_cast<double>(bytes);
      steepest = std::max(steepest, slope);
      flattest = std::min(flattest, slope);
    }
  if (steepest == 0)
    return {};
  // A byte kept by all microbatches counts more than once.
  flattest /=
      static_cast<double>(*std::max_element(mostHeld.begin(), mostHeld.end()));
  std::vector<double> prices = {flattest};
  const double factor = std::pow(2 * steepest / flattest, 1.0 / (kPrices - 1));
  while (prices.size() < kPrices)
    prices.push_back(prices.back() * factor);
  return prices;
}

void ChoiceBounds::findBounds() {
  std::vector<Candidate> all;
  for (double price : findPrices())
    for (double share : kQueueShares)
      for (size_t m = 0; m < moments.size(); ++m) {
        const Bound bound{price, share, m, 0, {}};
        const auto running = static_cast<size_t>(moments[m].running);
        // Layers of a kind that lie alike take the same.
        std::map<std::tuple<const void *, size_t, bool>,
                 std::array<double, kTurns>>
            known;
        std::vector<const std::array<double, kTurns> *> least;
        double time =
            price * static_cast<double>(moments[m].otherBytes - capacity);
        for (const RankLayer &layer : list) {
          auto [entry, isNew] =
              known.try_emplace({layer.options, layer.stage, layer.isFirst});
          for (int turn : {kBelow, kRunning, kAbove, kElsewhere})
            if (isNew && (turn == kElsewhere) == (layer.stage != running))
              entry->second[static_cast<size_t>(turn)] =
                  leastOf(layer, bound, turn);
          least.push_back(&entry->second);
          time += entry->second[layer.stage == running ? kAbove : kElsewhere];
        }
        for (size_t l = firstOf[running];
             l < list.size() && list[l].stage == running; ++l) {
          const auto &[below, runs, above, elsewhere] = *least[l];
          all.push_back({time - above + runs, price, share, m, l});
          time += below - above;
        }
      }
  std::sort(all.begin(), all.end());
  std::vector<bool> hasRow(list.size(), false);
  std::set<std::pair<double, double>> hasPrice;
  for (const Candidate &candidate : all) {
    const bool isFirst = !hasRow[candidate.row];
    const bool isNew =
        hasPrice.insert({candidate.price, candidate.queueShare}).second;
    if (strongest.size() < kStrongest || isFirst) {
      hasRow[candidate.row] = true;
      strongest.push_back(made(candidate));
    } else if (isNew) {
      others.push_back(made(candidate));
    }
  }
}

} // namespace moe::optimize
