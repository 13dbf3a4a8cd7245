#include "compiler/Optimize/LayerOptions.h"

#include <algorithm>
#include <map>
#include <optional>

namespace moe::optimize {

namespace {

class OptionSearch {
public:
  explicit OptionSearch(const LayerOptionsProblem &problem)
      : problem(problem), count(problem.valueBytes.size()) {}

  LayerOptions run() {
    LayerTreatment all(count, Treatment::keep);
    look(all);
    tryTargets();
    std::vector<LayerTreatment> way =
        descend(all, Treatment::recompute, problem.mayRecompute);
    descend(all, Treatment::offload, problem.mayOffload);
    // Offload what recompute has left, from a few places on its way.
    size_t stride = way.size() / kOffloadStarts + 1;
    for (size_t i = stride - 1; i < way.size(); i += stride)
      descend(way[i], Treatment::offload, problem.mayOffload);
    return choose(all);
  }

private:
  static constexpr size_t kOffloadStarts = 4;

  const LayerFigures &look(const LayerTreatment &treatment) {
    auto [known, isNew] = seen.try_emplace(treatment);
    if (isNew)
      known->second = problem.evaluate(treatment);
    return known->second;
  }

  void tryTargets() {
    size_t targets = std::min(problem.targets.size(), kMostTargets);
    for (size_t set = 1; set < (size_t{1} << targets); ++set) {
      LayerTreatment treatment(count, Treatment::keep);
      for (size_t t = 0; t < targets; ++t)
        if (set >> t & 1)
          for (size_t value : problem.targets[t])
            if (problem.mayRecompute[value])
              treatment[value] = Treatment::recompute;
      look(treatment);
    }
    for (size_t t = targets; t < problem.targets.size(); ++t) {
      LayerTreatment treatment(count, Treatment::keep);
      for (size_t value : problem.targets[t])
        if (problem.mayRecompute[value])
          treatment[value] = Treatment::recompute;
      look(treatment);
    }
  }

  /// Takes one kept value after the other to `to`, each time the one that costs
  /// least for the bytes that it frees. Returns what was passed.
  std::vector<LayerTreatment> descend(LayerTreatment at, Treatment to,
                                      const std::vector<bool> &may) {
    std::vector<LayerTreatment> way;
    while (true) {
      LayerFigures now = look(at);
      std::optional<size_t> best;
      int64_t bestNs = 0, bestBytes = 0;
      for (size_t value = 0; value < count; ++value) {
        if (at[value] != Treatment::keep || !may[value])
          continue;
        LayerTreatment next = at;
        next[value] = to;
        const LayerFigures &figures = look(next);
        int64_t bytes = now.inside.keptBytes - figures.inside.keptBytes;
        int64_t ns =
            std::max<int64_t>(0, figures.inside.extraNs - now.inside.extraNs);
        if (bytes <= 0)
          continue;
        // ns / bytes < bestNs / bestBytes
        if (!best || static_cast<__int128>(ns) * bestBytes <
                         static_cast<__int128>(bestNs) * bytes) {
          best = value;
          bestNs = ns;
          bestBytes = bytes;
        }
      }
      if (!best)
        return way;
      at[*best] = to;
      way.push_back(at);
    }
  }

  static bool isNoWorse(const LayerOption &a, const LayerOption &b) {
    return a.extraNs <= b.extraNs && a.keptBytes <= b.keptBytes &&
           a.peakBytes <= b.peakBytes;
  }

  LayerOptions choose(const LayerTreatment &all) {
    struct Found {
      const LayerTreatment *treatment;
      const LayerFigures *figures;
    };
    std::vector<Found> found;
    for (const auto &[treatment, figures] : seen)
      if (treatment != all)
        found.push_back({&treatment, &figures});
    std::sort(found.begin(), found.end(), [](const Found &a, const Found &b) {
      const LayerOption &x = a.figures->inside, &y = b.figures->inside;
      if (x.keptBytes != y.keptBytes)
        return x.keptBytes > y.keptBytes;
      return x.extraNs != y.extraNs ? x.extraNs < y.extraNs
                                    : *a.treatment < *b.treatment;
    });
    const LayerFigures &everything = seen.at(all);
    std::vector<Found> front;
    for (size_t i = 0; i < found.size(); ++i) {
      auto beats = [&](const LayerFigures &other) {
        return isNoWorse(other.inside, found[i].figures->inside) &&
               isNoWorse(other.last, found[i].figures->last);
      };
      bool beaten = beats(everything);
      // Of equal ones the first remains.
      for (size_t j = 0; j < found.size() && !beaten; ++j)
        beaten = j != i && beats(*found[j].figures) &&
                 (j < i || *found[j].figures != *found[i].figures);
      if (!beaten)
        front.push_back(found[i]);
    }
    LayerOptions options;
    options.treatments.push_back(all);
    options.figures.push_back(everything);
    // Evenly over the range of what is kept, both ends among them.
    size_t most = kMostOptions - 1;
    for (size_t i = 0; i < front.size(); ++i) {
      if (front.size() > most &&
          i * (most - 1) / (front.size() - 1) ==
              (i + 1) * (most - 1) / (front.size() - 1) &&
          i + 1 < front.size())
        continue;
      options.treatments.push_back(*front[i].treatment);
      options.figures.push_back(*front[i].figures);
    }
    return options;
  }

  const LayerOptionsProblem &problem;
  size_t count;
  std::map<LayerTreatment, LayerFigures> seen;
};

} // namespace

LayerOptions findOptions(const LayerOptionsProblem &problem) {
  return OptionSearch(problem).run();
}

} // namespace moe::optimize
