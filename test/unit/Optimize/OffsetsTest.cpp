#include "compiler/Optimize/Offsets.h"

#include "PackingCases.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <random>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;
using testing::HasSubstr;

namespace {

std::string failure(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

TEST(Pack, Examples) {
  EXPECT_EQ(pack({}).height, 0);
  // Two that meet only in time's boundary share bytes.
  PackingProblem chain{{{100, 0, 2, 1}, {100, 2, 4, 1}}};
  EXPECT_EQ(pack(chain).height, 100);
  EXPECT_EQ(maxLive(chain), 100);
  // A buffer fits between two others once the middle one is gone.
  PackingProblem hole{
      {{64, 0, 10, 64}, {64, 0, 3, 64}, {64, 0, 10, 64}, {64, 3, 10, 64}}};
  PackingSolution solution = pack(hole);
  EXPECT_EQ(failure(verify(hole, solution)), "no error");
  EXPECT_EQ(solution.height, 192);
  EXPECT_EQ(solution.lowerBound, 192);
  // Buffers without bytes take no room and stay out of the way.
  PackingProblem empty{{{0, 0, 10, 256}, {256, 0, 10, 256}}};
  EXPECT_EQ(pack(empty).height, 256);
  EXPECT_EQ(failure(verify(empty, pack(empty))), "no error");
}

TEST(Pack, StackLikeLifetimesReachTheBound) {
  // Saved tensors of a forward and backward pass: made in order, freed in the
  // opposite order, with short-lived values between.
  PackingProblem problem;
  std::mt19937 random(3);
  const int64_t layers = 200;
  for (int64_t i = 0; i < layers; ++i) {
    auto size = static_cast<int64_t>(1 + random() % 50) * 256;
    problem.buffers.push_back({size, 2 * i, 4 * layers - 2 * i, 256});
    problem.buffers.push_back({1024, 2 * i + 1, 2 * i + 2, 256});
  }
  PackingSolution solution = pack(problem);
  EXPECT_EQ(failure(verify(problem, solution)), "no error");
  EXPECT_EQ(solution.height, solution.lowerBound);
}

TEST(Pack, RandomProblemsAreLegalAboveTheBoundAndReproducible) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    int64_t alignment = round % 3 == 0 ? 1 : 256;
    PackingProblem problem =
        randomProblem(random, random() % 120,
                      static_cast<int64_t>(1 + random() % 60), 40, alignment);
    ASSERT_EQ(failure(problem.check()), "no error");
    PackingSolution solution = pack(problem);
    ASSERT_EQ(failure(verify(problem, solution)), "no error");
    ASSERT_LE(solution.lowerBound, solution.height);
    ASSERT_EQ(solution.lowerBound, maxLive(problem));
    PackingSolution again = pack(problem);
    ASSERT_EQ(again.offsets, solution.offsets);
    ASSERT_EQ(again.order, solution.order);
  }
}

TEST(Pack, MixedAlignments) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    PackingProblem problem = randomProblem(random, 40, 30, 1000, 1);
    for (Buffer &buffer : problem.buffers)
      buffer.alignment = int64_t{1} << random() % 10;
    ASSERT_EQ(failure(verify(problem, pack(problem))), "no error");
  }
}

// What is above a buffer is above it wherever that lies, and counts in bounds.
TEST(Pack, WhatIsAboveCounts) {
  // The one with much above it goes to the bottom.
  PackingProblem two{{{4, 0, 2}, {3, 1, 3, 1, {}, 5}}};
  EXPECT_EQ(pack(two).height, 8);
  EXPECT_EQ(maxLive(two), 8); // of the second alone
  std::mt19937 random(12);
  int optimal = 0, sharper = 0;
  const int rounds = 150;
  for (int round = 0; round < rounds; ++round) {
    PackingProblem problem = randomProblem(random, 2 + random() % 5, 8, 6, 1);
    const int64_t live = maxLive(problem);
    for (Buffer &buffer : problem.buffers)
      buffer.above = static_cast<int64_t>(random() % 8);
    PackingSolution solution = pack(problem);
    ASSERT_EQ(failure(verify(problem, solution)), "no error");
    int64_t optimum = lowestHeight(problem);
    ASSERT_LE(solution.lowerBound, optimum);
    ASSERT_LE(optimum, solution.height);
    optimal += solution.height == optimum;
    sharper += solution.lowerBound > live;
  }
  EXPECT_GE(optimal, rounds * 98 / 100);
  EXPECT_GE(sharper, rounds / 2);
}

