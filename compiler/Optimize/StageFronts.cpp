#include "compiler/Optimize/StageFronts.h"

#include <iterator>
#include <numeric>
#include <set>
#include <tuple>

namespace moe::optimize {

/// Of more, those that lie close together count as one.
static constexpr size_t kMostHostParts = 64;
/// Of fronts that are thinned, times on the way back that are closer count as
/// one.
static constexpr int64_t kThinnedNs = 1'000'000;
/// As many can be told apart by all that they have in no time.
static constexpr size_t kFewNodes = 4096;
/// Of so many times the nodes that stay, next to all are dropped.
static constexpr size_t kMany = 8;

std::vector<int64_t> StageFront::choices(size_t point) const {
  std::vector<int64_t> chosen;
  for (const StageFront *at = this; at->below; at = at->below) {
    chosen.push_back(at->nodes[point].option);
    point = at->nodes[point].parent;
  }
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

namespace {

/// What has been seen of things that come by rising time: for each place, in
/// which a smaller one is better, the stairs of kept bytes and peaks.
template <typename Place> class Seen {
public:
  /// Whether something that came before is no worse than this in its place, in
  /// kept bytes and in the peak; else it counts from now on.
  bool isDominated(const Place &place, int64_t kept, int64_t peak) {
    for (size_t i = 0; i < entries.size(); ++i) {
      const Stairs &stairs = entries[i].stairs;
      if (!isWithin(entries[i].place, place))
        continue;
      auto behind = stairs.upper_bound(kept);
      if (behind == stairs.begin() || std::prev(behind)->second > peak)
        continue;
      // What dominates once does so again and again: it comes sooner then.
      swap(i, i / 2);
      return true;
    }
    auto [known, isNew] = numbers.try_emplace(place, entries.size());
    if (isNew)
      entries.push_back({place, {}});
    Stairs &own = entries[known->second].stairs;
    auto behind = own.upper_bound(kept);
    while (behind != own.end() && behind->second >= peak)
      behind = own.erase(behind);
    own[kept] = peak;
    return false;
  }

private:
  using Stairs = std::map<int64_t, int64_t>; // kept -> peak, falling
  struct Entry {
    Place place;
    Stairs stairs;
  };

  static bool isWithin(const Place &a, const Place &b) {
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i] > b[i])
        return false;
    return true;
  }

  void swap(size_t a, size_t b) {
    if (a == b)
      return;
    std::swap(entries[a], entries[b]);
    numbers.at(entries[a].place) = a;
    numbers.at(entries[b].place) = b;
  }

  std::vector<Entry> entries;
  std::map<Place, size_t> numbers; ///< of entries
};

} // namespace

/// Drops every node that another one is no worse than in time, kept bytes,
/// peak, what its last layer has ahead, how copies back come to it, its lag,
/// bytes on the host, and pending bytes. Bytes on the host and times on the way
/// back count in parts. O(n log n) for each eight of the latter that occur
/// together.
void StageFront::dropDominated(std::vector<Node> &nodes, const Parts &parts,
                               bool followsPending) {
  auto keyOf = [](const Node &node) {
    const StageSums &sums = node.sums;
    return std::tuple(sums.extraNs, sums.kept, sums.peak, sums.ahead,
                      sums.backward.earlyNs, -sums.backward.mayWaitNs,
                      sums.weightGrad.earlyNs, -sums.weightGrad.mayWaitNs,
                      sums.lagNs, sums.host, sums.pending, node.name());
  };
  std::sort(nodes.begin(), nodes.end(), [&](const Node &a, const Node &b) {
    // Mostly that decides, and there are many to sort.
    return a.sums.extraNs != b.sums.extraNs ? a.sums.extraNs < b.sums.extraNs
                                            : keyOf(a) < keyOf(b);
  });
  Seen<std::array<int64_t, 8>> seen;
  std::erase_if(nodes, [&](const Node &node) {
    const StageSums &sums = node.sums;
    return seen.isDominated({sums.host / parts.hostBytes, sums.ahead,
                             sums.backward.earlyNs / parts.ns,
                             -(sums.backward.mayWaitNs / parts.ns),
                             sums.weightGrad.earlyNs / parts.ns,
                             -(sums.weightGrad.mayWaitNs / parts.ns),
                             sums.lagNs, followsPending ? sums.pending : 0},
                            sums.kept, sums.peak);
  });
}

