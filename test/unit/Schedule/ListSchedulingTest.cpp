#include "compiler/Schedule/ListScheduling.h"
#include "compiler/Schedule/RankClock.h"
#include "compiler/Schedule/WeightGradients.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace moe::schedule {
namespace {

TEST(RankClock, NamesTheEarliestAndOfEqualsTheLowest) {
  std::mt19937 random(1);
  for (size_t count : {1, 2, 3, 7, 32}) {
    RankClock clock(count);
    std::vector<int64_t> times(count, RankClock::kNever);
    EXPECT_FALSE(clock.hasNext());
    for (int i = 0; i < 500; ++i) {
      size_t rank = random() % count;
      times[rank] = random() % 4 ? static_cast<int64_t>(random() % 20)
                                 : RankClock::kNever;
      clock.set(rank, times[rank]);
      auto least = std::min_element(times.begin(), times.end());
      EXPECT_EQ(clock.hasNext(), *least < RankClock::kNever);
      if (clock.hasNext())
        EXPECT_EQ(clock.next(), static_cast<size_t>(least - times.begin()));
      EXPECT_EQ(clock[rank], times[rank]);
    }
    clock.reset();
    EXPECT_FALSE(clock.hasNext());
  }
}

/// Whatever the turns: every action once, within the limits, and executable.
TEST(ListScheduling, ComesToItsEndWithinTheLimits) {
  std::mt19937 random(2);
  size_t made = 0;
  for (int round = 0; round < 100; ++round) {
    ScheduleProblem problem;
    problem.ranks = 1 + static_cast<int64_t>(random() % 5);
    problem.microbatches = 1 + static_cast<int64_t>(random() % 8);
    problem.stagesPerRank = 2;
    problem.placement = Placement::v;
    Costs costs;
    costs.transferNs = static_cast<int64_t>(random() % 50);
    ListProblem list{problem, costs, 6, {}, {}, {}};
    for (int64_t s = 0; s < problem.stages(); ++s) {
      auto upTo = [&](int64_t most) {
        return static_cast<int64_t>(random()) % most;
      };
      costs.stages.push_back({upTo(90), upTo(90), upTo(90), 1, 1});
      list.turns.push_back({upTo(40), upTo(80), upTo(90)});
      list.stageLimits.push_back(1 + upTo(3));
    }
    // A stage limit is smaller where the rank has a later stage.
    for (int64_t rank = 0; rank < problem.ranks; ++rank)
      list.rankLimits.push_back(list.stageLimits[static_cast<size_t>(rank)] +
                                1 + static_cast<int64_t>(random() % 2));
    int64_t shortestNs = std::numeric_limits<int64_t>::max();
    WeightGradFiller filler(
        problem, costs,
        std::vector<ActionHolding>(static_cast<size_t>(problem.stages())),
        list.rankLimits);
    for (const Sequence &order : listSchedules(list, shortestNs)) {
      ++made;
      ASSERT_TRUE(filler.run(order, {})) << round;
      EXPECT_TRUE(verify(Schedule{"list", problem, filler.actions()}).ok());
      // As listed, too: with every weight gradient where it stands.
      size_t listed = 0;
      for (const auto &entries : order)
        listed += entries.size();
      EXPECT_EQ(listed, static_cast<size_t>(3 * problem.stages() *
                                            problem.microbatches));
    }
  }
  EXPECT_GT(made, 300u);
}

} // namespace
} // namespace moe::schedule