TEST(Pack, TinyProblemsAgainstTheOptimum) {
  std::mt19937 random(11);
  int optimal = 0;
  const int rounds = 150;
  for (int round = 0; round < rounds; ++round) {
    PackingProblem problem = randomProblem(random, 2 + random() % 5, 8, 6, 1);
    PackingSolution solution = pack(problem);
    int64_t optimum = lowestHeight(problem);
    ASSERT_LE(solution.lowerBound, optimum);
    ASSERT_LE(optimum, solution.height);
    // Greedy in six orders stays within a quarter of the optimum here.
    ASSERT_LE(4 * solution.height, 5 * optimum);
    optimal += solution.height == optimum;
  }
  EXPECT_GE(optimal, rounds * 95 / 100);
}

/// The problem with a time for each lifetime of its own, as if buffers that
/// live several times were several that must have the same offset.
bool isLegal(const PackingProblem &problem,
             const std::vector<int64_t> &offsets) {
  auto lives = [](const Buffer &buffer, int64_t time) {
    bool alive = buffer.begin <= time && time < buffer.end;
    for (Lifetime life : buffer.later)
      alive |= life.begin <= time && time < life.end;
    return alive;
  };
  for (int64_t time = 0; time < 200; ++time)
    for (size_t i = 0; i < offsets.size(); ++i)
      for (size_t j = 0; j < i; ++j) {
        const Buffer &a = problem.buffers[i], &b = problem.buffers[j];
        if (a.size && b.size && lives(a, time) && lives(b, time) &&
            offsets[i] < offsets[j] + b.size &&
            offsets[j] < offsets[i] + a.size)
          return false;
      }
  return true;
}

TEST(Pack, BuffersThatLiveSeveralTimes) {
  // The first is out of the way of the second, but not of the third.
  PackingProblem gap{{{64, 0, 2, 1, {{6, 8}}}, {64, 2, 6, 1}, {64, 7, 9, 1}}};
  PackingSolution solution = pack(gap);
  EXPECT_EQ(failure(verify(gap, solution)), "no error");
  EXPECT_EQ(solution.height, 128);
  EXPECT_EQ(solution.lowerBound, 128);
  EXPECT_EQ(solution.offsets[0], solution.offsets[1]);
  PackingSolution broken = solution;
  broken.offsets = {0, 64, 0};
  EXPECT_THAT(failure(verify(gap, broken)),
              HasSubstr("buffers 0 and 2 live at the same time"));

  std::mt19937 random(12);
  int64_t heights = 0, bounds = 0;
  for (int round = 0; round < 200; ++round) {
    PackingProblem problem = randomProblem(random, 40, 10, 40, 1);
    for (Buffer &buffer : problem.buffers) {
      int64_t before = buffer.end;
      for (size_t more = random() % 4; more > 0; --more) {
        int64_t begin = before + static_cast<int64_t>(random() % 20);
        before = begin + 1 + static_cast<int64_t>(random() % 10);
        buffer.later.push_back({begin, before});
      }
    }
    ASSERT_EQ(failure(problem.check()), "no error");
    PackingSolution made = pack(problem);
    ASSERT_EQ(failure(verify(problem, made)), "no error");
    ASSERT_TRUE(isLegal(problem, made.offsets));
    heights += made.height;
    bounds += made.lowerBound;
    // Any other place that is legal for all lifetimes is legal for verify.
    size_t moved = random() % made.offsets.size();
    made.offsets[moved] = static_cast<int64_t>(random() % 300);
    made.height = 0;
    for (size_t i = 0; i < made.offsets.size(); ++i)
      if (problem.buffers[i].size > 0)
        made.height =
            std::max(made.height, made.offsets[i] + problem.buffers[i].size);
    ASSERT_EQ(verify(problem, made).ok(), isLegal(problem, made.offsets));
  }
  EXPECT_LE(heights, bounds * 125 / 100);
}