const std::vector<uint32_t> &StageFront::finished() const {
  if (!last.empty())
    return last;
  std::vector<uint32_t> order(nodes.size());
  std::iota(order.begin(), order.end(), 0);
  auto keyOf = [&](uint32_t point) {
    const StageSums &sums = nodes[point].sums;
    return std::tuple(sums.takenNs(), sums.kept, sums.peak, sums.host, point);
  };
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return keyOf(a) < keyOf(b); });
  Seen<std::array<int64_t, 2>> seen;
  for (uint32_t point : order) {
    const StageSums &sums = nodes[point].sums;
    if (!seen.isDominated({sums.host, sums.pending}, sums.kept, sums.peak))
      last.push_back(point);
  }
  return last;
}

/// Leaves at most about `most` nodes. What is small depends on where the peak
/// of the stage will be: among these layers, or in later ones, above what these
/// keep, which have made up for a lag by then. So half of the nodes are a front
/// of the one kind, half of the other.
void StageFront::thin(std::vector<Node> &nodes, int64_t weight, size_t most) {
  std::vector<uint32_t> stay =
      frontOf(
          nodes,
          [&](const Node &node) {
            return weight * node.sums.kept + node.sums.peak;
          },
          [](const Node &node) { return node.sums.takenNs(); }, most / 2)
          .numbers;
  const FrontNumbers later = frontOf(
      nodes,
      [&](const Node &node) {
        return (weight + 1) * node.sums.kept + node.sums.ahead;
      },
      [](const Node &node) { return node.sums.extraNs; }, most / 2);
  stay.insert(stay.end(), later.numbers.begin(), later.numbers.end());
  std::vector<Node> kept;
  for (uint32_t number : stay)
    kept.push_back(nodes[number]);
  nodes = std::move(kept);
  dropDominated(nodes, {kUnlimitedBytes, kThinnedNs}, false); // equal ones, too
}

std::unique_ptr<StageFront>
StageFront::extend(const std::vector<LayerOption> &options,
                   const StageLimits &limits) const {
  auto made = std::make_unique<StageFront>();
  made->below = this;
  made->exact = exact;
  made->isThinned = isThinned;
  std::vector<Node> next;
  const size_t count = std::min(options.size(), limits.options);
  made->exact &= count == options.size();
  next.reserve(nodes.size() * count);
  for (uint32_t parent = 0; parent < nodes.size(); ++parent)
    for (uint32_t option = 0; option < count; ++option) {
      Node node{nodes[parent].sums, parent, option};
      node.sums.add(options[option], limits.hostBytesPerNs);
      if (node.sums.host <= limits.hostBytes)
        next.push_back(node);
    }
  const bool isLimited = limits.hostBytes < kUnlimitedBytes;
  int64_t hostPart = kUnlimitedBytes; // all the same
  if (isLimited) {
    std::set<int64_t> different;
    for (const Node &node : next)
      different.insert(node.sums.host);
    hostPart = 1;
    if (different.size() > kMostHostParts) {
      hostPart = limits.hostBytes / kMostHostParts + 1;
      made->exact = false;
    }
  }
  const bool follows = limits.followsPending || next.size() <= kFewNodes;
  if (!follows)
    made->exact &= std::all_of(
        options.begin(), options.end(),
        [](const LayerOption &option) { return option.pendingBytes == 0; });
  // Where most of many nodes go anyway, thinning drops next to all that others
  // dominate, and takes less time.
  if (!isThinned || next.size() < kMany * limits.most) {
    const bool isCoarse = !limits.followsPending && next.size() > limits.most;
    dropDominated(next, {hostPart, isCoarse ? kThinnedNs : 1}, follows);
    made->exact &= !isCoarse;
  }
  if (next.size() > limits.most) {
    if (isLimited)
      keepFrontByHost(
          next,
          [&](const Node &node) {
            return limits.weight * node.sums.kept + node.sums.peak;
          },
          [](const Node &node) { return node.sums.takenNs(); },
          limits.hostBytes, limits.most);
    else
      thin(next, limits.weight, limits.most);
    made->exact = false;
    made->isThinned = true;
  }
  made->nodes.assign(next.begin(), next.end());
  return made;
}

const StageFront &StageFronts::of(const PolicyProblem &problem, size_t stage,
                                  const StageLimits &limits) {
  auto [root, isNew] = roots.try_emplace(limits);
  if (isNew)
    root->second.nodes.emplace_back();
  StageFront *front = &root->second;
  for (int64_t kind : problem.stages[stage]) {
    std::unique_ptr<StageFront> &above = front->above[kind];
    if (!above)
      above = front->extend(problem.kinds[static_cast<size_t>(kind)], limits);
    front = above.get();
  }
  return *front;
}

} // namespace moe::optimize
