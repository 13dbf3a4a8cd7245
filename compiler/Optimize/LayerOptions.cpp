#include "compiler/Optimize/LayerOptions.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <tuple>

namespace moe::optimize {

namespace {

class OptionSearch {
public:
  explicit OptionSearch(const LayerOptionsProblem &problem)
      : problem(problem), count(problem.valueBytes.size()) {}

  LayerOptions run() {
    LayerTreatment all(count, Treatment::keep);
    look(all);
    tryTargets(all);
    for (Price each : {Price::inside, Price::stage}) {
      price = each;
      openings = {};
      std::vector<LayerTreatment> recomputed =
          descend(all, {Treatment::recompute});
      descend(all, {Treatment::recompute, Treatment::offload});
      // Offload what recompute has left.
      const size_t stride = recomputed.size() / kBranches + 1;
      for (size_t i = stride - 1; i < recomputed.size(); i += stride)
        descend(recomputed[i], {Treatment::offload});
    }
    tryLate(all);
    return choose(all);
  }

private:
  static constexpr size_t kBranches = 4;

  /// What a treatment takes: of a layer inside a stage, or of all layers of a
  /// short stage, the last of which has nothing to hide its copies behind.
  enum class Price : uint8_t { inside, stage };
  static constexpr int64_t kStageLayers = 4;
  static int64_t priceOf(const LayerFigures &figures, Price price) {
    const int64_t inside = insideNs(figures.inside);
    return price == Price::inside
               ? inside
               : (kStageLayers - 1) * inside + figures.last.extraNs +
                     figures.last.tailNs;
  }

  /// As if it waited for copies back for its weight gradients among layers like
  /// it: where it does depends on all of a stage.
  static int64_t extraNs(const LayerOption &option) {
    const CopiesBack &copies = option.weightGrad;
    return option.extraNs +
           std::max<int64_t>(0, copies.earlyNs - copies.linkFreeNs);
  }
  /// With its queue of copies to the host, too.
  static int64_t insideNs(const LayerOption &inside) {
    return extraNs(inside) + std::max<int64_t>(0, inside.queueNs);
  }

  const LayerFigures &look(const LayerTreatment &treatment) {
    auto [known, isNew] = seen.try_emplace(treatment);
    if (isNew)
      known->second = problem.evaluate(treatment);
    return known->second;
  }

  /// Whether a set of targets leaves one out that takes less time than one in
  /// it, and less than a fourth of the time for each byte that it frees.
  bool isWasteful(size_t set, const std::vector<LayerFigures> &alone) const {
    constexpr int64_t kFarLess = 4;
    const int64_t everything =
        seen.at(LayerTreatment(count, Treatment::keep)).inside.keptBytes;
    auto isFarBetter = [&](const LayerOption &a, const LayerOption &b) {
      const int64_t freedByA = everything - a.keptBytes;
      const int64_t freedByB = everything - b.keptBytes;
      return freedByA > 0 && freedByB > 0 && insideNs(a) <= insideNs(b) &&
             static_cast<__int128>(kFarLess) * insideNs(a) * freedByB <
                 static_cast<__int128>(insideNs(b)) * freedByA;
    };
    const size_t targets = std::min(alone.size(), kMostTargets);
    for (size_t in = 0; in < targets; ++in)
      for (size_t out = 0; out < targets; ++out)
        if ((set >> in & 1) != 0 && (set >> out & 1) == 0 &&
            isFarBetter(alone[out].inside, alone[in].inside))
          return true;
    return false;
  }

  void tryTargets(const LayerTreatment &all) {
    auto recompute = [&](size_t target, LayerTreatment &treatment) {
      for (size_t value : problem.targets[target])
        if (problem.mayRecompute[value])
          treatment[value] = Treatment::recompute;
    };
    std::vector<LayerFigures> alone;
    for (size_t t = 0; t < problem.targets.size(); ++t) {
      LayerTreatment treatment(count, Treatment::keep);
      recompute(t, treatment);
      alone.push_back(look(treatment));
    }
    const size_t targets = std::min(problem.targets.size(), kMostTargets);
    for (size_t set = 1; set < (size_t{1} << targets); ++set) {
      if (isWasteful(set, alone))
        continue;
      LayerTreatment treatment(count, Treatment::keep);
      for (size_t t = 0; t < targets; ++t)
        if (set >> t & 1)
          recompute(t, treatment);
      look(treatment);
    }
    // The others are no better with the rest on the host.
    for (const Found &each : unbeaten(allBut(all), seen.at(all))) {
      LayerTreatment treatment = *each.treatment;
      for (size_t value = 0; value < count; ++value)
        if (treatment[value] == Treatment::keep && problem.mayOffload[value])
          treatment[value] = Treatment::offload;
      look(treatment);
    }
  }

