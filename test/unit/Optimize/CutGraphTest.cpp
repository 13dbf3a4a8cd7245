// Paths against all cuts.
#include "compiler/Optimize/CutGraph.h"

#include "test/unit/Optimize/RandomCuts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

namespace moe::optimize {
namespace {

/// The cuts of all paths.
std::multiset<std::vector<int64_t>> cutsOf(const CutGraph &graph) {
  std::multiset<std::vector<int64_t>> cuts;
  CutGraph::Path path;
  auto follow = [&](auto &self, size_t node) -> void {
    const size_t place = path.size();
    if (place == graph.depth()) {
      cuts.insert(graph.countsOf(path));
      return;
    }
    for (size_t number : graph.nodes[place][node].edges) {
      path.push_back(number);
      self(self, graph.edges[place][number].to);
      path.pop_back();
    }
  };
  follow(follow, 0);
  return cuts;
}

/// Whether a rank of the cut works for longer.
bool exceeds(const PartitionProblem &problem,
             const std::vector<int64_t> &counts, int64_t mostNs) {
  std::vector<int64_t> ofRanks(problem.moments.size(), 0);
  size_t block = 0;
  for (size_t stage = 0; stage < counts.size(); ++stage)
    for (int64_t b = 0; b < counts[stage]; ++b, ++block)
      ofRanks[static_cast<size_t>(problem.rankOf[stage])] +=
          problem.kinds[static_cast<size_t>(problem.blocks[block])].workNs();
  return *std::max_element(ofRanks.begin(), ofRanks.end()) > mostNs;
}

TEST(CutGraph, HasEveryCutOnce) {
  Random random(61);
  size_t left = 0;
  for (int trial = 0; trial < 80; ++trial) {
    PartitionProblem problem = randomProblem(random, trial % 2 == 1);
    if (trial % 5 == 4) { // a pin
      problem.pins.assign(problem.blocks.size(), -1);
      problem.pins[2] = random(0, 1);
    }
    ASSERT_TRUE(CutGraph::isFor(problem));
    const int64_t mostNs = trial % 3 == 0 ? std::numeric_limits<int64_t>::max()
                                          : random(6000, 15000);
    std::multiset<std::vector<int64_t>> expected;
    for (const std::vector<int64_t> &counts : allCuts(problem))
      if (!exceeds(problem, counts, mostNs))
        expected.insert(counts);
      else
        ++left;
    CutGraph graph(problem, mostNs);
    EXPECT_EQ(cutsOf(graph), expected) << "trial " << trial;
    for (const std::vector<int64_t> &counts : expected) {
      const std::optional<CutGraph::Path> path = graph.pathOf(counts);
      ASSERT_TRUE(path) << "trial " << trial;
      EXPECT_EQ(graph.countsOf(*path), counts);
    }
    if (expected.empty())
      continue;
    // Without one of its edges, a cut is gone, and those without it stay.
    const std::vector<int64_t> gone = *expected.begin();
    CutGraph::Edge &edge = graph.edges[0][graph.pathOf(gone)->front()];
    const int64_t front = edge.front, back = edge.back;
    edge.isLive = false;
    graph.sweep();
    EXPECT_FALSE(graph.pathOf(gone));
    std::erase_if(expected, [&](const std::vector<int64_t> &counts) {
      return counts.front() == front && (back == 0 || counts.back() == back);
    });
    EXPECT_EQ(cutsOf(graph), expected) << "trial " << trial;
  }
  EXPECT_GT(left, 100u);
}

TEST(CutGraph, IsNotForStagesThatLieOtherwise) {
  Random random(67);
  PartitionProblem problem = randomProblem(random, true);
  problem.rankOf = {0, 1, 0, 1};
  EXPECT_FALSE(CutGraph::isFor(problem));
  problem.rankOf = {0, 1, 1, 0};
  EXPECT_TRUE(CutGraph::isFor(problem));
}

} // namespace
} // namespace moe::optimize
