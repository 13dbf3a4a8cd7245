//===- FittingRanksTest.cpp - what fits, put together from drafts ---------===//

#include "driver/FittingRanks.h"

#include "test/unit/Driver/DrawnModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

using namespace moe;
using namespace moe::driver;

namespace {

constexpr int64_t kDevice = 1000, kHost = 500;

/// Drafts whose ranks take a multiple, drawn for each, of what their blocks do.
class Drafts {
public:
  Drafts(const std::string &schedule, uint64_t seed) : draw(seed) {
    Result<Chooser> made = Chooser::make(
        drawModel(draw, 10), orderOf(schedule, 4, 8), draw(0, 50), Freedom());
    EXPECT_TRUE(made) << made.error().message;
    chooser.emplace(std::move(*made));
    const schedule::ScheduleProblem &steps = chooser->steps().problem;
    const std::vector<int64_t> first =
        drawCut(draw, 12, steps.stagesPerReplica());
    // Others move a block, so that most ranks keep theirs, and some as many.
    cuts = {first};
    for (size_t from = 0; from < first.size(); ++from)
      for (size_t to = from + 1; to < std::min(from + 3, first.size()); ++to)
        if (first[from] > 1) {
          cuts.push_back(first);
          --cuts.back()[from];
          ++cuts.back()[to];
        }
  }

  struct Noted {
    std::vector<int64_t> counts;
    std::vector<int64_t> factors; ///< of each rank
    std::vector<bool> fits;
  };

  void note(FittingRanks &fitting) {
    Noted &noted = all.emplace_back();
    noted.counts = cuts[static_cast<size_t>(draw(0, std::ssize(cuts) - 1))];
    Chosen chosen;
    Draft draft;
    chosen.counts = noted.counts;
    for (size_t rank = 0; rank < chooser->rankCount(); ++rank) {
      noted.factors.push_back(draw(1, 6));
      // Which draft the choices are of.
      chosen.choices.push_back({{std::ssize(all) - 1}});
      draft.bytesWithoutWaits.push_back(kDevice + draw(-3, 1));
      draft.hostArenaBytes.push_back(kHost + draw(-3, 1));
      noted.fits.push_back(draft.bytesWithoutWaits.back() <= kDevice &&
                           draft.hostArenaBytes.back() <= kHost);
    }
    draft.stages = stages(noted.counts, noted.factors);
    const std::vector<schedule::StageCosts> copy = draft.stages;
    for (int64_t more = 1; more < chooser->steps().problem.replicas(); ++more)
      draft.stages.insert(draft.stages.end(), copy.begin(), copy.end());
    fitting.note(chosen, draft, kDevice, kHost);
  }

  std::vector<schedule::StageCosts>
  stages(const std::vector<int64_t> &counts,
         const std::vector<int64_t> &factors) const {
    std::vector<schedule::StageCosts> costs;
    for (size_t stage = 0; stage < counts.size(); ++stage) {
      const int64_t ns = counts[stage] * factors[chooser->rankOf(stage)];
      costs.push_back({50 * ns, 60 * ns, 40 * ns});
    }
    return costs;
  }

  /// Of a rank under a cut, the drafts that it fitted in with the same blocks.
  std::vector<int64_t> fitting(size_t rank,
                               const std::vector<int64_t> &counts) const {
    std::vector<int64_t> drafts;
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i].fits[rank] &&
          blocksOf(rank, all[i].counts) == blocksOf(rank, counts))
        drafts.push_back(static_cast<int64_t>(i));
    return drafts;
  }

  optimize::Random draw;
  std::optional<Chooser> chooser;
  std::vector<std::vector<int64_t>> cuts;
  std::vector<Noted> all;

private:
  std::vector<std::vector<int64_t>>
  blocksOf(size_t rank, const std::vector<int64_t> &counts) const {
    std::vector<std::vector<int64_t>> stages;
    int64_t block = 0;
    for (size_t stage = 0; stage < counts.size(); ++stage) {
      std::vector<int64_t> blocks;
      for (int64_t i = 0; i < counts[stage]; ++i)
        blocks.push_back(block++);
      if (chooser->rankOf(stage) == rank)
        stages.push_back(blocks);
    }
    return stages;
  }
};

class Fitting : public testing::TestWithParam<std::string> {};

