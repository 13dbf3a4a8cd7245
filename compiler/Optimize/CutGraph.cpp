#include "compiler/Optimize/CutGraph.h"

#include "compiler/Optimize/PartitionCosts.h"

#include <algorithm>

namespace moe::optimize {

bool CutGraph::isFor(const PartitionProblem &problem) {
  const int64_t depth = problem.ranks();
  const bool isRow = problem.stages() == depth;
  if (!isRow && problem.stages() != 2 * depth)
    return false;
  std::vector<bool> has(static_cast<size_t>(depth), false);
  for (int64_t s = 0; s < depth; ++s) {
    const int64_t rank = problem.rankOf[static_cast<size_t>(s)];
    if (has[static_cast<size_t>(rank)])
      return false;
    has[static_cast<size_t>(rank)] = true;
    if (!isRow &&
        problem.rankOf[static_cast<size_t>(problem.stages() - 1 - s)] != rank)
      return false;
  }
  return true;
}

CutGraph::CutGraph(const PartitionProblem &problem, int64_t mostNs)
    : problem(problem), blocks(static_cast<int64_t>(problem.blocks.size())) {
  workBefore.push_back(0);
  for (int64_t kind : problem.blocks)
    workBefore.push_back(workBefore.back() +
                         problem.kinds[static_cast<size_t>(kind)].workNs());
  const auto depth = static_cast<size_t>(problem.ranks());
  nodes.resize(depth + 1);
  edges.resize(depth);
  nodes[0].push_back({});
  for (size_t place = 0; place < depth; ++place) {
    numbers.clear();
    for (size_t from = 0; from < nodes[place].size(); ++from)
      extend(place, from, mostNs);
  }
  dropDeadEnds();
}

void CutGraph::extend(size_t place, size_t from, int64_t mostNs) {
  const int64_t begin = nodes[place][from].front;
  const int64_t end = blocks - nodes[place][from].back;
  const bool isLast = place + 1 == depth(); // takes all that is left
  for (int64_t front = 1; front <= end - begin; ++front) {
    const int64_t left = end - begin - front;
    const int64_t frontNs = workNs(begin, begin + front);
    if (frontNs > mostNs)
      break;
    if (isRow()) {
      if ((left == 0) == isLast)
        add(place, from, front, 0);
      continue;
    }
    for (int64_t back = isLast ? std::max<int64_t>(1, left) : 1; back <= left;
         ++back) {
      if (frontNs + workNs(end - back, end) > mostNs)
        break;
      if ((back == left) == isLast)
        add(place, from, front, back);
    }
  }
}

void CutGraph::add(size_t place, size_t from, int64_t front, int64_t back) {
  Edge edge{from, 0, front, back};
  for (const StageBlocks &part : partsOf(place, edge))
    if (!mayHold(problem, part.stage, part.begin, part.end))
      return;
  const Node &node = nodes[place][from];
  const std::pair to(node.front + front, node.back + back);
  auto [known, isNew] = numbers.try_emplace(to, nodes[place + 1].size());
  if (isNew)
    nodes[place + 1].push_back({to.first, to.second, {}});
  edge.to = known->second;
  nodes[place][from].edges.push_back(edges[place].size());
  edges[place].push_back(edge);
}

void CutGraph::dropDeadEnds() {
  for (size_t place = depth() - 1; place-- > 0;)
    for (Edge &edge : edges[place]) {
      const Node &next = nodes[place + 1][edge.to];
      edge.isLive =
          std::any_of(next.edges.begin(), next.edges.end(), [&](size_t number) {
            return edges[place + 1][number].isLive;
          });
    }
  sweep();
}

std::vector<std::vector<size_t>> CutGraph::sweep() {
  std::vector<std::vector<size_t>> before(depth());
  for (size_t place = 0; place < depth(); ++place) {
    std::vector<Edge> &all = edges[place];
    for (Node &node : nodes[place])
      node.edges.clear();
    for (size_t number = 0; number < all.size(); ++number) {
      if (!all[number].isLive)
        continue;
      nodes[place][all[number].from].edges.push_back(before[place].size());
      all[before[place].size()] = all[number];
      before[place].push_back(number);
    }
    all.resize(before[place].size());
  }
  return before;
}

std::optional<CutGraph::Path>
CutGraph::pathOf(const std::vector<int64_t> &counts) const {
  Path path;
  size_t node = 0;
  for (size_t place = 0; place < depth(); ++place) {
    const int64_t front = counts[place];
    const int64_t back = isRow() ? 0 : counts[counts.size() - 1 - place];
    const std::vector<size_t> &open = nodes[place][node].edges;
    auto number = std::find_if(open.begin(), open.end(), [&](size_t each) {
      return edges[place][each].front == front &&
             edges[place][each].back == back;
    });
    if (number == open.end())
      return std::nullopt;
    path.push_back(*number);
    node = edges[place][*number].to;
  }
  return path;
}

std::vector<int64_t> CutGraph::countsOf(const Path &path) const {
  std::vector<int64_t> counts(problem.rankOf.size(), 0);
  for (size_t place = 0; place < depth(); ++place) {
    const Edge &edge = edges[place][path[place]];
    counts[place] = edge.front;
    if (!isRow())
      counts[counts.size() - 1 - place] = edge.back;
  }
  return counts;
}

std::vector<StageBlocks> CutGraph::partsOf(size_t place,
                                           const Edge &edge) const {
  const auto stage = static_cast<int64_t>(place);
  const Node &from = nodes[place][edge.from];
  std::vector<StageBlocks> parts = {
      {stage, from.front, from.front + edge.front}};
  if (!isRow())
    parts.push_back({problem.stages() - 1 - stage,
                     blocks - from.back - edge.back, blocks - from.back});
  return parts;
}

int64_t CutGraph::workNs(const std::vector<StageBlocks> &parts) const {
  int64_t ns = 0;
  for (const StageBlocks &part : parts)
    ns += workNs(part.begin, part.end);
  return ns;
}

} // namespace moe::optimize