  /// What is moved may come back late: all that the link has back in time then,
  /// or all.
  void tryLate(const LayerTreatment &all) {
    if (problem.mayComeLate.empty())
      return;
    for (const Found &each :
         thinned(unbeaten(allBut(all), seen.at(all)), kFollowedOptions)) {
      std::vector<size_t> moved; // what is needed first comes first
      for (size_t value = 0; value < count; ++value)
        if ((*each.treatment)[value] == Treatment::offload &&
            problem.mayComeLate[value])
          moved.push_back(value);
      std::sort(moved.begin(), moved.end(), [&](size_t a, size_t b) {
        return std::tuple(problem.neededNs[a], a) <
               std::tuple(problem.neededNs[b], b);
      });
      LayerTreatment late = *each.treatment;
      for (size_t first : {firstInTime(moved), size_t{0}}) {
        for (size_t i = first; i < moved.size(); ++i)
          late[moved[i]] = Treatment::offload_late;
        if (first < moved.size())
          look(late);
      }
    }
  }

  /// From which on copies back, one after the other from where the layer's
  /// backward begins, are in time.
  size_t firstInTime(const std::vector<size_t> &moved) const {
    size_t first = 0;
    int64_t ns = 0;
    for (size_t i = 0; i < moved.size(); ++i) {
      ns += problem.copyNs[moved[i]];
      while (first <= i && ns > problem.neededNs[moved[i]])
        ns -= problem.copyNs[moved[first++]];
    }
    return first;
  }

  /// What treating one more value comes to, or several.
  struct Bargain {
    size_t value = 0; ///< the first of them
    Treatment to = Treatment::keep;
    /// Index of the siblings that are all computed again, -1: the value alone.
    int64_t siblings = -1;
    int64_t ns = 0, bytes = 0; ///< that it takes, that it frees
    bool isCurrent = false;    ///< measured where the way is now

    /// ns / bytes is less; what frees nothing comes last.
    bool isBetterThan(const Bargain &other) const {
      if ((bytes > 0) != (other.bytes > 0))
        return bytes > 0;
      auto mine = static_cast<__int128>(ns) * other.bytes;
      auto others = static_cast<__int128>(other.ns) * bytes;
      if (bytes > 0 && mine != others)
        return mine < others;
      return std::tuple(-bytes, value, to, siblings) <
             std::tuple(-other.bytes, other.value, other.to, other.siblings);
    }
  };

  void treat(LayerTreatment &treatment, const Bargain &bargain) const {
    treatment[bargain.value] = bargain.to;
    if (bargain.siblings >= 0)
      for (size_t value : problem.siblings[bargain.siblings])
        if (treatment[value] == Treatment::keep && problem.mayRecompute[value])
          treatment[value] = bargain.to;
  }

  void measure(const LayerTreatment &at, Bargain &bargain) {
    LayerTreatment next = at;
    treat(next, bargain);
    const LayerFigures &now = look(at), &then = look(next);
    bargain.ns =
        std::max<int64_t>(0, priceOf(then, price) - priceOf(now, price));
    bargain.bytes = now.inside.keptBytes - then.inside.keptBytes;
    bargain.isCurrent = true;
  }

  /// All bargains of one way to treat values, measured where `at` is.
  std::vector<Bargain> openingOf(const LayerTreatment &at, Treatment to) {
    std::vector<Bargain> opening;
    const std::vector<bool> &may =
        to == Treatment::recompute ? problem.mayRecompute : problem.mayOffload;
    for (size_t value = 0; value < count; ++value)
      if (may[value])
        opening.push_back({value, to});
    // A value alone can be computed again later than all that its op makes:
    // less lives at the peak, and there is less to hide it behind. So they go
    // together once, and one by one once.
    if (to == Treatment::recompute && price == Price::inside)
      for (size_t each = 0; each < problem.siblings.size(); ++each)
        opening.push_back(
            {problem.siblings[each].front(), to, static_cast<int64_t>(each)});
    for (Bargain &bargain : opening)
      measure(at, bargain);
    return opening;
  }

