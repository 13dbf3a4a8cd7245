//===- SearchCases.h - instances that the search is tried on ----*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Search.h"

#include <random>
#include <string>
#include <vector>

namespace moe::schedule::test {

inline ScheduleProblem problemOf(int64_t ranks, int64_t microbatches,
                                 int64_t stagesPerRank, Placement placement) {
  ScheduleProblem problem;
  problem.ranks = ranks;
  problem.microbatches = microbatches;
  problem.stagesPerRank = stagesPerRank;
  problem.placement = placement;
  return problem;
}

/// How the times of a model lie on its stages.
enum class Profile {
  unit,      ///< F = B = W
  measured,  ///< F = 18.52, B = 18.09, W = 9.34, transfers 0.60
  ends,      ///< the measured ones, an embedding and a heavy head at the ends
  heavyGrad, ///< B and W twice F, slow links
  uneven,    ///< every stage of its own, from the seed
};

/// The same whole model, laid on ranks in one way: F, B, W of a rank's share of
/// the layers, split evenly over its stages. One unit of memory is 1000 bytes a
/// rank and microbatch, 800 of them until the weight gradient but for `unit`.
inline Costs costsOf(const ScheduleProblem &problem, Profile profile,
                     uint32_t seed) {
  int64_t f = 1200, b = 1200, w = 1200, transfer = 0, weightBytes = 1000;
  if (profile == Profile::measured || profile == Profile::ends) {
    f = 1852, b = 1809, w = 934, transfer = 60, weightBytes = 800;
  } else if (profile == Profile::heavyGrad) {
    f = 1000, b = 2000, w = 2000, transfer = 300, weightBytes = 500;
  } else if (profile == Profile::uneven) {
    transfer = 50, weightBytes = 700;
  }
  int64_t share = problem.stagesPerRank / problem.replicas();
  std::mt19937 random(seed);
  Costs costs;
  costs.transferNs = transfer;
  for (int64_t s = 0; s < problem.stages(); ++s) {
    StageCosts stage{f / share, b / share, w / share, 1000 / share,
                     weightBytes / share};
    if (profile == Profile::ends) {
      if (problem.isFirst(s))
        stage.weightGradNs += 300;
      if (problem.isLast(s)) {
        stage.forwardNs += 500;
        stage.inputGradNs += 500;
        stage.weightGradNs += 500;
        stage.savedBytes += 200;
      }
    } else if (profile == Profile::uneven) {
      auto vary = [&](int64_t ns) {
        return ns * (80 + static_cast<int64_t>(random() % 41)) / 100;
      };
      stage.forwardNs = vary(stage.forwardNs);
      stage.inputGradNs = vary(stage.inputGradNs);
      stage.weightGradNs = vary(stage.weightGradNs);
    }
    costs.stages.push_back(stage);
  }
  return costs;
}

/// The structures that a model can have: one stage a rank, V and loop with two.
/// `units`: the limit of each rank; empty: none.
inline std::vector<Structure> structuresOf(int64_t ranks, int64_t microbatches,
                                           Profile profile, uint32_t seed,
                                           const std::vector<double> &units) {
  std::vector<Structure> structures;
  for (auto [stagesPerRank, placement] : {std::pair{1, Placement::loop},
                                          {2, Placement::v},
                                          {2, Placement::loop}}) {
    ScheduleProblem problem =
        problemOf(ranks, microbatches, stagesPerRank, placement);
    Structure structure{problem, costsOf(problem, profile, seed)};
    for (double unit : units)
      structure.costs.limitBytes.push_back(static_cast<int64_t>(unit * 1000) +
                                           300);
    structures.push_back(std::move(structure));
  }
  return structures;
}

struct GridCase {
  std::string limit; ///< in words
  std::vector<Structure> structures;
};

/// Every profile and number of microbatches under every limit: from one unit,
/// the least that any schedule needs, to none at all, and ranks with limits of
/// their own.
inline std::vector<GridCase> gridOf(const std::vector<int64_t> &rankCounts) {
  std::vector<GridCase> grid;
  for (int64_t ranks : rankCounts)
    for (int64_t microbatches : {ranks, 2 * ranks, 3 * ranks + 1})
      for (Profile profile : {Profile::unit, Profile::measured, Profile::ends,
                              Profile::heavyGrad, Profile::uneven}) {
        auto seed = static_cast<uint32_t>(1000 * ranks + 10 * microbatches +
                                          static_cast<int64_t>(profile));
        auto add = [&](const std::string &limit,
                       const std::vector<double> &units) {
          grid.push_back(
              {limit, structuresOf(ranks, microbatches, profile, seed, units)});
        };
        auto all = static_cast<size_t>(ranks);
        auto many = static_cast<double>(ranks);
        for (auto [limit, share] : {std::pair{"P/4", 0.25},
                                    {"P/3", 1.0 / 3},
                                    {"P/2", 0.5},
                                    {"3P/4", 0.75},
                                    {"P", 1.0},
                                    {"3P/2", 1.5},
                                    {"2P", 2.0}})
          add(limit, std::vector<double>(all, std::max(1.0, share * many)));
        add("none", {});
        std::mt19937 random(seed);
        std::vector<double> own;
        for (size_t rank = 0; rank < all; ++rank)
          own.push_back(1 + static_cast<double>(random() % 100) / 100 * many);
        add("by rank", own);
      }
  return grid;
}

} // namespace moe::schedule::test
