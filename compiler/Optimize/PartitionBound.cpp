//===- PartitionBound.cpp - what steps take at least, whatever the cut ----===//
//
// A cut is a path (CutGraph.h). A chain of programs says of every path how long
// its step is at least, as a sum over its edges: from shortest paths it is
// known what no path through an edge stays below, and which edges need not be
// looked at. A path that all chains allow to be quicker tells, when its ranks
// are bounded and its step is timed, of another chain, or is one that is
// quicker.
//
//===----------------------------------------------------------------------===//

#include "compiler/Optimize/CutGraph.h"
#include "compiler/Optimize/PartitionCosts.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <optional>
#include <utility>

namespace moe::optimize {

int64_t LeastExtra::inChain(double forwards, double inputGrads,
                            double weightGrads) const {
  // As often as through all of them it goes through what all take, then as
  // often as through both kinds of gradients through what these do.
  const double backwards = std::min(inputGrads, weightGrads);
  const double all = std::min(forwards, backwards);
  const int64_t ofBackwards = std::max(backwardNs, inputGradNs);
  return static_cast<int64_t>(
      all * static_cast<double>(std::max(ns, ofBackwards)) +
      (backwards - all) * static_cast<double>(ofBackwards) +
      (inputGrads - backwards) * static_cast<double>(inputGradNs));
}

namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max() / 4;

/// Times the step of a cut whose ranks take so much longer, all of that
/// backward.
void time(StepTimes &steps, const PartitionProblem &problem,
          const std::vector<int64_t> &counts,
          const std::vector<LeastExtra> &ofRanks) {
  std::vector<int64_t> stagesOn(ofRanks.size(), 0);
  for (int64_t rank : problem.rankOf)
    ++stagesOn[static_cast<size_t>(rank)];
  std::vector<StageTimes> longer;
  for (int64_t rank : problem.rankOf)
    longer.push_back({0, ofRanks[static_cast<size_t>(rank)].ns /
                             stagesOn[static_cast<size_t>(rank)]});
  steps.ns(counts, longer);
}

/// What the step of a cut takes at least.
int64_t leastOfCut(const PartitionProblem &problem,
                   const std::vector<int64_t> &counts,
                   const std::vector<LeastExtra> &ofRanks) {
  StepTimes &steps = *problem.steps;
  time(steps, problem, counts, ofRanks);
  const std::vector<int64_t> first = beginsOf(counts);
  std::vector<std::vector<StageBlocks>> parts(ofRanks.size());
  for (size_t stage = 0; stage < counts.size(); ++stage)
    parts[static_cast<size_t>(problem.rankOf[stage])].push_back(
        {static_cast<int64_t>(stage), first[stage], first[stage + 1]});
  int64_t longest = 0;
  for (size_t chain = 0; chain < steps.chainCount(); ++chain) {
    int64_t ns = steps.transfersNs(chain);
    for (size_t rank = 0; rank < parts.size(); ++rank)
      ns += steps.partNs(chain, parts[rank], ofRanks[rank]);
    longest = std::max(longest, ns);
  }
  return longest;
}

/// Looks for a cut whose step may be shorter than `targetNs`, and lowers that,
/// until there is none.
class BoundSearch {
public:
  /// `knownNs`: of a step with the cut `known`, at least.
  BoundSearch(const PartitionProblem &problem,
              const std::vector<int64_t> &known,
              const std::vector<LeastExtra> &leastOfKnown, int64_t knownNs)
      : problem(problem), steps(*problem.steps), costs(problem, Effort::fast),
        graph(problem, mostOfRank(problem, knownNs)), targetNs(knownNs),
        best(known) {
    const std::optional<Path> path = graph.pathOf(known);
    hasKnown = path.has_value();
    for (size_t place = 0; hasKnown && place < depth(); ++place) {
      Edge &edge = edgeAt(place, (*path)[place]);
      edge.extra = leastOfKnown[rankAt(place)];
      edge.isKnown = true;
    }
  }

  /// Blocks of a cut whose step may be as short as run() says.
  const std::vector<int64_t> &bestCounts() const { return best; }

