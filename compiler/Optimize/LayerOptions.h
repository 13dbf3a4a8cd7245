//===- LayerOptions.h - the ways to treat a layer worth having --*- C++ -*-===//
//
// A layer keeps some twenty values from forward to backward, and each can be
// kept, computed again or moved to the host: far too many combinations to weigh
// against each other for every layer of every rank. A few dozen of them matter:
// those that switches by name would give, and those on the way from keeping
// everything to keeping next to nothing, the best bargain first.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace moe::optimize {

/// What is offloaded comes back with the lead that all have, or late: where the
/// layer's own backward begins.
enum class Treatment : uint8_t { keep, recompute, offload, offload_late };

/// For each value that the layer keeps.
using LayerTreatment = std::vector<Treatment>;

/// What a treatment comes to.
struct LayerFigures {
  LayerOption inside; ///< where other layers of the stage run before and after
  LayerOption last;   ///< where the stage's backward begins with the layer
  bool operator==(const LayerFigures &) const = default;
};

struct LayerOptionsProblem {
  /// Bytes of each value.
  std::vector<int64_t> valueBytes;
  /// Values that can be computed again, and moved.
  std::vector<bool> mayRecompute, mayOffload;
  /// Values that can come back late. Empty: none.
  std::vector<bool> mayComeLate = {};
  /// Of these: what a copy back takes, and when the layer's backward needs it,
  /// from where it begins.
  std::vector<int64_t> copyNs = {}, neededNs = {};
  /// Sets of values that are named together ("norm", "moe_act"): unions of them
  /// are considered, of the first kMostTargets, but for those that leave a far
  /// better bargain out than one that they have.
  std::vector<std::vector<size_t>> targets;
  /// Sets of values that one op makes. Each is weighed as a whole as well: to
  /// compute all of them again can be cheaper than to compute some.
  std::vector<std::vector<size_t>> siblings = {};
  /// What a treatment comes to. Called some hundred times.
  std::function<LayerFigures(const LayerTreatment &)> evaluate;
};
inline constexpr size_t kMostTargets = 7;

struct LayerOptions {
  /// The first keeps everything; of the others none is worse than another in
  /// times, kept bytes, peaks and bytes ahead, in both places, but for some
  /// that are so among those which leave nothing on the host. At most
  /// kMostOptions, kMostWhole where nothing is pending: of more, the best
  /// bargains for ranks that hold many microbatches, few, or none, and have few
  /// or none pending, then evenly of the rest. So chosen are already
  /// the first kFollowedOptions, kMostWithoutHost of them from those that leave
  /// nothing on the host.
  std::vector<LayerTreatment> treatments;
  std::vector<LayerFigures> figures;
};
inline constexpr size_t kMostOptions = 128, kMostWhole = 96,
                        kMostWithoutHost = 12;

/// Finds the options: unions of targets, with all else kept and with all else
/// that may be moved on the host; the greedy ways from keeping all, value by
/// value or siblings at once, to recomputing all and to treating all in either
/// way, each step the one that frees most bytes for its time; and from a few
/// points of the former on to offloading. Time is that of a layer inside a
/// stage, and once more that of a stage of four layers treated alike.
/// Deterministic.
LayerOptions findOptions(const LayerOptionsProblem &problem);

} // namespace moe::optimize