  /// Treats one kept value after the other in one of `ways`, each time the
  /// bargain that costs least for the bytes that it frees. A bargain rarely
  /// becomes better by what is treated before it, so only the best is measured
  /// anew, until it stays the best; those behind it are as they were, at first
  /// where the first descent began. Returns what was passed.
  std::vector<LayerTreatment> descend(LayerTreatment at,
                                      std::initializer_list<Treatment> ways) {
    std::vector<Bargain> bargains;
    for (Treatment to : ways) {
      std::vector<Bargain> &opening = openings[static_cast<size_t>(to)];
      const bool isFirst = opening.empty();
      if (isFirst)
        opening = openingOf(at, to);
      for (Bargain bargain : opening)
        if (at[bargain.value] == Treatment::keep) {
          bargain.isCurrent = isFirst;
          bargains.push_back(bargain);
        }
    }
    std::vector<LayerTreatment> way;
    while (!bargains.empty()) {
      auto best = std::min_element(
          bargains.begin(), bargains.end(),
          [](const Bargain &a, const Bargain &b) { return a.isBetterThan(b); });
      if (!best->isCurrent) {
        measure(at, *best);
        continue;
      }
      if (best->bytes <= 0)
        break;
      treat(at, *best);
      way.push_back(at);
      std::erase_if(bargains, [&](const Bargain &bargain) {
        return at[bargain.value] != Treatment::keep;
      });
      for (Bargain &bargain : bargains)
        bargain.isCurrent = false;
    }
    return way;
  }

  /// Where a layer lies in its stage: among layers like it; among others, which
  /// leave it most of the link; or last.
  enum class Place : uint8_t { inside, mixed, last };
  /// What time on the link costs where others do not need it: a part of it.
  static constexpr int64_t kMixedShare = 8;

  struct Found {
    const LayerTreatment *treatment;
    const LayerFigures *figures;
    /// What it takes on a rank that holds so many microbatches besides, and of
    /// whose stage so many layers like it are pending.
    int64_t load(int64_t held, int64_t pending, Place place) const {
      const LayerOption &at =
          place == Place::last ? figures->last : figures->inside;
      return held * at.keptBytes + pending * at.pendingBytes +
             std::max(at.peakBytes, at.latePeakBytes + at.aheadBytes);
    }
    int64_t ns(Place place = Place::inside) const {
      switch (place) {
      case Place::inside:
        return insideNs(figures->inside);
      case Place::mixed:
        return extraNs(figures->inside) + figures->inside.queueNs / kMixedShare;
      case Place::last:
        return figures->last.extraNs + figures->last.tailNs;
      }
    }
  };

  /// The best bargains: indices of the corners of the lower convex hull of load
  /// and time, but for what needs more of both than another.
  static std::vector<size_t> bargainsOf(const std::vector<Found> &front,
                                        int64_t held, int64_t pending,
                                        Place place) {
    auto load = [&](size_t at) { return front[at].load(held, pending, place); };
    auto ns = [&](size_t at) { return front[at].ns(place); };
    std::vector<size_t> order(front.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::tuple(ns(a), load(a), a) < std::tuple(ns(b), load(b), b);
    });
    std::vector<size_t> hull;
    // Whether the last corner lies on or above the line past it to `next`.
    auto isAbove = [&](size_t next) {
      const size_t before = hull[hull.size() - 2], last = hull.back();
      auto product = [](int64_t a, int64_t b) {
        return static_cast<__int128>(a) * b;
      };
      return product(ns(last) - ns(before), load(before) - load(next)) >=
             product(ns(next) - ns(before), load(before) - load(last));
    };
    for (size_t next : order) {
      if (!hull.empty() && load(next) >= load(hull.back()))
        continue;
      while (hull.size() > 1 && isAbove(next))
        hull.pop_back();
      hull.push_back(next);
    }
    return hull;
  }

  /// At most `most` of `front`: the best bargains of ranks that hold a few
  /// microbatches, many, or none besides, with none or a few layers pending,
  /// then evenly of the others.
  static std::vector<Found> thinned(const std::vector<Found> &front,
                                    size_t most) {
    if (front.size() <= most)
      return front;
    std::vector<bool> stays(front.size(), false);
    size_t room = most;
    auto takeFrom = [&](const std::vector<size_t> &candidates) {
      std::vector<size_t> fresh;
      for (size_t index : candidates)
        if (!stays[index])
          fresh.push_back(index);
      size_t count = std::min(room, fresh.size());
      for (size_t n = 0; n < count; ++n)
        stays[fresh[n * (fresh.size() - 1) / std::max<size_t>(1, count - 1)]] =
            true;
      room -= count;
    };
    for (Place place : {Place::inside, Place::mixed, Place::last})
      for (int64_t held : {4, 16, 1, 0})
        for (int64_t pending : {0, 4})
          takeFrom(bargainsOf(front, held, pending, place));
    std::vector<size_t> all(front.size());
    std::iota(all.begin(), all.end(), 0);
    takeFrom(all);
    std::vector<Found> remaining;
    for (size_t i = 0; i < front.size(); ++i)
      if (stays[i])
        remaining.push_back(front[i]);
    return remaining;
  }

