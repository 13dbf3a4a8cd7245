//===- PartitionCosts.h - what cuts come to ---------------------*- C++ -*-===//
//
// Private to the searches over cuts (Partition.cpp, PartitionChain.cpp,
// PartitionExact.cpp, PartitionLocal.cpp).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Partition.h"

#include <bit>
#include <compare>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

namespace moe::optimize {

/// The first block of each stage, and behind the last one.
std::vector<int64_t> beginsOf(const std::vector<int64_t> &counts);

/// A rank with the blocks that it has.
struct RankCost {
  int64_t ns = 0;      ///< of a microbatch, both ways
  int64_t extraNs = 0; ///< of that, what its choices take
  int64_t peakBytes = 0;
  int64_t excessBytes = 0;
  Choices choices;
  std::vector<StageTimes> longer; ///< that its stages take by these
  /// Whether it is certain that no choices that fit take less; or, where these
  /// do not fit, that none do.
  bool isExact = false;
  bool isSharp = false; ///< sharpen() is done with it
};

/// A rank, what it may have on the host, and its blocks.
using RankKey = std::vector<int64_t>;

/// Costs of ranks, each worked out once for the same blocks.
class RankCosts {
public:
  /// `fronts`: see partition().
  RankCosts(const PartitionProblem &problem, Effort effort,
            RankFronts *fronts = nullptr);

  const RankCost &of(int64_t rank, const std::vector<int64_t> &counts) {
    return at(rank, counts).second;
  }
  /// From now on of() tells of the quickest choices that a search for the
  /// rank's capacity finds (ChoiceSearch.h), where its front is not exact.
  void sharpen(int64_t rank, const std::vector<int64_t> &counts);

  /// Gives layers of a kind on a rank one treatment where that takes no longer,
  /// next to nothing: alike they are as they were measured.
  void level(int64_t rank, const std::vector<int64_t> &counts);

  /// Of what a rank takes, what its choices have to cost for a search.
  static constexpr int64_t kWorthASearch = 1000;
  /// What choices of `rank` that fit take longer than without policies, by
  /// bounds (leastExtraNs); none: nothing fits.
  std::optional<LeastExtra> leastExtraOf(int64_t rank,
                                         const std::vector<int64_t> &counts);
  /// Whether choices of `rank` may fit, by bounds: where leastNs() is not -1,
  /// and sooner known.
  bool mayFit(int64_t rank, const std::vector<int64_t> &counts);
  /// The time of `rank` is never less, by bounds; -1: nothing fits.
  int64_t leastNs(int64_t rank, const std::vector<int64_t> &counts);
  /// Whether it pays to bound a rank before it is worked out.
  bool areCostly() const { return effort == Effort::exact; }
  /// How many were worked out, and whether all of them exactly.
  size_t size() const { return costs.size(); }
  bool areExact() const;

private:
  struct HashOfPlace {
    size_t operator()(const std::vector<int64_t> &place) const {
      uint64_t hash = 0;
      for (int64_t each : place) // 2^64 over the golden ratio, as Knuth has it
        hash = (std::rotl(hash, 23) ^ static_cast<uint64_t>(each)) *
               0x9E3779B97F4A7C15u;
      return hash ^ hash >> 32;
    }
  };

  std::pair<const RankKey, RankCost> &at(int64_t rank,
                                         const std::vector<int64_t> &counts);
  int64_t leastExtraNs(const RankKey &key, const std::vector<int64_t> &counts);
  RankKey keyOf(int64_t rank, const std::vector<int64_t> &counts) const;
  /// Sets `place`.
  void setPlace(int64_t rank, const std::vector<int64_t> &counts);
  RankCost workOut(int64_t rank, const std::vector<int64_t> &counts,
                   const RankKey &key);
  RankCost costOf(const PolicyProblem &choice, int64_t capacity,
                  PolicyFront::Point taken, Choices choices) const;
  static void setLonger(const PolicyProblem &choice, RankCost &cost);
  void improve(RankCost &cost, const RankKey &key, const PolicyProblem &choice,
               Effort byEffort);

  const PartitionProblem &problem;
  Effort effort;
  RankFronts own; ///< where none are given
  RankFronts &fronts;
  std::vector<std::vector<int64_t>> stagesOf; ///< by rank
  std::vector<int64_t> alike;                 ///< see UniformFront
  std::map<RankKey, RankCost> costs;
  /// The same by where the stages of a rank begin and how many blocks they
  /// have, which is sooner said; each rank first.
  std::unordered_map<std::vector<int64_t>, std::pair<const RankKey, RankCost> *,
                     HashOfPlace>
      ofPlace;
  std::vector<int64_t> place; ///< a key of that
  std::map<RankKey, bool> fitting;
  std::map<RankKey, int64_t> leastExtra; ///< -1: nothing fits
  /// LeastExtra::backwardNs and inputGradNs.
  std::map<RankKey, std::pair<int64_t, int64_t>> leastBackward;
};

/// What is minimized. Where nothing fits, the largest excess comes first: it is
/// what a budget has to be larger by.
struct CutValue {
  int64_t mostExcess = 0; ///< of a rank
  int64_t allExcess = 0;  ///< of all ranks together
  int64_t objective = 0;
  auto operator<=>(const CutValue &) const = default;

  bool fits() const { return mostExcess == 0; }
};

CutValue valueOf(const PartitionProblem &problem, RankCosts &costs,
                 const std::vector<int64_t> &counts);

/// What the stages of a cut take longer than without policies.
std::vector<StageTimes> longerOf(const PartitionProblem &problem,
                                 RankCosts &costs,
                                 const std::vector<int64_t> &counts);

/// With how long the step takes, where PartitionProblem::steps tells, instead
/// of the objective.
CutValue stepOf(const PartitionProblem &problem, RankCosts &costs,
                const std::vector<int64_t> &counts);

/// Whether a stage may consist of the blocks from `begin` to before `end`.
bool mayHold(const PartitionProblem &problem, int64_t stage, int64_t begin,
             int64_t end);

/// With one stage a rank, the cut of least excess, then least objective, by
/// what costs.of() says, of those whose ranks take no longer than `known`, a
/// legal cut, allows; none: there is none. Where ranks are costly to work out,
/// only those of cuts that bounds leave are.
std::optional<std::vector<int64_t>> bestCut(const PartitionProblem &problem,
                                            RankCosts &costs,
                                            const std::vector<int64_t> &known);

/// With several stages a rank, where local searches by the objective end: from
/// `start`, a legal cut, and from the one that is best without memory.
/// `fronts`: see partition().
std::vector<std::vector<int64_t>> localCuts(const PartitionProblem &problem,
                                            RankCosts &costs,
                                            const std::vector<int64_t> &start,
                                            RankFronts *fronts);

/// Adds to legal cuts where local searches end by how long steps take, which
/// has to be known, from each of them (brief: from the best).
void addTimedCuts(const PartitionProblem &problem, RankCosts &costs,
                  Effort effort, std::vector<std::vector<int64_t>> &cuts);

/// Goes through the cuts whose ranks could take less than those of `known`, a
/// legal cut, or through all where it does not fit, until it has been at
/// `mostNodes` places; for stages of which several lie on a rank.
struct CutEnumeration {
  std::vector<int64_t> counts; ///< the best cut, `known` if none is better
  bool isComplete = false;     ///< it fits, and nothing was left out
};
CutEnumeration enumerateCuts(const PartitionProblem &problem, RankCosts &costs,
                             const std::vector<int64_t> &known,
                             int64_t mostNodes);

} // namespace moe::optimize
