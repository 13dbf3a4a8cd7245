#include "compiler/Optimize/Offsets.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <random>

using namespace moe;
using namespace moe::optimize;
using testing::HasSubstr;

namespace {

std::string failure(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

PackingProblem randomProblem(std::mt19937 &random, size_t count, int64_t times,
                             int64_t sizes, int64_t alignment) {
  PackingProblem problem;
  for (size_t i = 0; i < count; ++i) {
    Buffer buffer;
    buffer.begin = static_cast<int64_t>(random()) % times;
    buffer.end = buffer.begin + 1 + static_cast<int64_t>(random()) % times;
    buffer.size = static_cast<int64_t>(random()) % (sizes + 1) * alignment;
    buffer.alignment = alignment;
    problem.buffers.push_back(buffer);
  }
  return problem;
}

/// The lowest packing there is: some order of placement, each buffer at the
/// lowest free offset, gives it.
int64_t bruteForce(const PackingProblem &problem) {
  std::vector<size_t> order(problem.buffers.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  int64_t best = std::numeric_limits<int64_t>::max();
  do {
    std::vector<int64_t> offsets(order.size(), -1);
    int64_t height = 0;
    for (size_t i : order) {
      const Buffer &a = problem.buffers[i];
      int64_t offset = 0;
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t j = 0; j < order.size(); ++j) {
          const Buffer &b = problem.buffers[j];
          if (offsets[j] >= 0 && a.size > 0 && b.size > 0 && a.begin < b.end &&
              b.begin < a.end && offset < offsets[j] + b.size &&
              offsets[j] < offset + a.size) {
            offset = (offsets[j] + b.size + a.alignment - 1) / a.alignment *
                     a.alignment;
            moved = true;
          }
        }
      }
      offsets[i] = offset;
      if (a.size > 0)
        height = std::max(height, offset + a.size);
    }
    best = std::min(best, height);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
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

TEST(Pack, TinyProblemsAgainstTheOptimum) {
  std::mt19937 random(11);
  int optimal = 0;
  const int rounds = 150;
  for (int round = 0; round < rounds; ++round) {
    PackingProblem problem = randomProblem(random, 2 + random() % 5, 8, 6, 1);
    PackingSolution solution = pack(problem);
    int64_t optimum = bruteForce(problem);
    ASSERT_LE(solution.lowerBound, optimum);
    ASSERT_LE(optimum, solution.height);
    // Greedy in six orders stays within a quarter of the optimum here.
    ASSERT_LE(4 * solution.height, 5 * optimum);
    optimal += solution.height == optimum;
  }
  EXPECT_GE(optimal, rounds * 95 / 100);
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