  static bool isNoWorse(const LayerOption &a, const LayerOption &b) {
    return extraNs(a) <= extraNs(b) && a.keptBytes <= b.keptBytes &&
           a.peakBytes <= b.peakBytes && a.aheadBytes <= b.aheadBytes &&
           a.latePeakBytes <= b.latePeakBytes && a.tailNs <= b.tailNs &&
           a.queueNs <= b.queueNs && a.pendingBytes <= b.pendingBytes &&
           a.forwardPeakBytes <= b.forwardPeakBytes &&
           a.weightGrad.earlyNs <= b.weightGrad.earlyNs;
  }

  /// Those of `found` that neither `everything` nor another one is no worse
  /// than in time, kept bytes and peak; of equal ones the first.
  static std::vector<Found> unbeaten(const std::vector<Found> &found,
                                     const LayerFigures &everything) {
    std::vector<Found> front;
    for (size_t i = 0; i < found.size(); ++i) {
      auto beats = [&](const LayerFigures &other) {
        return isNoWorse(other.inside, found[i].figures->inside) &&
               isNoWorse(other.last, found[i].figures->last);
      };
      bool beaten = beats(everything);
      for (size_t j = 0; j < found.size() && !beaten; ++j)
        beaten = j != i && beats(*found[j].figures) &&
                 (j < i || *found[j].figures != *found[i].figures);
      if (!beaten)
        front.push_back(found[i]);
    }
    return front;
  }

  /// All that was looked at but `all`, by falling kept bytes.
  std::vector<Found> allBut(const LayerTreatment &all) const {
    std::vector<Found> found;
    for (const auto &[treatment, figures] : seen)
      if (treatment != all)
        found.push_back({&treatment, &figures});
    std::sort(found.begin(), found.end(), [](const Found &a, const Found &b) {
      const LayerOption &x = a.figures->inside, &y = b.figures->inside;
      if (x.keptBytes != y.keptBytes)
        return x.keptBytes > y.keptBytes;
      return a.ns() != b.ns() ? a.ns() < b.ns() : *a.treatment < *b.treatment;
    });
    return found;
  }

  LayerOptions choose(const LayerTreatment &all) {
    std::vector<Found> found = allBut(all);
    const LayerFigures &everything = seen.at(all);
    const std::vector<Found> front = unbeaten(found, everything);
    std::vector<Found> chosen =
        thinned(front, kFollowedOptions - kMostWithoutHost - 1);
    // Weight gradients of their own are one more thing to differ in.
    const size_t most =
        everything.inside.pendingBytes > 0 ? kMostOptions : kMostWhole;
    // Where the host has little memory, what beats these cannot be chosen.
    std::vector<Found> withoutHost;
    for (const Found &each : found)
      if (each.figures->inside.hostBytes == 0)
        withoutHost.push_back(each);
    auto add = [&](const std::vector<Found> &more) {
      for (const Found &each : more)
        if (chosen.size() + 1 < most &&
            std::none_of(chosen.begin(), chosen.end(), [&](const Found &other) {
              return other.treatment == each.treatment;
            }))
          chosen.push_back(each);
    };
    add(thinned(unbeaten(withoutHost, everything), kMostWithoutHost));
    add(thinned(front, most - kMostWithoutHost - 1));
    LayerOptions options;
    options.treatments.push_back(all);
    options.figures.push_back(everything);
    for (const Found &each : chosen) {
      options.treatments.push_back(*each.treatment);
      options.figures.push_back(*each.figures);
    }
    return options;
  }

  const LayerOptionsProblem &problem;
  size_t count;
  std::map<LayerTreatment, LayerFigures> seen;
  /// By treatment, the bargains where its first descent began.
  std::array<std::vector<Bargain>, 3> openings;
  Price price = Price::inside; ///< of bargains
};

} // namespace

LayerOptions findOptions(const LayerOptionsProblem &problem) {
  return OptionSearch(problem).run();
}

} // namespace moe::optimize