TEST(Pack, WhatNeverMeetsIsPackedApart) {
  // Two programs, of which the first reaches its bound when buffers are taken
  // by size and the second only when they are taken otherwise.
  std::mt19937 random(13);
  for (int round = 0; round < 50; ++round) {
    PackingProblem first = randomProblem(random, 30, 20, 40, 1);
    PackingProblem second = randomProblem(random, 30, 20, 40, 1);
    PackingProblem both = first;
    for (Buffer buffer : second.buffers) {
      buffer.begin += 100;
      buffer.end += 100;
      both.buffers.push_back(buffer);
    }
    PackingSolution made = pack(both);
    ASSERT_EQ(failure(verify(both, made)), "no error");
    ASSERT_EQ(made.height, std::max(pack(first).height, pack(second).height));
  }
}

TEST(Verify, RejectsBrokenSolutions) {
  PackingProblem problem{{{256, 0, 4, 256}, {256, 2, 6, 256}}};
  PackingSolution good = pack(problem);
  ASSERT_EQ(failure(verify(problem, good)), "no error");
  PackingSolution broken = good;
  broken.offsets = {0, 0};
  broken.height = 256;
  EXPECT_THAT(failure(verify(problem, broken)),
              HasSubstr("buffers 0 and 1 live at the same time"));
  broken = good;
  broken.offsets[1] = 300;
  EXPECT_THAT(failure(verify(problem, broken)),
              HasSubstr("offset 300 is not a multiple of 256"));
  broken.offsets[1] = -256;
  EXPECT_THAT(failure(verify(problem, broken)), HasSubstr("offset -256"));
  broken = good;
  broken.height = 256;
  EXPECT_THAT(failure(verify(problem, broken)),
              HasSubstr("height is 256, the highest buffer ends at 512"));
  broken = good;
  broken.offsets.pop_back();
  EXPECT_THAT(failure(verify(problem, broken)),
              HasSubstr("1 offsets for 2 buffers"));
}

TEST(Check, RejectsBrokenProblems) {
  EXPECT_THAT(failure(PackingProblem{{{-1, 0, 1, 1}}}.check()),
              HasSubstr("buffer 0: size must not be negative, is -1"));
  EXPECT_THAT(failure(PackingProblem{{{1, 3, 3, 1}}}.check()),
              HasSubstr("lifetime is [3, 3)"));
  EXPECT_THAT(failure(PackingProblem{{{1, 0, 1, 0}}}.check()),
              HasSubstr("alignment must be at least 1, is 0"));
  EXPECT_THAT(failure(PackingProblem{{{1, 0, 4, 1, {{5, 5}}}}}.check()),
              HasSubstr("lifetime is [5, 5)"));
  EXPECT_THAT(failure(PackingProblem{{{1, 0, 4, 1, {{3, 5}}}}}.check()),
              HasSubstr("begins at 3, before the one that ends at 4"));
  constexpr int64_t huge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(failure(PackingProblem{{{huge, 0, 1, 1}}}.check()),
              HasSubstr("exceeds 2^62"));
  EXPECT_THAT(
      failure(
          PackingProblem{{{huge / 4, 0, 1, 1}, {huge / 2, 0, 1, 1}}}.check()),
      HasSubstr("buffer 1: the sum"));
  EXPECT_THAT(failure(PackingProblem{{{1, 0, 1, huge}}}.check()),
              HasSubstr("exceeds 2^62"));
}

} // namespace
