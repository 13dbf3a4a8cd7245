#include "compiler/Optimize/StageFronts.h"

#include <iterator>

namespace moe::optimize {

std::vector<int64_t> StageFront::choices(size_t point) const {
  std::vector<int64_t> chosen;
  for (const StageFront *at = this; at->below; at = at->below) {
    chosen.push_back(at->nodes[point].option);
    point = at->nodes[point].parent;
  }
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

/// Drops every node that another one is no worse than in time, kept bytes and
/// peak. O(n log n).
void StageFront::dropDominated(std::vector<Node> &nodes) {
  std::sort(nodes.begin(), nodes.end(), [](const Node &a, const Node &b) {
    if (a.sums.extraNs != b.sums.extraNs)
      return a.sums.extraNs < b.sums.extraNs;
    if (a.sums.kept != b.sums.kept)
      return a.sums.kept < b.sums.kept;
    return a.sums.peak != b.sums.peak ? a.sums.peak < b.sums.peak
                                      : a.name() < b.name();
  });
  std::map<int64_t, int64_t> least; // kept -> peak, falling
  std::erase_if(nodes, [&](const Node &node) {
    auto behind = least.upper_bound(node.sums.kept);
    if (behind != least.begin() && std::prev(behind)->second <= node.sums.peak)
      return true;
    while (behind != least.end() && behind->second >= node.sums.peak)
      behind = least.erase(behind);
    least[node.sums.kept] = node.sums.peak;
    return false;
  });
}

std::unique_ptr<StageFront>
StageFront::extend(const std::vector<LayerOption> &options, int64_t weight,
                   size_t most) const {
  auto made = std::make_unique<StageFront>();
  made->below = this;
  made->exact = exact;
  std::vector<Node> &next = made->nodes;
  next.reserve(nodes.size() * options.size());
  for (uint32_t parent = 0; parent < nodes.size(); ++parent)
    for (uint32_t option = 0; option < options.size(); ++option) {
      Node node{nodes[parent].sums, parent, option};
      node.sums.add(options[option]);
      next.push_back(node);
    }
  dropDominated(next);
  if (next.size() > most) {
    keepFront(
        next,
        [&](const Node &node) {
          return weight * node.sums.kept + node.sums.peak;
        },
        most);
    made->exact = false;
  }
  next.shrink_to_fit();
  return made;
}

const StageFront &StageFronts::of(const PolicyProblem &problem, size_t stage,
                                  int64_t weight, size_t most) {
  auto [root, isNew] = roots.try_emplace({weight, most});
  if (isNew)
    root->second.nodes.emplace_back();
  StageFront *front = &root->second;
  for (int64_t kind : problem.stages[stage]) {
    std::unique_ptr<StageFront> &above = front->above[kind];
    if (!above)
      above =
          front->extend(problem.kinds[static_cast<size_t>(kind)], weight, most);
    front = above.get();
  }
  return *front;
}

} // namespace moe::optimize