  /// 0: that is too much to tell.
  int64_t run() {
    if (!hasKnown)
      return 0;
    narrow();
    int outdated = 0; // ranks bounded since then
    const int64_t mostWork =
        kMostWork *
        std::max<int64_t>(1, std::ssize(problem.blocks) / kBlocksOfWork);
    while (work < mostWork) {
      const Search found = find();
      if (!found.path && found.isComplete)
        return targetNs;
      if (found.path && learnOf(*found.path)) {
        if (++outdated < kMostOutdated)
          continue;
      } else if (found.path) {
        const size_t before = chains.size();
        time(*found.path);
        const int64_t ns = longestOf(*found.path);
        if (chains.size() == before && ns < targetNs) {
          targetNs = ns - ns / kCloseEnough;
          best = graph.countsOf(*found.path);
        }
      } else if (outdated == 0) {
        targetNs -= targetNs / kStep; // where there are fewer paths to follow
      }
      narrow();
      outdated = 0;
    }
    while (targetNs > 0) {
      targetNs -= targetNs / kStep + 1;
      narrow();
      const Search found = find();
      if (!found.path && found.isComplete)
        return targetNs;
    }
    return 0;
  }

private:
  using Edge = CutGraph::Edge;
  using Path = CutGraph::Path;

  /// Of a step, by how much a bound may be too low.
  static constexpr int64_t kCloseEnough = 2000;
  /// Of the target, what is given up where nothing else helps.
  static constexpr int64_t kStep = 128;
  /// Sums over chains and edges; what else takes time counts as so many.
  static constexpr int64_t kMostWork = 200'000'000; ///< for so many blocks:
  static constexpr int64_t kBlocksOfWork = 64;
  static constexpr int64_t kWorkOfLayers = 5'000; ///< times their square,
  static constexpr int64_t kMostOfLayers = 1024;  ///< or this
  static constexpr int64_t kWorkOfRun = 10;
  /// Ranks bounded with shortest paths as they were before.
  static constexpr int kMostOutdated = 8;
  /// Edges that one search for a path follows.
  static constexpr int64_t kMostFollowed = 100'000;

  /// What a rank works for a microbatch where a step takes `stepNs`, with a
  /// sixteenth for blocks that take less at the end of their stage.
  static int64_t mostOfRank(const PartitionProblem &problem, int64_t stepNs) {
    const int64_t ns = stepNs / problem.microbatches;
    return ns + ns / 16;
  }

  size_t depth() const { return graph.depth(); }
  size_t rankAt(size_t place) const {
    return static_cast<size_t>(problem.rankOf[place]);
  }
  Edge &edgeAt(size_t place, size_t number) {
    return graph.edges[place][number];
  }
  const Edge &edgeAt(size_t place, size_t number) const {
    return graph.edges[place][number];
  }

  void sweep() {
    const std::vector<std::vector<size_t>> before = graph.sweep();
    for (ChainSums &chain : chains)
      for (size_t place = 0; place < depth(); ++place) {
        std::vector<int64_t> &sums = chain.ofEdges[place];
        for (size_t now = 0; now < before[place].size(); ++now)
          sums[now] = sums[before[place][now]];
        sums.resize(before[place].size());
      }
  }

  struct ChainSums {
    int64_t transfersNs = 0;
    std::vector<std::vector<int64_t>> ofEdges; ///< by place
    /// Of the shortest ways from the begin to nodes, and from them to the end.
    std::vector<std::vector<int64_t>> reach, rest;
  };

  int64_t partNs(size_t chain, size_t place, const Edge &edge) const {
    return steps.partNs(chain, graph.partsOf(place, edge), edge.extra);
  }

  /// Takes chains over that steps have told of.
  void addChains() {
    if (chains.size() > steps.chainCount())
      return;
    if (chains.empty())
      chains.emplace_back(); // the mean
    while (chains.size() <= steps.chainCount()) {
      const size_t number = chains.size() - 1;
      ChainSums &chain = chains.emplace_back();
      chain.transfersNs = steps.transfersNs(number);
      for (size_t place = 0; place < depth(); ++place) {
        std::vector<int64_t> &sums = chain.ofEdges.emplace_back();
        for (const Edge &edge : graph.edges[place])
          sums.push_back(partNs(number, place, edge));
        work += 4 * std::ssize(sums);
      }
    }
    ChainSums &mean = chains.front();
    mean.transfersNs = 0;
    for (size_t chain = 1; chain < chains.size(); ++chain)
      mean.transfersNs += chains[chain].transfersNs;
    mean.transfersNs /= std::ssize(chains) - 1;
    mean.ofEdges.assign(depth(), {});
    for (size_t place = 0; place < depth(); ++place)
      for (size_t number = 0; number < graph.edges[place].size(); ++number)
        mean.ofEdges[place].push_back(meanOf(place, number));
  }

