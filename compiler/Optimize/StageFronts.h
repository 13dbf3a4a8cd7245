//===- StageFronts.h - choices for the layers of a stage --------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

namespace moe::optimize {

/// How copies back come to the layers of a program so far.
struct Waiting {
  int64_t earlyNs = 0; ///< CopiesBack::earlyNs of the last layer
  /// How late copies back may come to it without a wait for them.
  int64_t mayWaitNs = kUnlimitedNs;

  /// With one more layer, which is in time: what those below it wait for. Late
  /// by more than is left then, they wait for that as well.
  int64_t add(const CopiesBack &copies) {
    const int64_t lateNs = earlyNs - copies.linkFreeNs;
    const int64_t waitNs = std::max<int64_t>(0, lateNs - mayWaitNs);
    mayWaitNs = std::clamp<int64_t>(mayWaitNs - lateNs, 0, copies.mayWaitNs);
    earlyNs = copies.earlyNs;
    return waitNs;
  }
  bool isNoWorseThan(const Waiting &other) const {
    return earlyNs <= other.earlyNs && mayWaitNs >= other.mayWaitNs;
  }
};

/// A stage by itself, under choices for all its layers or for the first few.
struct StageSums {
  int64_t kept = 0; ///< of all layers
  /// The most while one of them runs, beyond what other microbatches hold.
  int64_t peak = 0;
  int64_t extraNs = 0; ///< but for the lag
  int64_t host = 0;    ///< on the host, of all layers
  int64_t ahead = 0;   ///< aheadBytes of the last layer
  int64_t pending = 0; ///< of all layers
  /// How much later than the forward its copies to the host end.
  int64_t lagNs = 0;
  int64_t weightGradNs = 0; ///< of extraNs
  Waiting backward = {}, weightGrad = {};

  /// If there are no more layers.
  int64_t takenNs() const { return extraNs + lagNs; }

