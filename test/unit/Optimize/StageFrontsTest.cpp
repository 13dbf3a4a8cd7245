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

// By hand: what the link has no time for while the layer above runs comes late,
// and layers wait for it once; what may wait makes up for that.
TEST(StageSums, CountWaitsForCopiesBack) {
  LayerOption copies{5, 10, 150};
  copies.backward = {30, 25, 8};
  StageSums sums;
  sums.add(copies, 0);
  EXPECT_EQ(sums.extraNs, 5);
  sums.add(copies, 0); // the lower one's come 5 late
  EXPECT_EQ(sums.extraNs, 10);
  EXPECT_EQ(sums.backward.mayWaitNs, 3);
  sums.add(copies, 0); // with another 5 they come 2 too late
  EXPECT_EQ(sums.extraNs, 17);
  EXPECT_EQ(sums.backward.mayWaitNs, 0);
  LayerOption keeps{0, 100, 150};
  keeps.backward.linkFreeNs = 40;
  keeps.backward.mayWaitNs = 40;
  sums.add(keeps, 0); // which leaves 10 more than they take
  EXPECT_EQ(sums.extraNs, 17);
  EXPECT_EQ(sums.backward.mayWaitNs, 10);
}

// By hand: weight gradients wait for copies back of their own, which is part of
// what they take, and the backward does not care.
TEST(StageSums, CountWaitsOfWeightGradientsApart) {
  LayerOption copies{5, 10, 150};
  copies.weightGradNs = 2;
  copies.weightGrad = {30, 25, 4};
  StageSums sums;
  sums.add(copies, 0);
  EXPECT_EQ(sums.extraNs, 5);
  EXPECT_EQ(sums.weightGradNs, 2);
  sums.add(copies, 0); // 5 late, 1 too late
  EXPECT_EQ(sums.extraNs, 11);
  EXPECT_EQ(sums.weightGradNs, 5);
  EXPECT_EQ(sums.weightGrad.mayWaitNs, 0);
  EXPECT_EQ(sums.weightGrad.earlyNs, 30);
  EXPECT_EQ(sums.backward.mayWaitNs, kUnlimitedNs);
  copies.backward = {30, 25, 4};
  sums.add(copies, 0); // 5 too late; above, nothing of the backward was late
  EXPECT_EQ(sums.extraNs, 21);
  EXPECT_EQ(sums.weightGradNs, 12);
  EXPECT_EQ(sums.backward.mayWaitNs, 4);
}

/// The definition in Policies.h, from the last layer down.
int64_t waitNsOf(const std::vector<LayerOption> &layers,
                 CopiesBack LayerOption::*program) {
  int64_t waitNs = 0, lateNs = 0;
  for (size_t l = layers.size() - 1; l-- > 0;) {
    const CopiesBack &here = layers[l].*program,
                     &above = layers[l + 1].*program;
    lateNs = std::max<int64_t>(0, std::min(lateNs, above.mayWaitNs) +
                                      here.earlyNs - above.linkFreeNs);
    waitNs += std::max<int64_t>(0, lateNs - here.mayWaitNs);
  }
  return waitNs;
}

// The definition, in both programs, of 1000 random stages.
TEST(StageSums, WaitsAreThoseOfTheDefinition) {
  Random random(8);
  int both = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    std::vector<LayerOption> layers(static_cast<size_t>(random(1, 7)));
    StageSums sums;
    int64_t extraNs = 0, weightGradNs = 0;
    for (LayerOption &layer : layers) {
      layer.extraNs = random(0, 20);
      addLags(layer, random, 20);
      sums.add(layer, 0);
      extraNs += layer.extraNs;
      weightGradNs += layer.weightGradNs;
    }
    const int64_t backward = waitNsOf(layers, &LayerOption::backward);
    const int64_t weightGrad = waitNsOf(layers, &LayerOption::weightGrad);
    EXPECT_EQ(sums.extraNs, extraNs + backward + weightGrad);
    EXPECT_EQ(sums.weightGradNs, weightGradNs + weightGrad);
    both += backward > 0 && weightGrad > 0;
  }
  EXPECT_GT(both, 100);
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
      addLags(option, random, 10);
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
                    other.lagNs <= sums.lagNs &&
                    other.pending <= sums.pending &&
                    other.backward.isNoWorseThan(sums.backward) &&
                    other.weightGrad.isNoWorseThan(sums.weightGrad);
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

struct Sized {
  int64_t size, ns;
  uint32_t number;
  uint32_t name() const { return number; }
};

// The definition, of 500 random lists, many of whose states are equal in size,
// time or both.
TEST(FrontOf, IsWhatNothingSmallerIsAsQuickAs) {
  Random random(11);
  int thinned = 0;
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<Sized> states;
    const int64_t range = random(0, 3) == 0 ? 20 : 1'000'000;
    for (int64_t i = random(1, 300); i > 0; --i) {
      const int64_t size = random(-range, range);
      states.push_back({size, random(0, 2) == 0 ? -size : random(0, range),
                        static_cast<uint32_t>(random(0, 1 << 30))});
    }
    std::vector<uint32_t> front;
    for (uint32_t i = 0; i < states.size(); ++i) {
      const Sized &state = states[i];
      auto isBetter = [&](const Sized &other) {
        if (other.size != state.size)
          return other.size < state.size && other.ns <= state.ns;
        return std::pair(other.ns, other.number) <
               std::pair(state.ns, state.number);
      };
      if (std::none_of(states.begin(), states.end(), isBetter))
        front.push_back(i);
    }
    std::sort(front.begin(), front.end(), [&](uint32_t a, uint32_t b) {
      return states[a].size < states[b].size;
    });
    const auto most = static_cast<size_t>(random(2, 40));
    std::vector<uint32_t> expected = front;
    if (front.size() > most) {
      expected.clear();
      const int64_t least = states[front.front()].size;
      const int64_t part =
          (states[front.back()].size - least) / static_cast<int64_t>(most - 1) +
          1;
      for (size_t i = 0; i < front.size(); ++i) {
        auto partOf = [&](size_t at) {
          return (states[front[at]].size - least) / part;
        };
        if (i == 0 || i + 1 == front.size() || partOf(i) != partOf(i + 1))
          expected.push_back(front[i]);
      }
    }
    const FrontNumbers found = frontOf(
        states, [](const Sized &state) { return state.size; },
        [](const Sized &state) { return state.ns; }, most);
    EXPECT_EQ(found.numbers, expected) << "trial " << trial;
    EXPECT_EQ(found.isThinned, expected.size() < front.size());
    thinned += found.isThinned;
  }
  EXPECT_GT(thinned, 50);
}

} // namespace
} // namespace moe::optimize