  /// Rounded down, so that the mean is never above the longest.
  int64_t meanOf(size_t place, size_t number) const {
    int64_t ns = 0;
    for (size_t chain = 1; chain < chains.size(); ++chain)
      ns += chains[chain].ofEdges[place][number];
    return ns / (std::ssize(chains) - 1);
  }

  /// Drops what no cut below the target has, by each chain.
  void narrow() {
    addChains();
    bool dropped = true;
    for (int round = 0; round < 3 && dropped; ++round) {
      dropped = false;
      for (ChainSums &chain : chains) {
        measure(chain);
        for (size_t place = 0; place < depth(); ++place)
          for (size_t number = 0; number < graph.edges[place].size();
               ++number) {
            Edge &edge = edgeAt(place, number);
            if (edge.isLive && chain.transfersNs +
                                       chain.reach[place][edge.from] +
                                       chain.ofEdges[place][number] +
                                       chain.rest[place + 1][edge.to] >=
                                   targetNs) {
              edge.isLive = false;
              dropped = true;
            }
          }
      }
      if (dropped)
        sweep();
    }
    for (ChainSums &chain : chains)
      measure(chain);
  }

  void measure(ChainSums &chain) {
    chain.reach.assign(depth() + 1, {});
    chain.rest.assign(depth() + 1, {});
    for (size_t place = 0; place <= depth(); ++place) {
      chain.reach[place].assign(graph.nodes[place].size(), kNever);
      chain.rest[place].assign(graph.nodes[place].size(), kNever);
    }
    chain.reach[0][0] = 0;
    std::fill(chain.rest[depth()].begin(), chain.rest[depth()].end(), 0);
    for (size_t place = 0; place < depth(); ++place)
      for (size_t number = 0; number < graph.edges[place].size(); ++number) {
        const Edge &edge = edgeAt(place, number);
        int64_t &least = chain.reach[place + 1][edge.to];
        if (edge.isLive)
          least = std::min(least, chain.reach[place][edge.from] +
                                      chain.ofEdges[place][number]);
      }
    for (size_t place = depth(); place-- > 0;) {
      for (size_t number = 0; number < graph.edges[place].size(); ++number) {
        const Edge &edge = edgeAt(place, number);
        int64_t &least = chain.rest[place][edge.from];
        if (edge.isLive)
          least = std::min(least, chain.ofEdges[place][number] +
                                      chain.rest[place + 1][edge.to]);
      }
      work += 2 * std::ssize(graph.edges[place]);
    }
  }

  struct Search {
    std::optional<Path> path;
    bool isComplete = true; ///< not given up
  };

  /// A path that all chains allow to be below the target.
  Search find() {
    Path path;
    std::vector<int64_t> sums;
    for (const ChainSums &chain : chains)
      sums.push_back(chain.transfersNs);
    followed = 0;
    const bool isComplete = follow(0, 0, sums, path);
    if (isComplete && path.size() == depth())
      return {std::move(path), true};
    return {std::nullopt, isComplete};
  }

  /// Goes on with the edges first that leave chains most room. False: that was
  /// too much to follow.
  bool follow(size_t place, size_t node, const std::vector<int64_t> &sums,
              Path &path) {
    if (place == depth())
      return true;
    std::vector<std::pair<int64_t, size_t>> open;
    for (size_t number : graph.nodes[place][node].edges) {
      const Edge &edge = edgeAt(place, number);
      if (!edge.isLive)
        continue;
      int64_t most = 0;
      for (size_t chain = 0; chain < chains.size() && most < targetNs; ++chain)
        most =
            std::max(most, sums[chain] + chains[chain].ofEdges[place][number] +
                               chains[chain].rest[place + 1][edge.to]);
      if (most < targetNs)
        open.push_back({most, number});
    }
    work += std::ssize(graph.nodes[place][node].edges) * std::ssize(chains);
    std::sort(open.begin(), open.end());
    for (auto [most, number] : open) {
      if (++followed > kMostFollowed)
        return false;
      std::vector<int64_t> next = sums;
      for (size_t chain = 0; chain < chains.size(); ++chain)
        next[chain] += chains[chain].ofEdges[place][number];
      path.push_back(number);
      if (!follow(place + 1, edgeAt(place, number).to, next, path))
        return false;
      if (path.size() == depth())
        return true;
      path.pop_back();
    }
    return true;
  }

