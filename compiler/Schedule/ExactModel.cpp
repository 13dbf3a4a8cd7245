#include "compiler/Schedule/ExactModel.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace moe::schedule::search {

namespace {

constexpr std::array<Phase, 3> kPhases = {Phase::forward, Phase::backward_input,
                                          Phase::weight_grad};
/// Solvers tell numbers apart to about one part in 1e6 of their size.
constexpr int64_t kMostUnits = 100'000;
constexpr int64_t kNever = -1;

class Builder {
public:
  Builder(const Instance &instance, ExactModel &model)
      : instance(instance), model(model) {}

  void run(int64_t makespanNs, int64_t boundNs) {
    addActions();
    chooseUnit(makespanNs);
    link();
    window();
    if (model.empty)
      return;
    addColumns(boundNs);
    addPrecedences();
    addOrders();
    addMemory();
  }

private:
  int64_t lengthNs(size_t a) const {
    const Action &action = model.actions[a];
    const StageCosts &costs =
        instance.stages[static_cast<size_t>(action.stage)].costs;
    return action.phase == Phase::forward          ? costs.forwardNs
           : action.phase == Phase::backward_input ? costs.inputGradNs
                                                   : costs.weightGradNs;
  }
  double units(int64_t ns) const {
    return static_cast<double>(ns) / model.unitNs;
  }
  int64_t rankOf(size_t a) const {
    return instance.stages[static_cast<size_t>(model.actions[a].stage)].rank;
  }
  size_t indexOf(size_t stage, size_t phase, int64_t microbatch) const {
    const InstanceStage &at = instance.stages[stage];
    return firstOf[stage] + phase * static_cast<size_t>(at.microbatches) +
           static_cast<size_t>(microbatch - at.firstMicrobatch);
  }

  void addActions() {
    for (size_t s = 0; s < instance.stages.size(); ++s) {
      firstOf.push_back(model.actions.size());
      const InstanceStage &stage = instance.stages[s];
      for (Phase phase : kPhases)
        for (int64_t m = 0; m < stage.microbatches; ++m)
          model.actions.push_back({phase, static_cast<int64_t>(s),
                                   stage.firstMicrobatch + m, false});
    }
  }

  void chooseUnit(int64_t makespanNs) {
    int64_t common = 0;
    for (const InstanceStage &stage : instance.stages)
      for (int64_t ns : {stage.costs.forwardNs, stage.costs.inputGradNs,
                         stage.costs.weightGradNs, stage.inputTransferNs,
                         stage.gradientTransferNs})
        common = std::gcd(common, ns);
    common = std::max<int64_t>(1, common);
    if (makespanNs / common <= kMostUnits) {
      model.unitNs = static_cast<double>(common);
      model.cutoffNs = makespanNs - common;
    } else {
      model.whole = false;
      model.unitNs = static_cast<double>(makespanNs) / 1e4;
      model.cutoffNs = makespanNs - makespanNs / 100'000;
    }
  }

  /// Least times from the begin of one action to the begin of another, along
  /// dependences.
  void link() {
    size_t n = model.actions.size();
    distanceNs.assign(n * n, kNever);
    auto before = [&](size_t a, size_t b, int64_t delayNs) {
      edges.push_back({a, b, lengthNs(a) + delayNs});
    };
    for (size_t s = 0; s < instance.stages.size(); ++s) {
      const InstanceStage &stage = instance.stages[s];
      for (int64_t i = 0; i < stage.microbatches; ++i) {
        int64_t m = stage.firstMicrobatch + i;
        before(indexOf(s, 0, m), indexOf(s, 1, m), 0);
        before(indexOf(s, 1, m), indexOf(s, 2, m), 0);
        if (stage.next >= 0) {
          before(indexOf(s, 0, m), indexOf(s + 1, 0, m),
                 instance.stages[s + 1].inputTransferNs);
          before(indexOf(s + 1, 1, m), indexOf(s, 1, m),
                 stage.gradientTransferNs);
        }
        if (i + 1 < stage.microbatches)
          for (size_t phase = 0; phase < 3; ++phase)
            before(indexOf(s, phase, m), indexOf(s, phase, m + 1), 0);
      }
    }
    for (size_t a = 0; a < n; ++a)
      distanceNs[a * n + a] = 0;
    for (const Edge &edge : edges)
      distanceNs[edge.from * n + edge.to] =
          std::max(distanceNs[edge.from * n + edge.to], edge.ns);
    for (size_t via = 0; via < n; ++via)
      for (size_t a = 0; a < n; ++a) {
        int64_t first = distanceNs[a * n + via];
        if (first < 0)
          continue;
        for (size_t b = 0; b < n; ++b)
          if (distanceNs[via * n + b] >= 0)
            distanceNs[a * n + b] = std::max(distanceNs[a * n + b],
                                             first + distanceNs[via * n + b]);
      }
  }

  /// Between which times each action begins.
  void window() {
    size_t n = model.actions.size();
    earliestNs.assign(n, 0);
    latestNs.assign(n, model.cutoffNs);
    for (size_t a = 0; a < n; ++a)
      for (size_t b = 0; b < n; ++b) {
        if (distanceNs[a * n + b] < 0)
          continue;
        earliestNs[b] = std::max(earliestNs[b], distanceNs[a * n + b]);
        latestNs[a] = std::min(latestNs[a], model.cutoffNs - lengthNs(b) -
                                                distanceNs[a * n + b]);
      }
    for (size_t a = 0; a < n; ++a)
      model.empty = model.empty || earliestNs[a] > latestNs[a];
  }

