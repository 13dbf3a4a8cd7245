//===- RandomCuts.h - models to cut, and what steps take --------*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Partition.h"

#include "test/unit/Optimize/RandomLag.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace moe::optimize {

/// Ranks with a stage each or, in a V, two, which hold fewer microbatches the
/// later they come. Their capacities are left out.
inline void addRanks(PartitionProblem &problem, int64_t ranks, bool isV) {
  for (int64_t rank = 0; rank < ranks; ++rank)
    problem.rankOf.push_back(rank);
  if (isV)
    for (int64_t rank = ranks; rank-- > 0;)
      problem.rankOf.push_back(rank);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    std::vector<RankMoment> &moments = problem.moments.emplace_back();
    if (isV) {
      moments.push_back({{ranks, rank}, {0, 1}, 0, 1});
      moments.push_back({{ranks - 1, rank + 1}, {1, 0}, 1, 0});
    } else {
      moments.push_back({{ranks - rank - 1}, {0}, 0});
    }
    problem.otherBytes.push_back(100);
  }
}

/// An embedding, up to eight layers of two kinds, a head; two to four ranks
/// with one stage each, or two with two in a V. Ranks hold fewer microbatches
/// the later they come, and have room for some of what layers keep.
inline PartitionProblem randomProblem(Random &random, bool isV) {
  PartitionProblem problem;
  for (int kind = 0; kind < 4; ++kind) {
    BlockKind &made = problem.kinds.emplace_back();
    made.isLayer = kind == 1 || kind == 2;
    made.forwardNs = random(made.isLayer ? 500 : 0, 1000);
    made.backwardNs = 2 * made.forwardNs;
    made.persistentBytes = random(0, 3000);
    int64_t kept = random(made.isLayer ? 300 : 0, 600);
    made.options.push_back({0, kept, kept + random(0, 200)});
    if (made.isLayer)
      for (int64_t i = random(1, 3); i > 0; --i) {
        kept = random(20, kept);
        made.options.push_back(
            {made.options.back().extraNs + random(10, made.forwardNs / 2), kept,
             kept + random(0, 300)});
        addLag(made.options.back(), random, made.forwardNs / 4);
      }
    for (LayerOption &option : made.options)
      option.pendingBytes = random(0, 100);
    if (made.isLayer && kind == 1) {
      made.lastOptions = made.options;
      for (LayerOption &option : made.lastOptions)
        option.extraNs += option.extraNs / 2;
    }
  }
  int64_t ranks = isV ? 2 : random(2, 4);
  int64_t layers = random(2 * ranks, 8);
  problem.blocks.push_back(0);
  for (int64_t l = 0; l < layers; ++l)
    problem.blocks.push_back(l < layers / 3 ? 1 : 2);
  problem.blocks.push_back(3);
  problem.microbatches = random(ranks, 16);
  addRanks(problem, ranks, isV);
  for (int64_t rank = 0; rank < ranks; ++rank)
    problem.capacityBytes.push_back(random(4000, 16000));
  return problem;
}

inline std::vector<std::vector<int64_t>>
allCuts(const PartitionProblem &problem) {
  std::vector<std::vector<int64_t>> cuts;
  auto blocks = static_cast<int64_t>(problem.blocks.size());
  std::vector<int64_t> counts;
  auto extend = [&](auto &self, int64_t left) -> void {
    if (static_cast<int64_t>(counts.size()) + 1 == problem.stages()) {
      counts.push_back(left);
      if (isLegal(problem, counts))
        cuts.push_back(counts);
      counts.pop_back();
      return;
    }
    for (int64_t count = 1; count < left; ++count) {
      counts.push_back(count);
      self(self, left - count);
      counts.pop_back();
    }
  };
  extend(extend, blocks);
  return cuts;
}

