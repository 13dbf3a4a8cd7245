//===- CutGraph.h - cuts of a model as paths --------------------*- C++ -*-===//
//
// Private to PartitionBound.cpp. At each place on a path one rank takes blocks
// from the front, or from both ends, of those that are left: where stages lie
// one on a rank, or two on each that turn there.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Partition.h"

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace moe::optimize {

class CutGraph {
public:
  /// What is taken when `front` blocks and `back` ones are gone.
  struct Node {
    int64_t front = 0, back = 0;
    std::vector<size_t> edges; ///< from here on
  };
  /// What a rank takes.
  struct Edge {
    size_t from = 0, to = 0;     ///< nodes of its place, and of the next
    int64_t front = 0, back = 0; ///< blocks of its stages
    LeastExtra extra = {};       ///< no choices that fit take less
    bool isKnown = false;        ///< from bounds of this rank
    bool isLive = true;          ///< else it goes with the next sweep
  };
  /// Numbers of edges, one for each place.
  using Path = std::vector<size_t>;

  /// Whether stages lie such that a cut is a path.
  static bool isFor(const PartitionProblem &problem);

  /// All legal cuts of which no rank works for longer than `mostNs` for a
  /// microbatch.
  CutGraph(const PartitionProblem &problem, int64_t mostNs);

  size_t depth() const { return edges.size(); }
  /// The path of a cut; none: it is not there.
  std::optional<Path> pathOf(const std::vector<int64_t> &counts) const;
  std::vector<int64_t> countsOf(const Path &path) const;
  /// Blocks of the stages of the rank.
  std::vector<StageBlocks> partsOf(size_t place, const Edge &edge) const;
  /// What they take without policies.
  int64_t workNs(const std::vector<StageBlocks> &parts) const;

  /// Forgets edges that are not live. Gives for each place the numbers that
  /// edges had before, by the numbers that they have now.
  std::vector<std::vector<size_t>> sweep();

  std::vector<std::vector<Node>> nodes; ///< by place, and behind the last
  std::vector<std::vector<Edge>> edges; ///< by place

private:
  bool isRow() const { return problem.stages() == problem.ranks(); }
  int64_t workNs(int64_t begin, int64_t end) const {
    return workBefore[static_cast<size_t>(end)] -
           workBefore[static_cast<size_t>(begin)];
  }
  void extend(size_t place, size_t from, int64_t mostNs);
  void add(size_t place, size_t from, int64_t front, int64_t back);
  void dropDeadEnds();

  const PartitionProblem &problem;
  int64_t blocks;
  std::vector<int64_t> workBefore; ///< of the blocks before each
  /// Of the nodes of the next place, by what is gone.
  std::map<std::pair<int64_t, int64_t>, size_t> numbers;
};

} // namespace moe::optimize
