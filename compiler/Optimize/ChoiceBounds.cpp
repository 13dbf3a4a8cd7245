#include "compiler/Optimize/ChoiceBounds.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

namespace moe::optimize {

namespace {

/// Bounds that all choices are weighed by.
constexpr size_t kStrongest = 16;
/// Layers that bounds are about, times all layers: with more of a stage, not
/// all of them are.
constexpr size_t kRowsOfLayers = 1024, kLeastRows = 8;

struct Extent {
  int64_t units; ///< of the bytes that choices decide about
  int shares;    ///< of the queue
  size_t bounds; ///< beside the strongest
};
Extent extentOf(Precision precision) {
  return precision == Precision::quick ? Extent{256, 4, 64}
                                       : Extent{1024, 4, 1000};
}

/// Where a layer lies when another one of its stage runs, or itself; layers of
/// other stages are nowhere. Late: when what is next below it is back.
enum Turn : int { kBelow, kAhead, kRunning, kLate, kAbove, kElsewhere };

int64_t leastOf(const std::vector<LayerOption> &options,
                int64_t LayerOption::*figure) {
  int64_t bytes = options.front().*figure;
  for (const LayerOption &option : options)
    bytes = std::min(bytes, option.*figure);
  return bytes;
}

bool hasLag(const PolicyProblem &problem) {
  for (const std::vector<LayerOption> &options : problem.kinds)
    for (const LayerOption &option : options)
      if (option.tailNs != 0 || option.queueNs != 0)
        return true;
  return false;
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

ChoiceBounds::ChoiceBounds(const PolicyProblem &problem, int64_t capacityBytes,
                           Precision precision, Use use)
    : problem(problem), capacity(capacityBytes),
      moments(binding(problem.moments)), limit(problem) {
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    const std::vector<int64_t> &kinds = problem.stages[s];
    for (size_t l = 0; l < kinds.size(); ++l)
      list.push_back({s, &problem.kinds[static_cast<size_t>(kinds[l])], l == 0,
                      l + 1 == kinds.size()});
    int64_t &held = mostHeld.emplace_back(0);
    for (const Moment &moment : moments)
      held = std::max(held, moment.held[s] + 1);
  }
  findLeast();
  findBounds(precision, use);
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

int64_t ChoiceBounds::leastNs() const {
  if (!fits)
    return -1;
  double ns = 0;
  for (const std::vector<Bound> *bounds : {&strongest, &others})
    for (const Bound &bound : *bounds)
      ns = std::max(ns, bound.ns);
  return static_cast<int64_t>(ns); // rounded down
}

double ChoiceBounds::raised(const std::vector<BoundAt> &bounds, double ns,
                            double enoughNs, const FinishedStages &below,
                            const StageSums &sums) const {
  if (!fits)
    return std::numeric_limits<double>::infinity();
  for (const BoundAt &bound : bounds) {
    if (ns >= enoughNs)
      break;
    ns = std::max(ns, bound.timeNs(below, sums));
  }
  return ns;
}

std::vector<ChoiceBounds::BoundAt> ChoiceBounds::boundsAt(Which which,
                                                          size_t layer) const {
  std::vector<BoundAt> all;
  for (const Bound &bound : which == Which::strongest ? strongest : others)
    all.push_back(boundAt(bound, layer));
  return all;
}

ChoiceBounds::BoundAt ChoiceBounds::boundAt(const Bound &bound,
                                            size_t layer) const {
  const size_t stage = list[layer].stage;
  const Moment &moment = moments[bound.moment];
  const Times &above = times[bound.timesFrom[layer + 1]];
  BoundAt at;
  at.moment = bound.moment;
  at.roomBytes = capacity - above.leastBytes;
  at.held = moment.held[stage];
  at.pending = pendingAt(moment, stage);
  if (moment.running == static_cast<int64_t>(stage)) {
    at.hasPeak = bound.row <= layer;
    at.held += bound.row > layer;
    at.hasAhead = bound.isLate && bound.row == layer + 1;
  }
  at.lagShare = list[layer].isLast ? 1 : bound.lag.first;
  // A whole number of units stays one when it is rounded.
  at.unitsPerByte = std::nextafter(1 / static_cast<double>(unit[bound.moment]),
                                   std::numeric_limits<double>::infinity());
  at.lastUnit = static_cast<int64_t>(above.ns.size()) - 1;
  at.ns = above.ns.data();
  return at;
}

double ChoiceBounds::BoundAt::timeNs(const FinishedStages &below,
                                     const StageSums &sums) const {
  const int64_t spare = roomBytes - below.loads[moment] - held * sums.kept -
                        pending * sums.pending - (hasPeak ? sums.peak : 0) -
                        (hasAhead ? sums.ahead : 0);
  if (spare < 0)
    return std::numeric_limits<double>::infinity();
  const auto units =
      static_cast<int64_t>(static_cast<double>(spare) * unitsPerByte);
  return static_cast<double>(below.ns + sums.extraNs) +
         lagShare * static_cast<double>(sums.lagNs) +
         ns[std::min(units, lastUnit)];
}

int64_t ChoiceBounds::bytesOf(const LayerOption &option, const RankLayer &layer,
                              const Moment &moment, int turn) const {
  const int64_t bytes = moment.held[layer.stage] * option.keptBytes +
                        pendingAt(moment, layer.stage) * option.pendingBytes;
  switch (turn) {
  case kBelow:
    return bytes + option.keptBytes;
  case kAhead:
    return bytes + option.keptBytes + option.aheadBytes;
  case kRunning:
    return bytes + option.peakBytes;
  case kLate:
    return bytes + option.latePeakBytes;
  case kAbove:
    return bytes + option.pendingBytes;
  default:
    return bytes;
  }
}

/// The bounds of one moment and one way to count the lag. Layers above the one
/// that runs are the same whichever runs, and so are those below it: what all
/// layers take at least, the times of either tell.
class ChoiceBounds::Knapsacks {
public:
  Knapsacks(ChoiceBounds &bounds, size_t moment, LagShares lag)
      : bounds(bounds), list(bounds.list), momentNumber(moment),
        moment(bounds.moments[moment]), lag(lag),
        running(static_cast<size_t>(this->moment.running)),
        slack(bounds.capacity - this->moment.otherBytes) {}

  /// What choices decide about, of the layer whose turn leaves least and most;
  /// least below 0: nothing fits.
  std::pair<int64_t, int64_t> slackBytes() {
    auto leastOf = [&](size_t layer, int turn) {
      return itemsOf(layer, turn).front().bytes;
    };
    std::vector<int64_t> leastBelow(list.size() + 1, 0);
    std::vector<int64_t> leastAbove(list.size() + 1, 0);
    for (size_t l = 0; l < list.size(); ++l)
      leastBelow[l + 1] = leastBelow[l] + leastOf(l, turnBelow(l));
    for (size_t l = list.size(); l-- > 0;)
      leastAbove[l] = leastAbove[l + 1] + leastOf(l, turnAbove(l));
    int64_t least = std::numeric_limits<int64_t>::max(), most = 0;
    for (const Row &row : rows()) {
      int64_t bytes =
          slack - leastAbove[row.layer + 1] - leastBelow[row.firstInTurn()];
      for (size_t l = row.firstInTurn(); l <= row.layer; ++l)
        bytes -= leastOf(l, turnOf(l, row));
      least = std::min(least, bytes);
      most = std::max(most, bytes);
    }
    return {least, most};
  }

  /// Adds the bounds, without their times by layer.
  void addTo(std::vector<Bound> &found) {
    const std::vector<Row> turns = rows();
    units =
        static_cast<size_t>(slackBytes().second / bounds.unit[momentNumber]) +
        1;
    const Times none{0, std::vector<double>(units, 0)};
    above.assign(list.size() + 1, none);
    for (size_t l = list.size(); l-- > 0;)
      above[l] = with(above[l + 1], l, turnAbove(l));
    std::vector<Times> below(1, none);
    for (size_t l = 0; l < turns.front().layer; ++l)
      below.push_back(with(below[l], l, turnBelow(l)));
    for (const Row &row : turns) {
      Times times =
          with(above[row.layer + 1], row.layer, turnOf(row.layer, row));
      if (row.isLate)
        times = with(times, row.layer - 1, turnOf(row.layer - 1, row));
      found.push_back({lag,
                       momentNumber,
                       row.layer,
                       row.isLate,
                       {},
                       leastNs(times, below[row.firstInTurn()])});
    }
  }

  /// Of a bound that addTo() has added.
  void setTimes(Bound &bound) {
    if (places.empty())
      for (Times &each : above)
        places.push_back(bounds.add(std::move(each)));
    const Row row{bound.row, bound.isLate};
    bound.timesFrom = places;
    for (size_t l = row.layer + 1; l-- > 0;)
      bound.timesFrom[l] = bounds.add(
          with(bounds.times[bound.timesFrom[l + 1]], l, turnOf(l, row)));
  }

private:
  /// A layer that runs.
  struct Row {
    size_t layer;
    bool isLate;
    /// Layers below it are all alike.
    size_t firstInTurn() const { return isLate ? layer - 1 : layer; }
  };
  /// The last ones come first: what the layers below keep is most for them. Of
  /// too many, the first half of what stays are these, and every so many-th of
  /// the others.
  std::vector<Row> rows() const {
    std::vector<Row> all;
    for (size_t l = list.size(); l-- > 0;)
      if (list[l].stage == running) {
        all.push_back({l, false});
        if (!list[l].isFirst)
          all.push_back({l, true});
      }
    const size_t most = std::max(kLeastRows, kRowsOfLayers / list.size());
    if (all.size() <= most)
      return all;
    std::vector<Row> some(all.begin(), all.begin() + most / 2);
    for (size_t i = some.size(); some.size() < most; ++i)
      some.push_back(all[most / 2 + (i - most / 2) * (all.size() - most / 2) /
                                        (most - most / 2)]);
    return some;
  }
  struct Item {
    int64_t bytes;
    double ns;
  };

  int turnAbove(size_t layer) const {
    return list[layer].stage == running ? kAbove : kElsewhere;
  }
  int turnBelow(size_t layer) const {
    return list[layer].stage == running ? kBelow : kElsewhere;
  }

  int turnOf(size_t layer, const Row &row) const {
    if (list[layer].stage != running || layer > row.layer)
      return turnAbove(layer);
    if (layer == row.layer)
      return row.isLate ? kLate : kRunning;
    return row.isLate && layer + 1 == row.layer ? kAhead : kBelow;
  }

  /// Of a layer together with others.
  Times with(const Times &others, size_t layer, int turn) {
    const std::vector<Item> &items = itemsOf(layer, turn);
    const int64_t least = items.front().bytes;
    Times made{others.leastBytes + least,
               std::vector<double>(units, std::numeric_limits<double>::max())};
    auto sizeOf = [&](const Item &item) {
      return static_cast<size_t>((item.bytes - least) /
                                 bounds.unit[momentNumber]);
    };
    for (size_t i = 0; i < items.size(); ++i) {
      const size_t size = sizeOf(items[i]);
      if (size >= units)
        break;
      // Of as many units, the last is the quickest.
      if (i + 1 < items.size() && sizeOf(items[i + 1]) == size)
        continue;
      const double ns = items[i].ns;
      const double *from = others.ns.data();
      double *to = made.ns.data() + size;
      for (size_t at = 0; at < units - size; ++at)
        to[at] = std::min(to[at], ns + from[at]);
    }
    return made;
  }

  /// Of layers that are either among `some` or among `others`: all of them.
  double leastNs(const Times &some, const Times &others) const {
    const auto last =
        static_cast<size_t>((slack - some.leastBytes - others.leastBytes) /
                            bounds.unit[momentNumber]);
    double ns = std::numeric_limits<double>::max();
    for (size_t at = 0; at <= last; ++at)
      ns = std::min(ns, some.ns[at] + others.ns[last - at]);
    return ns;
  }

  /// The options that are quicker than all with fewer bytes, by rising bytes.
  const std::vector<Item> &itemsOf(size_t layer, int turn) {
    const RankLayer &at = list[layer];
    auto [entry, isNew] =
        known.try_emplace({at.options, at.stage, at.isFirst, at.isLast, turn});
    std::vector<Item> &items = entry->second;
    if (!isNew)
      return items;
    for (const Sized &each : bounds.bySize(at, momentNumber, turn)) {
      const LayerOption &option = *each.option;
      const int64_t lagNs = at.isFirst ? option.tailNs : option.queueNs;
      double ns = static_cast<double>(option.extraNs) +
                  lag.first * static_cast<double>(lagNs);
      if (at.isLast)
        ns += lag.last * static_cast<double>(option.tailNs);
      if (items.empty() || ns < items.back().ns)
        items.push_back({each.bytes, ns});
    }
    return items;
  }

  ChoiceBounds &bounds;
  const std::vector<RankLayer> &list;
  size_t momentNumber;
  const Moment &moment;
  LagShares lag;
  size_t running; ///< stage
  int64_t slack;  ///< for the layers
  size_t units = 0;
  std::vector<Times> above; ///< of the layers from each on, none of which run
  std::vector<uint32_t> places; ///< of these, once they are among all times
  std::map<std::tuple<const void *, size_t, bool, bool, int>, std::vector<Item>>
      known;
};

uint32_t ChoiceBounds::add(Times made) {
  times.push_back(std::move(made));
  return static_cast<uint32_t>(times.size()) - 1;
}

const std::vector<ChoiceBounds::Sized> &
ChoiceBounds::bySize(const RankLayer &layer, size_t moment, int turn) {
  auto [entry, isNew] =
      sized.try_emplace({layer.options, layer.stage, moment, turn});
  std::vector<Sized> &all = entry->second;
  if (isNew) {
    for (const LayerOption &option : *layer.options)
      all.push_back({bytesOf(option, layer, moments[moment], turn), &option});
    std::sort(all.begin(), all.end(), [](const Sized &a, const Sized &b) {
      return std::tuple(a.bytes, a.option) < std::tuple(b.bytes, b.option);
    });
  }
  return all;
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
                                       {.kept = ofStage[s].kept,
                                        .peak = ofStage[s].kept,
                                        .pending = ofStage[s].pending});
  }
}

void ChoiceBounds::findBounds(Precision precision, Use use) {
  const Extent extent = extentOf(precision);
  // Without copies to the host all shares are the same.
  std::vector<LagShares> shares = {{0, 1}};
  if (hasLag(problem))
    for (int share = 0; share <= extent.shares; ++share)
      shares.push_back({static_cast<double>(share) / extent.shares, 0});
  std::vector<Bound> all;
  std::vector<std::unique_ptr<Knapsacks>> knapsacks;
  for (size_t m = 0; m < moments.size(); ++m)
    for (LagShares lag : shares) {
      auto each = std::make_unique<Knapsacks>(*this, m, lag);
      const auto [least, most] = each->slackBytes();
      fits &= least >= 0;
      if (!fits)
        return;
      if (use == Use::fit)
        break; // whatever the lag
      if (unit.size() == m)
        unit.push_back(most / extent.units + 1);
      const size_t before = all.size();
      each->addTo(all);
      for (size_t bound = before; bound < all.size(); ++bound)
        all[bound].knapsacks = knapsacks.size();
      if (use == Use::search)
        knapsacks.push_back(std::move(each));
    }
  auto order = [](const Bound &bound) {
    return std::tuple(-bound.ns, bound.moment, bound.row, bound.isLate,
                      bound.lag.first, bound.lag.last);
  };
  std::sort(all.begin(), all.end(), [&](const Bound &a, const Bound &b) {
    return order(a) < order(b);
  });
  std::vector<bool> hasRow(list.size(), false);
  for (Bound &bound : all) {
    const bool isFirst = !hasRow[bound.row];
    std::vector<Bound> *kind = nullptr;
    if (strongest.size() < kStrongest || isFirst) {
      hasRow[bound.row] = true;
      kind = &strongest;
    } else if (others.size() < extent.bounds) {
      kind = &others;
    } else {
      continue;
    }
    if (use == Use::search)
      knapsacks[bound.knapsacks]->setTimes(bound);
    kind->push_back(std::move(bound));
  }
  sized.clear();
}

} // namespace moe::optimize