/// Steps that are as long as the longest of some chains of programs: all of
/// each rank, and random ones.
class RandomChains : public StepTimes {
public:
  RandomChains(const PartitionProblem &problem, Random &random)
      : problem(problem) {
    const int64_t most = problem.microbatches;
    for (int64_t chain = 0; chain < problem.ranks() + 5; ++chain) {
      std::vector<Passes> &passes = all.emplace_back();
      for (int64_t rank : problem.rankOf)
        passes.push_back(
            chain < problem.ranks()
                ? Passes{chain == rank ? most : random(0, 1),
                         chain == rank ? most : random(0, 1),
                         chain == rank ? most : random(0, 1)}
                : Passes{random(0, most), random(0, most), random(0, most)});
    }
  }

  int64_t ns(const std::vector<int64_t> &counts,
             const std::vector<StageTimes> &longer) override {
    size_t longest = 0;
    for (size_t chain = 0; chain < all.size(); ++chain)
      if (chainNs(chain, counts, longer) > chainNs(longest, counts, longer))
        longest = chain;
    if (std::find(known.begin(), known.end(), longest) == known.end())
      known.push_back(longest);
    return chainNs(longest, counts, longer);
  }

  int64_t leastNs(const std::vector<int64_t> &counts,
                  const std::vector<StageTimes> &longer) const override {
    int64_t least = 0;
    for (size_t chain : known)
      least = std::max(least, chainNs(chain, counts, longer));
    return least;
  }

  size_t chainCount() const override { return known.size(); }
  int64_t transfersNs(size_t) const override { return kTransfersNs; }

  int64_t partNs(size_t chain, const std::vector<StageBlocks> &ofRank,
                 const LeastExtra &extra) const override {
    int64_t ns = 0;
    Passes least = {problem.microbatches, problem.microbatches,
                    problem.microbatches};
    for (const StageBlocks &part : ofRank) {
      const Passes &passes = all[known[chain]][static_cast<size_t>(part.stage)];
      ns += workNs(passes, part);
      least = {std::min(least.forwards, passes.forwards),
               std::min(least.inputGrads, passes.inputGrads),
               std::min(least.weightGrads, passes.weightGrads)};
    }
    return ns + extra.inChain(static_cast<double>(least.forwards),
                              static_cast<double>(least.inputGrads),
                              static_cast<double>(least.weightGrads));
  }

private:
  static constexpr int64_t kTransfersNs = 77;
  struct Passes {
    int64_t forwards = 0, inputGrads = 0, weightGrads = 0;
  };

  int64_t workNs(const Passes &passes, const StageBlocks &part) const {
    int64_t ns = 0;
    for (int64_t b = part.begin; b < part.end; ++b) {
      const BlockKind &kind = problem.kinds[static_cast<size_t>(
          problem.blocks[static_cast<size_t>(b)])];
      ns += passes.forwards * kind.forwardNs +
            passes.inputGrads * kind.backwardNs;
    }
    return ns;
  }

  int64_t chainNs(size_t chain, const std::vector<int64_t> &counts,
                  const std::vector<StageTimes> &longer) const {
    int64_t ns = kTransfersNs, begin = 0;
    for (size_t stage = 0; stage < counts.size(); ++stage) {
      const Passes &passes = all[chain][stage];
      ns += workNs(passes, {static_cast<int64_t>(stage), begin,
                            begin + counts[stage]}) +
            passes.forwards * longer[stage].forwardNs +
            passes.inputGrads *
                (longer[stage].backwardNs - longer[stage].weightGradNs) +
            passes.weightGrads * longer[stage].weightGradNs;
      begin += counts[stage];
    }
    return ns;
  }

  const PartitionProblem &problem;
  std::vector<std::vector<Passes>> all;
  std::vector<size_t> known; ///< of steps before
};

/// What stages take longer by these choices of ranks.
inline std::vector<StageTimes> longerBy(const PartitionProblem &problem,
                                        const std::vector<int64_t> &counts,
                                        const std::vector<Choices> &choices) {
  std::vector<StageTimes> longer;
  std::vector<size_t> next(problem.moments.size(), 0);
  for (int64_t rank : problem.rankOf) {
    const auto r = static_cast<size_t>(rank);
    const size_t place = next[r]++;
    longer.push_back(
        timesOf(rankProblem(problem, counts, rank), place, choices[r][place]));
  }
  return longer;
}

} // namespace moe::optimize
