#include "compiler/Optimize/StageFronts.h"

#include "test/unit/Optimize/RandomLag.h"

#include <gtest/gtest.h>

namespace moe::optimize {
namespace {

// By hand: while a layer runs, those below it keep, and the one right below it
// has bytes ahead, which count beside the late peak only.
TEST(StageSums, CountWhatTheLayerBelowHasAhead) {
  StageSums sums;
  LayerOption lower{5, 100, 150, 30, 40, 0};
  LayerOption upper{7, 10, 60, 0, 0, 50};
  sums.add(lower, 0);
  EXPECT_EQ(sums.peak, 150);
  sums.add(upper, 0);
  EXPECT_EQ(sums.peak, 190); // 100 kept, 40 ahead, 50 late
  EXPECT_EQ(sums.kept, 110);
  EXPECT_EQ(sums.extraNs, 12);
  EXPECT_EQ(sums.host, 30);
  upper.latePeakBytes = 0;
  StageSums early;
  early.add(lower, 0);
  early.add(upper, 0);
  EXPECT_EQ(early.peak, 160); // 100 kept, its own 60
  sums.add(lower, 0);
  EXPECT_EQ(sums.peak, 260); // nothing is ahead of the upper one
}

// By hand: while a layer runs backward, those above it wait with what their
// weight gradients need.
TEST(StageSums, CountWhatLayersAboveHavePending) {
  LayerOption layer{0, 100, 150};
  layer.pendingBytes = 70;
  StageSums sums;
  sums.add(layer, 0);
  EXPECT_EQ(sums.peak, 150);
  sums.add(layer, 0);
  EXPECT_EQ(sums.peak, 250); // 100 kept, 150, rather than 150 and 70
  layer.pendingBytes = 130;
  sums.add(layer, 0);
  EXPECT_EQ(sums.peak, 380); // 100 kept, 150, 130
  EXPECT_EQ(sums.pending, 270);
}

// By hand: what the link has not copied when a layer begins is still there
// while the layer runs forward.
TEST(StageSums, CountWhatTheLinkHasNotCopied) {
  LayerOption copies{0, 10, 150}, keeps{0, 100, 150};
  copies.forwardPeakBytes = keeps.forwardPeakBytes = 120;
  copies.tailNs = copies.queueNs = 30;
  keeps.queueNs = -20;
  StageSums sums;
  sums.add(copies, 2);
  EXPECT_EQ(sums.peak, 150);
  sums.add(keeps, 2);
  EXPECT_EQ(sums.peak, 190); // 10 kept, 120, 2 * 30 not copied
  sums.add(keeps, 2);
  EXPECT_EQ(sums.peak, 260); // 110 kept, its own 150 backward
  sums = {};
  sums.add(copies, 10);
  sums.add(keeps, 10);
  sums.add(keeps, 10);
  EXPECT_EQ(sums.peak, 430); // 10 and 120, 10 * 30; then 110, 120, 10 * 10
}

// All choices of 200 random stages: a front that was not thinned has, for each
// of them, one that is no worse in anything that layers above can tell.
TEST(StageFronts, HaveSomethingNoWorseThanAnyChoice) {
  Random random(3);
  for (int trial = 0; trial < 200; ++trial) {
    PolicyProblem problem;
    std::vector<LayerOption> &options = problem.kinds.emplace_back();
    for (int64_t i = random(2, 4); i > 0; --i) {
      LayerOption option;
      option.extraNs = random(0, 20);
      option.keptBytes = random(0, 20);
      option.peakBytes = option.keptBytes + random(0, 20);
      option.aheadBytes = random(0, 10);
      option.latePeakBytes = random(0, 40);
      option.pendingBytes = random(0, 5);
      addLag(option, random, 10);
      options.push_back(option);
    }
    problem.stages = {std::vector<int64_t>(4, 0)};
    problem.hostBytesPerNs = static_cast<double>(random(0, 2));
    StageFronts fronts;
    const StageFront &front =
        fronts.of(problem, 0,
                  {.weight = 3,
                   .hostBytesPerNs = problem.hostBytesPerNs,
                   .most = size_t{1} << 20,
                   .options = options.size(),
                   .followsPending = true});
    EXPECT_TRUE(front.isExact());
    const auto count = static_cast<int64_t>(options.size());
    for (int64_t number = 0; number < count * count * count * count; ++number) {
      StageSums sums;
      for (int64_t left = number, layer = 0; layer < 4; ++layer, left /= count)
        sums.add(options[static_cast<size_t>(left % count)],
                 problem.hostBytesPerNs);
      bool isCovered = false;
      for (size_t point = 0; point < front.size() && !isCovered; ++point) {
        const StageSums &other = front.sums(point);
        isCovered = other.extraNs <= sums.extraNs && other.kept <= sums.kept &&
                    other.peak <= sums.peak && other.ahead <= sums.ahead &&
                    other.lagNs <= sums.lagNs && other.pending <= sums.pending;
      }
      EXPECT_TRUE(isCovered) << "trial " << trial << ", choice " << number;
      isCovered = false;
      for (uint32_t point : front.finished()) {
        const StageSums &other = front.sums(point);
        isCovered |= other.takenNs() <= sums.takenNs() &&
                     other.kept <= sums.kept && other.peak <= sums.peak &&
                     other.pending <= sums.pending;
      }
      EXPECT_TRUE(isCovered) << "trial " << trial << ", choice " << number;
    }
    EXPECT_LE(front.finished().size(), front.size());
    for (size_t point = 0; point < front.size(); ++point) {
      StageSums sums;
      for (int64_t option : front.choices(point))
        sums.add(options[static_cast<size_t>(option)], problem.hostBytesPerNs);
      EXPECT_EQ(sums.peak, front.sums(point).peak);
      EXPECT_EQ(sums.extraNs, front.sums(point).extraNs);
    }
  }
}

} // namespace
} // namespace moe::optimize
