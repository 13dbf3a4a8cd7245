#include "compiler/Optimize/StageFronts.h"

#include <iterator>
#include <set>

namespace moe::optimize {

/// Of more, those that lie close together count as one.
static constexpr size_t kMostHostParts = 64;

std::vector<int64_t> StageFront::choices(size_t point) const {
  std::vector<int64_t> chosen;
  for (const StageFront *at = this; at->below; at = at->below) {
    chosen.push_back(at->nodes[point].option);
    point = at->nodes[point].parent;
  }
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

/// Drops every node that another one is no worse than in time, kept bytes,
/// peak, what its last layer has ahead, and bytes on the host, these in parts
/// of `hostPart`. O(n log n) for each part and each number of bytes ahead that
/// occur together.
void StageFront::dropDominated(std::vector<Node> &nodes, int64_t hostPart) {
  std::sort(nodes.begin(), nodes.end(), [](const Node &a, const Node &b) {
    if (a.sums.extraNs != b.sums.extraNs)
      return a.sums.extraNs < b.sums.extraNs;
    if (a.sums.kept != b.sums.kept)
      return a.sums.kept < b.sums.kept;
    if (a.sums.peak != b.sums.peak)
      return a.sums.peak < b.sums.peak;
    if (a.sums.ahead != b.sums.ahead)
      return a.sums.ahead < b.sums.ahead;
    return a.sums.host != b.sums.host ? a.sums.host < b.sums.host
                                      : a.name() < b.name();
  });
  using Stairs = std::map<int64_t, int64_t>; // kept -> peak, falling
  // By part of the host, and by bytes ahead.
  std::map<std::pair<int64_t, int64_t>, Stairs> least;
  std::erase_if(nodes, [&](const Node &node) {
    const std::pair part(node.sums.host / hostPart, node.sums.ahead);
    for (auto &[other, stairs] : least) {
      if (other > part)
        break;
      if (other.second > part.second)
        continue;
      auto behind = stairs.upper_bound(node.sums.kept);
      if (behind != stairs.begin() &&
          std::prev(behind)->second <= node.sums.peak)
        return true;
    }
    Stairs &own = least[part];
    auto behind = own.upper_bound(node.sums.kept);
    while (behind != own.end() && behind->second >= node.sums.peak)
      behind = own.erase(behind);
    own[node.sums.kept] = node.sums.peak;
    return false;
  });
}

/// Leaves at most about `most` nodes. What is small depends on where the peak
/// of the stage will be: among these layers, or in later ones, above what these
/// keep. So half of the nodes are a front of the one kind, half of the other.
void StageFront::thin(std::vector<Node> &nodes, int64_t weight, size_t most) {
  std::vector<Node> later = nodes;
  keepFront(
      nodes,
      [&](const Node &node) {
        return weight * node.sums.kept + node.sums.peak;
      },
      most / 2);
  keepFront(
      later,
      [&](const Node &node) {
        return (weight + 1) * node.sums.kept + node.sums.ahead;
      },
      most / 2);
  nodes.insert(nodes.end(), later.begin(), later.end());
  dropDominated(nodes, kUnlimitedBytes); // equal ones, too
}

std::unique_ptr<StageFront>
StageFront::extend(const std::vector<LayerOption> &options,
                   const StageLimits &limits) const {
  auto made = std::make_unique<StageFront>();
  made->below = this;
  made->exact = exact;
  std::vector<Node> &next = made->nodes;
  next.reserve(nodes.size() * options.size());
  for (uint32_t parent = 0; parent < nodes.size(); ++parent)
    for (uint32_t option = 0; option < options.size(); ++option) {
      Node node{nodes[parent].sums, parent, option};
      node.sums.add(options[option]);
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
  dropDominated(next, hostPart);
  if (next.size() > limits.most) {
    if (isLimited)
      keepFrontByHost(
          next,
          [&](const Node &node) {
            return limits.weight * node.sums.kept + node.sums.peak;
          },
          limits.hostBytes, limits.most);
    else
      thin(next, limits.weight, limits.most);
    made->exact = false;
  }
  next.shrink_to_fit();
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
