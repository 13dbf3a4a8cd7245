#include "compiler/Optimize/PackingSearch.h"

#include "PackingCases.h"

#include <gmock/gmock.h>

#include <numeric>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

std::string failure(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

std::vector<uint32_t> all(const PackingProblem &problem) {
  std::vector<uint32_t> members(problem.buffers.size());
  std::iota(members.begin(), members.end(), 0);
  return members;
}

/// Offsets that the search finds for a height are legal and reach no higher.
void expectLegal(const PackingProblem &problem, const FitAnswer &answer,
                 int64_t height) {
  PackingSolution solution;
  solution.offsets = answer.offsets;
  for (size_t i = 0; i < answer.offsets.size(); ++i)
    if (problem.buffers[i].size > 0)
      solution.height = std::max(solution.height,
                                 answer.offsets[i] + problem.buffers[i].size);
  EXPECT_EQ(failure(verify(problem, solution)), "no error");
  EXPECT_LE(solution.height, height);
}

TEST(PackingSearch, SmallProblemsFitFromTheirOptimumOn) {
  std::mt19937 random(21);
  int aboveBound = 0;
  for (int round = 0; round < 400; ++round) {
    bool hasGaps = round % 3 == 0;
    PackingProblem problem =
        randomProblem(random, 4 + random() % 4, 7, round % 2 ? 4 : 9,
                      round % 5 == 0 ? 256 : 1);
    if (hasGaps)
      addLifetimes(random, 2, problem);
    if (maxLive(problem) == 0)
      continue;
    int64_t optimum = lowestHeight(problem);
    aboveBound += optimum > maxLive(problem);
    FitAnswer fits = fitUnder(problem, all(problem), optimum, 100000);
    ASSERT_EQ(fits.fit, Fit::yes) << "round " << round;
    expectLegal(problem, fits, optimum);
    ASSERT_EQ(fitUnder(problem, all(problem), optimum - 1, 100000).fit, Fit::no)
        << "round " << round;
    PackingSolution packed = pack(problem, 100000);
    ASSERT_EQ(failure(verify(problem, packed)), "no error");
    ASSERT_EQ(packed.height, optimum) << "round " << round;
    ASSERT_EQ(packed.lowerBound, optimum) << "round " << round;
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GE(aboveBound, 10); // where live bytes are no proof
}

TEST(PackingSearch, RectanglesThatWereCutAreFilledAgain) {
  std::mt19937 random(22);
  int greedy = 0;
  for (int round = 0; round < 24; ++round) {
    size_t count = 40 + 20 * static_cast<size_t>(round % 12);
    PackingProblem problem = cutRectangle(random, count, 1 << 20);
    ASSERT_EQ(maxLive(problem), 1 << 20);
    greedy += pack(problem).height == 1 << 20;
    PackingSolution packed = pack(problem, 400000);
    ASSERT_EQ(failure(verify(problem, packed)), "no error");
    EXPECT_EQ(packed.height, 1 << 20) << "round " << round;
  }
  EXPECT_LE(greedy, 3); // a search is needed
}

TEST(PackingSearch, WithSomeRoomToWaste) {
  std::mt19937 random(23);
  for (int round = 0; round < 12; ++round) {
    PackingProblem problem = cutRectangle(random, 160, 1 << 20);
    std::erase_if(problem.buffers,
                  [&](const Buffer &) { return random() % 50 == 0; });
    FitAnswer answer = fitUnder(problem, all(problem), 1 << 20, 400000);
    ASSERT_EQ(answer.fit, Fit::yes) << "round " << round;
    expectLegal(problem, answer, 1 << 20);
  }
}

TEST(PackingSearch, LimitedAndReproducible) {
  std::mt19937 random(24);
  PackingProblem problem = cutRectangle(random, 200, 1 << 20);
  FitAnswer cut = fitUnder(problem, all(problem), 1 << 20, 50);
  EXPECT_EQ(cut.fit, Fit::unknown);
  EXPECT_EQ(cut.steps, 50);
  EXPECT_EQ(fitUnder(problem, all(problem), (1 << 20) - 1, 1).fit, Fit::no);
  FitAnswer answer = fitUnder(problem, all(problem), 1 << 20, 400000);
  ASSERT_EQ(answer.fit, Fit::yes);
  EXPECT_EQ(fitUnder(problem, all(problem), 1 << 20, 400000).offsets,
            answer.offsets);
}

TEST(PackingSearch, WhatItDoesNotTake) {
  PackingProblem offGrid{{{100, 0, 4, 1}, {256, 0, 4, 256}}};
  EXPECT_EQ(fitUnder(offGrid, all(offGrid), 400, 1000).fit, Fit::unknown);
  PackingSolution packed = pack(offGrid, 1000);
  EXPECT_EQ(failure(verify(offGrid, packed)), "no error");
  std::mt19937 random(25);
  PackingProblem many = randomProblem(random, 2500, 40, 40, 1);
  EXPECT_EQ(fitUnder(many, all(many), 2 * maxLive(many), 1000).fit,
            Fit::unknown);
}

} // namespace