  int64_t longestOf(const Path &path) const {
    int64_t longest = 0;
    for (const ChainSums &chain : chains) {
      int64_t ns = chain.transfersNs;
      for (size_t place = 0; place < depth(); ++place)
        ns += chain.ofEdges[place][path[place]];
      longest = std::max(longest, ns);
    }
    return longest;
  }

  /// Bounds what one rank of a path takes, of those that are not known the one
  /// with most to do. False: all are known.
  bool learnOf(const Path &path) {
    std::optional<size_t> most;
    int64_t mostNs = -1;
    for (size_t place = 0; place < depth(); ++place) {
      const Edge &edge = edgeAt(place, path[place]);
      const int64_t ns = graph.workNs(graph.partsOf(place, edge));
      if (!edge.isKnown && ns > mostNs) {
        most = place;
        mostNs = ns;
      }
    }
    if (!most)
      return false;
    Edge &edge = edgeAt(*most, path[*most]);
    edge.isKnown = true;
    const int64_t layers = edge.front + edge.back;
    work += kWorkOfLayers * std::min(layers * layers, kMostOfLayers);
    const std::optional<LeastExtra> least =
        costs.leastExtraOf(problem.rankOf[*most], graph.countsOf(path));
    const std::vector<StageBlocks> parts = graph.partsOf(*most, edge);
    for (size_t number = 0; number < graph.edges[*most].size(); ++number)
      if (hasMore(graph.partsOf(*most, edgeAt(*most, number)), parts))
        raise(*most, number, least);
    return true;
  }

  /// Whether stages end with blocks of the same kinds as others: who has more
  /// below them takes no less longer, since without it all that is left would
  /// still fit.
  bool hasMore(const std::vector<StageBlocks> &parts,
               const std::vector<StageBlocks> &than) const {
    for (size_t i = 0; i < parts.size(); ++i) {
      const int64_t count = than[i].end - than[i].begin;
      if (parts[i].end - parts[i].begin < count)
        return false;
      for (int64_t back = 1; back <= count; ++back)
        if (problem.blocks[static_cast<size_t>(parts[i].end - back)] !=
            problem.blocks[static_cast<size_t>(than[i].end - back)])
          return false;
    }
    return true;
  }

  void raise(size_t place, size_t number,
             const std::optional<LeastExtra> &least) {
    Edge &edge = edgeAt(place, number);
    if (!least) {
      edge.isLive = false;
      return;
    }
    const LeastExtra raised = {
        std::max(edge.extra.ns, least->ns),
        std::max(edge.extra.backwardNs, least->backwardNs),
        std::max(edge.extra.inputGradNs, least->inputGradNs)};
    if (raised == edge.extra)
      return;
    edge.extra = raised;
    for (size_t chain = 1; chain < chains.size(); ++chain)
      chains[chain].ofEdges[place][number] = partNs(chain - 1, place, edge);
    chains.front().ofEdges[place][number] = meanOf(place, number);
    work += 4 * std::ssize(chains);
  }

  void time(const Path &path) {
    std::vector<LeastExtra> ofRanks(problem.moments.size());
    for (size_t place = 0; place < depth(); ++place)
      ofRanks[rankAt(place)] = edgeAt(place, path[place]).extra;
    optimize::time(steps, problem, graph.countsOf(path), ofRanks);
    work += kWorkOfRun * problem.stages() * problem.microbatches;
    addChains();
  }

  const PartitionProblem &problem;
  StepTimes &steps;
  RankCosts costs;
  CutGraph graph;
  int64_t targetNs;          ///< no cut is known to be quicker
  std::vector<int64_t> best; ///< the last one that was
  /// First the mean of all, which no step is below either: it holds what no
  /// single one does, that ranks together have all to do.
  std::vector<ChainSums> chains;
  bool hasKnown = false; ///< the cut that is known is there
  int64_t work = 0, followed = 0;
};

} // namespace

StepBound leastStepNs(const PartitionProblem &problem,
                      const std::vector<int64_t> &counts,
                      const std::vector<LeastExtra> &leastOfRanks,
                      bool isFree) {
  assert(problem.steps && isLegal(problem, counts));
  const int64_t ofCut = leastOfCut(problem, counts, leastOfRanks);
  if (!isFree || !CutGraph::isFor(problem))
    return {ofCut, false, counts};
  BoundSearch search(problem, counts, leastOfRanks, ofCut);
  const int64_t ofAll = search.run();
  return ofAll > 0 ? StepBound{ofAll, true, search.bestCounts()}
                   : StepBound{ofCut, false, counts};
}

} // namespace moe::optimize
