#include "compiler/Schedule/Holdings.h"
#include "compiler/Schedule/Generators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace moe::schedule {
namespace {

ScheduleProblem problemOf(const GeneratorInfo &generator, int64_t ranks,
                          int64_t microbatches) {
  ScheduleProblem problem;
  problem.ranks = ranks;
  problem.microbatches = microbatches;
  problem.stagesPerRank = generator.stagesPerRank;
  problem.placement = generator.placement;
  return problem;
}

TEST(Holdings, OneForwardOneBackwardHoldsRanksBehindIt) {
  Result<Schedule> schedule = oneForwardOneBackward({4, 8});
  ASSERT_TRUE(schedule.ok());
  for (int64_t rank = 0; rank < 4; ++rank) {
    std::vector<Holding> found = holdings(*schedule, rank);
    ASSERT_EQ(found.size(), static_cast<size_t>(4 - rank));
    EXPECT_THAT(found.back().held, testing::ElementsAre(3 - rank));
    EXPECT_THAT(found.back().pending, testing::ElementsAre(0));
    EXPECT_EQ(found.back().overlapped, -1);
  }
}

// With what runs added, the most that is held is what maxInFlight counts (which
// counts microbatches to the end of their weight gradients).
TEST(Holdings, AgreeWithTheCountOfEverySchedule) {
  for (const GeneratorInfo &generator : generators())
    for (int64_t ranks : {2, 4, 8}) {
      Result<Schedule> schedule =
          generate(generator.name, problemOf(generator, ranks, 24));
      if (!schedule.ok())
        continue;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        int64_t most = 0;
        for (const Holding &holding : holdings(*schedule, rank)) {
          int64_t count = 1 + (holding.overlapped >= 0);
          for (size_t s = 0; s < holding.held.size(); ++s) {
            EXPECT_GE(holding.held[s], 0);
            EXPECT_GE(holding.pending[s], 0);
            count += holding.held[s] + holding.pending[s];
          }
          most = std::max(most, count);
        }
        EXPECT_EQ(most, maxInFlight(*schedule, rank))
            << generator.name << ", rank " << rank << " of " << ranks;
      }
    }
}

} // namespace
} // namespace moe::schedule
