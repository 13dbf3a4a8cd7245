#include "compiler/Schedule/LowerBound.h"

#include "SearchCases.h"

#include <gmock/gmock.h>

namespace moe::schedule::test {
namespace {

using testing::HasSubstr;

LowerBound boundOf(const ScheduleProblem &problem, const Costs &costs) {
  Result<LowerBound> bound = lowerBound(problem, costs);
  EXPECT_TRUE(bound.ok()) << bound.error().message;
  return bound.ok() ? *bound : LowerBound();
}

/// F = B = W = 1, no transfers, memory enough: the last rank begins after
/// P - 1 forwards and works 3 M.
TEST(LowerBound, IsTheBusyTimeBehindTheWarmUp) {
  for (int64_t ranks : {1, 2, 4, 8, 32})
    for (int64_t microbatches : {ranks, 3 * ranks}) {
      ScheduleProblem problem =
          problemOf(ranks, microbatches, 1, Placement::loop);
      LowerBound bound = boundOf(problem, Costs::uniform(problem));
      EXPECT_EQ(bound.makespanNs,
                std::max((3 * microbatches + ranks - 1) * 1000,
                         // One microbatch there and back, the others behind it
                         // on rank 0, and its weight gradient.
                         (2 * ranks + microbatches) * 1000));
    }
}

/// One microbatch at a time: every one takes 2 P and its weight gradient on
/// rank 0.
TEST(LowerBound, KnowsWhatOneMicrobatchAtATimeTakes) {
  ScheduleProblem problem = problemOf(4, 6, 1, Placement::loop);
  Costs costs = Costs::uniform(problem);
  costs.limitBytes.assign(4, 1000);
  LowerBound bound = boundOf(problem, costs);
  EXPECT_EQ(bound.makespanNs, 6 * (2 * 4 + 1) * 1000);
  EXPECT_THAT(bound.reason, HasSubstr("memory"));
}

/// Transfers count on the way there, and on the way back.
TEST(LowerBound, CountsTransfers) {
  ScheduleProblem problem = problemOf(3, 1, 1, Placement::loop);
  Costs costs = Costs::uniform(problem, 1000, 1000, 1000, 100);
  EXPECT_EQ(boundOf(problem, costs).makespanNs, 7 * 1000 + 4 * 100);
  // V: the turn stays on its rank.
  ScheduleProblem v = problemOf(3, 1, 2, Placement::v);
  costs = Costs::uniform(v, 2000, 2000, 2000, 100);
  EXPECT_EQ(boundOf(v, costs).makespanNs, 13 * 1000 + 8 * 100);
}

TEST(LowerBound, FallsWithPairsThatOverlap) {
  ScheduleProblem problem = problemOf(2, 8, 1, Placement::loop);
  Costs costs = Costs::uniform(problem);
  int64_t plain = boundOf(problem, costs).makespanNs;
  costs.overlaps = {{0, 0, 2000}, {1, 1, 2000}};
  EXPECT_EQ(boundOf(problem, costs).makespanNs, plain - 8 * 1000);
}

TEST(LowerBound, RisesAsLimitsFall) {
  ScheduleProblem problem = problemOf(8, 24, 2, Placement::v);
  Costs costs = costsOf(problem, Profile::measured, 1);
  int64_t last = boundOf(problem, costs).makespanNs;
  for (int64_t units = 16; units >= 1; --units) {
    costs.limitBytes.assign(8, units * 1000);
    int64_t now = boundOf(problem, costs).makespanNs;
    EXPECT_GE(now, last) << units;
    last = now;
  }
  costs.limitBytes.assign(8, 999);
  Result<LowerBound> bound = lowerBound(problem, costs);
  ASSERT_FALSE(bound.ok());
  EXPECT_THAT(bound.error().message, HasSubstr("rank 0"));
  EXPECT_THAT(bound.error().message, HasSubstr("at least 1000"));
}

} // namespace
} // namespace moe::schedule::test