  /// `hostBytesPerNs`: PolicyProblem::hostBytesPerNs.
  void add(const LayerOption &option, double hostBytesPerNs) {
    const auto waiting =
        static_cast<int64_t>(hostBytesPerNs * static_cast<double>(lagNs));
    peak = std::max({peak + option.pendingBytes, kept + option.peakBytes,
                     kept + waiting + option.forwardPeakBytes,
                     kept + ahead + option.latePeakBytes});
    kept += option.keptBytes;
    ahead = option.aheadBytes;
    pending += option.pendingBytes;
    const int64_t gradNs =
        option.weightGradNs + weightGrad.add(option.weightGrad);
    weightGradNs += gradNs;
    extraNs += option.extraNs - option.weightGradNs + gradNs +
               backward.add(option.backward);
    host += option.hostBytes;
    lagNs = std::max(option.tailNs, lagNs + option.queueNs);
  }
};

/// States of a front, by their numbers.
struct FrontNumbers {
  std::vector<uint32_t> numbers; ///< by rising size
  bool isThinned = false;        ///< some were left out to have fewer
};

/// The states that are quicker than all smaller ones. Of more than `most`, both
/// ends (what is smallest, and what takes least time) and the largest of each
/// of as many equal parts of the range. O(n), but for what sorting those takes
/// that are quicker than all in smaller parts of the range.
template <typename State, typename Size, typename Time>
FrontNumbers frontOf(const std::vector<State> &states, Size sizeOf, Time timeOf,
                     size_t most) {
  struct Entry {
    int64_t size, ns;
    uint32_t number;
  };
  std::vector<Entry> entries;
  entries.reserve(states.size());
  int64_t least = kUnlimitedBytes, largest = -kUnlimitedBytes;
  for (const State &state : states) {
    entries.push_back(
        {sizeOf(state), timeOf(state), static_cast<uint32_t>(entries.size())});
    least = std::min(least, entries.back().size);
    largest = std::max(largest, entries.back().size);
  }
  // Parts of the range, of which each one's first ones rule out most behind it.
  constexpr int64_t kParts = 512;
  const int64_t width = (largest - least) / kParts + 1;
  std::array<int64_t, kParts + 1> quickest; // in all parts before
  quickest.fill(std::numeric_limits<int64_t>::max());
  for (const Entry &entry : entries) {
    int64_t &ns =
        quickest[static_cast<size_t>((entry.size - least) / width + 1)];
    ns = std::min(ns, entry.ns);
  }
  for (size_t part = 1; part < quickest.size(); ++part)
    quickest[part] = std::min(quickest[part], quickest[part - 1]);
  std::erase_if(entries, [&](const Entry &entry) {
    return entry.ns >=
           quickest[static_cast<size_t>((entry.size - least) / width)];
  });
  std::sort(
      entries.begin(), entries.end(), [&](const Entry &a, const Entry &b) {
        if (a.size != b.size)
          return a.size < b.size;
        return a.ns != b.ns ? a.ns < b.ns
                            : states[a.number].name() < states[b.number].name();
      });
  std::vector<Entry> front;
  for (const Entry &entry : entries)
    if (front.empty() || entry.ns < front.back().ns)
      front.push_back(entry);

  const int64_t part = (front.back().size - least) /
                           static_cast<int64_t>(std::max<size_t>(1, most - 1)) +
                       1;
  FrontNumbers made;
  for (size_t i = 0; i < front.size(); ++i)
    if (front.size() <= most || i == 0 || i + 1 == front.size() ||
        (front[i].size - least) / part != (front[i + 1].size - least) / part)
      made.numbers.push_back(front[i].number);
  made.isThinned = made.numbers.size() < front.size();
  return made;
}

/// Leaves frontOf() the states; says whether it was thinned.
template <typename State, typename Size, typename Time>
bool keepFront(std::vector<State> &states, Size sizeOf, Time timeOf,
               size_t most) {
  const FrontNumbers front = frontOf(states, sizeOf, timeOf, most);
  std::vector<State> kept;
  for (uint32_t number : front.numbers)
    kept.push_back(std::move(states[number]));
  states = std::move(kept);
  return front.isThinned;
}

/// The same in eight equal parts of what the host may hold, `capacityBytes`:
/// what is quicker with more of the host does not replace what needs little.
template <typename State, typename Size, typename Time>
bool keepFrontByHost(std::vector<State> &states, Size sizeOf, Time timeOf,
                     int64_t capacityBytes, size_t most) {
  constexpr int64_t kParts = 8;
  std::array<std::vector<State>, kParts> parts;
  for (State &state : states)
    parts[static_cast<size_t>(std::min(
              kParts - 1, state.hostBytes() / (capacityBytes / kParts + 1)))]
        .push_back(std::move(state));
  size_t before = states.size();
  states.clear();
  for (std::vector<State> &part : parts) {
    if (part.empty())
      continue;
    keepFront(part, sizeOf, timeOf, std::max<size_t>(2, most / kParts));
    states.insert(states.end(), std::make_move_iterator(part.begin()),
                  std::make_move_iterator(part.end()));
  }
  return states.size() < before;
}

/// What limits the front of a stage.
struct StageLimits {
  /// The most microbatches that any moment holds of the stage.
  int64_t weight = 0;
  /// What a microbatch may have on the host; from kUnlimitedBytes on, anything.
  int64_t hostBytes = kUnlimitedBytes;
  double hostBytesPerNs = 0; ///< PolicyProblem::hostBytesPerNs
  size_t most = 0;           ///< of as many points or more, some are left out
  size_t options = 0; ///< of a layer, from the first on, that are followed
  /// Whether what keeps more but has less pending stays, of however many.
  bool followsPending = false;
  bool operator<(const StageLimits &other) const {
    return std::tie(weight, hostBytes, hostBytesPerNs, most, options,
                    followsPending) <
           std::tie(other.weight, other.hostBytes, other.hostBytesPerNs,
                    other.most, other.options, other.followsPending);
  }
};

/// The choices for the first layers of a stage that are worth making, by rising
/// time.
class StageFront {
public:
  size_t size() const { return nodes.size(); }
  const StageSums &sums(size_t point) const { return nodes[point].sums; }
  /// The points worth choosing where there are no more layers.
  const std::vector<uint32_t> &finished() const;
  /// The options of all layers.
  std::vector<int64_t> choices(size_t point) const;
  /// Whether no undominated choice was left out.
  bool isExact() const { return exact; }

private:
  friend class StageFronts;
  struct Node {
    StageSums sums;
    uint32_t parent = 0; ///< in the front of the layers below
    uint32_t option = 0; ///< of the last layer
    int64_t hostBytes() const { return sums.host; }
    std::pair<uint32_t, uint32_t> name() const { return {parent, option}; }
  };
  /// See StageFronts::of().
  std::unique_ptr<StageFront> extend(const std::vector<LayerOption> &options,
                                     const StageLimits &limits) const;
  /// Within which amounts count as one.
  struct Parts {
    int64_t hostBytes = 1, ns = 1;
  };
  static void dropDominated(std::vector<Node> &nodes, const Parts &parts,
                            bool followsPending);
  static void thin(std::vector<Node> &nodes, int64_t weight, size_t most);

  const StageFront *below = nullptr; ///< null: there is no layer
  std::vector<Node> nodes;
  bool exact = true;
  bool isThinned = false;             ///< nodes were left out to have fewer
  mutable std::vector<uint32_t> last; ///< finished(), once it was asked for
  /// With a layer more, by its kind.
  std::map<int64_t, std::unique_ptr<StageFront>> above;
};

/// Fronts of stages, found layer by layer: stages that begin with the same
/// layers share what was found for these. The kinds of layers, and their
/// options, must be the same for all.
class StageFronts {
public:
  /// Of stage number `stage` of `problem`. Lives as long as this object.
  const StageFront &of(const PolicyProblem &problem, size_t stage,
                       const StageLimits &limits);

private:
  std::map<StageLimits, StageFront> roots;
};

} // namespace moe::optimize