  void addColumns(int64_t boundNs) {
    for (size_t a = 0; a < model.actions.size(); ++a)
      model.columns.push_back(
          {units(earliestNs[a]), units(latestNs[a]), false});
    model.columns.push_back({units(boundNs), units(model.cutoffNs), false});
    model.empty = model.empty || boundNs > model.cutoffNs;
  }

  void addPrecedences() {
    for (const Edge &edge : edges)
      model.rows.push_back({{{static_cast<int>(edge.to), 1.0},
                             {static_cast<int>(edge.from), -1.0}},
                            units(edge.ns),
                            kInfinity});
    auto makespan = static_cast<int>(model.makespanColumn());
    for (size_t a = 0; a < model.actions.size(); ++a)
      model.rows.push_back({{{makespan, 1.0}, {static_cast<int>(a), -1.0}},
                            units(lengthNs(a)),
                            kInfinity});
  }

  /// A column for each open pair: 1 when the first goes before the second.
  void addOrders() {
    size_t n = model.actions.size();
    orderColumn.assign(n * n, kNever);
    for (size_t a = 0; a < n; ++a)
      for (size_t b = a + 1; b < n; ++b) {
        if (rankOf(a) != rankOf(b) || distanceNs[a * n + b] >= 0 ||
            distanceNs[b * n + a] >= 0)
          continue;
        auto column = static_cast<int>(model.columns.size());
        orderColumn[a * n + b] = column;
        bool aFirst = earliestNs[b] + lengthNs(b) > latestNs[a];
        bool bFirst = earliestNs[a] + lengthNs(a) > latestNs[b];
        model.empty = model.empty || (aFirst && bFirst);
        model.columns.push_back({aFirst ? 1.0 : 0.0, bFirst ? 0.0 : 1.0, true});
        disjoin(a, b, column, true);
        disjoin(b, a, column, false);
      }
  }

  /// `b` begins after `a` ends when the column has the value.
  void disjoin(size_t a, size_t b, int column, bool value) {
    double slack = units(latestNs[a] + lengthNs(a) - earliestNs[b]);
    if (slack <= 0)
      return;
    ModelRow row{{{static_cast<int>(b), 1.0}, {static_cast<int>(a), -1.0}},
                 units(lengthNs(a)),
                 kInfinity};
    // b - a >= length - slack * (1 - x), or with x instead of 1 - x.
    row.entries.emplace_back(column, value ? -slack : slack);
    if (value)
      row.lower -= slack;
    model.rows.push_back(std::move(row));
  }

  void addMemory() {
    size_t n = model.actions.size();
    for (size_t a = 0; a < n; ++a) {
      const InstanceRank &rank = instance.ranks[static_cast<size_t>(rankOf(a))];
      bool forward = model.actions[a].phase == Phase::forward;
      const StageCosts &costs = costsOf(a);
      // What is held grows with forwards; the others only add what is
      // transient.
      if ((!forward && costs.backwardTransientBytes == 0) ||
          rank.limitBytes >= kNoLimit || rank.limitBytes <= 0)
        continue;
      // In parts of the limit.
      auto part = [&](int64_t bytes) {
        return static_cast<double>(bytes) /
               static_cast<double>(rank.limitBytes);
      };
      ModelRow row;
      row.lower = -kInfinity;
      row.upper = 1 + 1e-9 -
                  part(forward ? costs.savedBytes + costs.forwardTransientBytes
                               : costs.backwardTransientBytes);
      for (size_t b = 0; b < n; ++b) {
        if (a == b || rankOf(b) != rankOf(a))
          continue;
        double change = part(changeBytes(b));
        if (change == 0)
          continue;
        if (distanceNs[b * n + a] >= 0) {
          row.upper -= change;
        } else if (distanceNs[a * n + b] < 0) {
          auto column = static_cast<int>(b < a ? orderColumn[b * n + a]
                                               : orderColumn[a * n + b]);
          row.entries.emplace_back(column, b < a ? change : -change);
          if (b > a)
            row.upper -= change;
        }
      }
      model.rows.push_back(std::move(row));
    }
  }

  const StageCosts &costsOf(size_t a) const {
    return instance.stages[static_cast<size_t>(model.actions[a].stage)].costs;
  }
  int64_t changeBytes(size_t a) const {
    const StageCosts &costs = costsOf(a);
    switch (model.actions[a].phase) {
    case Phase::forward:
      return costs.savedBytes;
    case Phase::backward_input:
      return costs.weightGradBytes - costs.savedBytes;
    default:
      return -costs.weightGradBytes;
    }
  }

  struct Edge {
    size_t from, to;
    int64_t ns;
  };
  static constexpr double kInfinity = 1e30;

  const Instance &instance;
  ExactModel &model;
  std::vector<size_t> firstOf; ///< by stage: its first action
  std::vector<Edge> edges;
  std::vector<int64_t> distanceNs, earliestNs, latestNs;
  std::vector<int64_t> orderColumn; ///< by pair, first < second
};

} // namespace

ExactModel::ExactModel(const Instance &instance, int64_t makespanNs,
                       int64_t boundNs) {
  Builder(instance, *this).run(makespanNs, boundNs);
}

std::vector<std::vector<Action>>
ExactModel::orderOf(const Instance &instance, const double *solution) const {
  std::vector<size_t> sorted(actions.size());
  std::iota(sorted.begin(), sorted.end(), size_t{0});
  std::sort(sorted.begin(), sorted.end(), [&](size_t a, size_t b) {
    return solution[a] != solution[b] ? solution[a] < solution[b] : a < b;
  });
  std::vector<std::vector<Action>> order(instance.ranks.size());
  for (size_t a : sorted) {
    int64_t rank = instance.stages[static_cast<size_t>(actions[a].stage)].rank;
    order[static_cast<size_t>(rank)].push_back(actions[a]);
  }
  return order;
}

} // namespace moe::schedule::search