TEST_P(Fitting, RanksHaveTheQuickestThatTheyFittedWith) {
  int known = 0, unknown = 0, ofOthers = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Drafts drafts(GetParam(), seed);
    FittingRanks fitting(*drafts.chooser);
    for (int round = 0; round < 10; ++round) {
      drafts.note(fitting);
      for (const std::vector<int64_t> &counts : drafts.cuts) {
        const auto choices = fitting.of(counts);
        ASSERT_EQ(choices.size(), drafts.chooser->rankCount());
        for (size_t rank = 0; rank < choices.size(); ++rank) {
          const std::vector<int64_t> fitted = drafts.fitting(rank, counts);
          auto factor = [&](int64_t draft) {
            return drafts.all[static_cast<size_t>(draft)].factors[rank];
          };
          ASSERT_EQ(choices[rank].has_value(), !fitted.empty());
          ++(fitted.empty() ? unknown : known);
          if (fitted.empty())
            continue;
          const int64_t chosen = (*choices[rank])[0][0];
          EXPECT_EQ(std::count(fitted.begin(), fitted.end(), chosen), 1);
          for (int64_t other : fitted)
            EXPECT_LE(factor(chosen), factor(other));
          ofOthers += drafts.all[static_cast<size_t>(chosen)].counts != counts;
        }
      }
    }
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(known, 500);
  EXPECT_GT(unknown, 500);
  EXPECT_GT(ofOthers, 200);
}

// Of all that fitted, put together in every way.
TEST_P(Fitting, RanksTogetherAreTheQuickestOfAll) {
  int found = 0, none = 0, better = 0;
  for (uint64_t seed = 100; seed < 130; ++seed) {
    Drafts drafts(GetParam(), seed);
    const Chooser &chooser = *drafts.chooser;
    FittingRanks fitting(chooser);
    for (int64_t count = drafts.draw(1, 7); count > 0; --count)
      drafts.note(fitting);
    constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
    auto stepNs = [&](const std::vector<int64_t> &counts,
                      const std::vector<int64_t> &factors) {
      Result<int64_t> ns =
          chooser.stepNs(counts, drafts.stages(counts, factors));
      EXPECT_TRUE(ns) << ns.error().message;
      return ns ? *ns : kNone;
    };
    int64_t least = kNone, leastOfDrafts = kNone;
    for (const Drafts::Noted &noted : drafts.all) {
      std::vector<int64_t> factors;
      std::function<void(size_t)> tryRank = [&](size_t rank) {
        if (rank == chooser.rankCount()) {
          least = std::min(least, stepNs(noted.counts, factors));
          return;
        }
        for (int64_t draft : drafts.fitting(rank, noted.counts)) {
          factors.push_back(
              drafts.all[static_cast<size_t>(draft)].factors[rank]);
          tryRank(rank + 1);
          factors.pop_back();
        }
      };
      tryRank(0);
      if (std::count(noted.fits.begin(), noted.fits.end(), false) == 0)
        leastOfDrafts =
            std::min(leastOfDrafts, stepNs(noted.counts, noted.factors));
    }
    Result<std::optional<FittingRanks::Combination>> quickest =
        fitting.quickest();
    ASSERT_TRUE(quickest) << quickest.error().message;
    ASSERT_EQ(quickest->has_value(), least != kNone);
    ++(least != kNone ? found : none);
    if (least == kNone)
      continue;
    better += least < leastOfDrafts;
    const FittingRanks::Combination &made = **quickest;
    EXPECT_EQ(made.stepNs, least);
    std::vector<int64_t> factors;
    ASSERT_EQ(made.choices.size(), chooser.rankCount());
    for (size_t rank = 0; rank < chooser.rankCount(); ++rank) {
      const int64_t draft = made.choices[rank][0][0];
      const std::vector<int64_t> fitted = drafts.fitting(rank, made.counts);
      EXPECT_EQ(std::count(fitted.begin(), fitted.end(), draft), 1);
      factors.push_back(drafts.all[static_cast<size_t>(draft)].factors[rank]);
    }
    EXPECT_EQ(stepNs(made.counts, factors), least);
  }
  EXPECT_GT(found, 5);
  EXPECT_GT(none, 1);
  EXPECT_GT(better, 3);
}

INSTANTIATE_TEST_SUITE_P(Schedules, Fitting,
                         testing::Values("1f1b", "interleaved", "zb-v",
                                         "dualpipe"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
