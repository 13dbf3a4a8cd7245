// Choices of a rank against brute force over all of them.
#include "compiler/Optimize/Policies.h"

#include "test/unit/Optimize/RandomLag.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace moe::optimize {
namespace {

constexpr int64_t kNothing = std::numeric_limits<int64_t>::max();

/// Calls `visit` with every combination of options.
template <typename Visit>
void forEachChoice(const PolicyProblem &problem, Visit visit) {
  Choices choices;
  for (const auto &stage : problem.stages)
    choices.emplace_back(stage.size(), 0);
  while (true) {
    visit(choices);
    bool carried = true;
    for (size_t s = 0; s < choices.size() && carried; ++s)
      for (size_t l = 0; l < choices[s].size() && carried; ++l) {
        auto kind = static_cast<size_t>(problem.stages[s][l]);
        auto count = static_cast<int64_t>(problem.kinds[kind].size());
        carried = ++choices[s][l] == count;
        if (carried)
          choices[s][l] = 0;
      }
    if (carried)
      return;
  }
}

/// Up to two stages of up to six layers in all, with up to four options: the
/// first keeps most and takes no time, as in plans, but what others cost is
/// anything. `isSplit`: weight gradients are programs of their own.
PolicyProblem randomProblem(Random &random, bool isAligned,
                            bool isSplit = false) {
  PolicyProblem problem;
  int64_t unit = isAligned ? 256 : 1;
  for (int64_t kind = random(1, 3); kind > 0; --kind) {
    std::vector<LayerOption> &options = problem.kinds.emplace_back();
    for (int64_t i = random(1, 4); i > 0; --i) {
      LayerOption option;
      option.extraNs = options.empty() ? 0 : random(0, 1000);
      option.keptBytes = unit * random(options.empty() ? 600 : 10, 1000);
      option.peakBytes = option.keptBytes + unit * random(0, 400);
      option.latePeakBytes = random(0, 1) * unit * random(0, 1200);
      option.aheadBytes = random(0, 1) * unit * random(0, 500);
      option.pendingBytes = random(0, 1) * unit * random(0, 200);
      if (!options.empty())
        (isSplit ? addLags : addLag)(option, random, 500);
      options.push_back(option);
    }
  }
  int64_t layers = random(1, 6);
  for (int64_t stages = random(1, std::min<int64_t>(2, layers)); stages > 0;
       --stages) {
    int64_t own = stages == 1 ? layers : random(1, layers - 1);
    layers -= own;
    std::vector<int64_t> &stage = problem.stages.emplace_back();
    for (; own > 0; --own)
      stage.push_back(
          random(0, static_cast<int64_t>(problem.kinds.size()) - 1));
  }
  for (int64_t moments = random(1, 4); moments > 0; --moments) {
    Moment &moment = problem.moments.emplace_back();
    for (size_t s = 0; s < problem.stages.size(); ++s)
      moment.held.push_back(random(0, 8));
    if (random(0, 1) == 1)
      for (size_t s = 0; s < problem.stages.size(); ++s)
        moment.pending.push_back(random(0, 3));
    moment.running = random(0, static_cast<int64_t>(problem.stages.size()) - 1);
    moment.otherBytes = unit * random(0, 2000);
  }
  problem.hostBytesPerNs =
      static_cast<double>(random(0, 1) * unit * random(0, 2));
  return problem;
}

// By hand: a layer that copies nothing makes up for a queue, one that copies
// for as long as it runs hands it on.
TEST(TimesOf, TellsOfTheLinkBehindTheLastLayer) {
  PolicyProblem problem;
  LayerOption keeps{0, 100, 100}, copies{1, 10, 100};
  keeps.queueNs = -50;
  copies.tailNs = 30;
  copies.queueNs = 0;
  problem.kinds = {{keeps, copies}};
  problem.stages = {{0, 0, 0}};
  auto forwardNs = [&](const std::vector<int64_t> &choices) {
    return timesOf(problem, 0, choices).forwardNs;
  };
  EXPECT_EQ(forwardNs({0, 0, 0}), 0);
  EXPECT_EQ(forwardNs({1, 1, 1}), 30);
  EXPECT_EQ(forwardNs({1, 1, 0}), 0);
  problem.kinds[0][0].queueNs = -20;
  EXPECT_EQ(forwardNs({1, 1, 0}), 10);
  problem.kinds[0][1].queueNs = 20; // the link is slower than the layer
  EXPECT_EQ(forwardNs({1, 1, 1}), 70);
  EXPECT_EQ(forwardNs({1, 0, 1}), 30);
  EXPECT_EQ(timesOf(problem, 0, {1, 1, 0}).backwardNs, 2);
  problem.moments = {{{0}, 0, 0}};
  EXPECT_EQ(evaluate(problem, {{1, 1, 1}}).extraNs, 73);
}

class AgainstBruteForce : public testing::TestWithParam<int> {};

// 50 problems a seed; seven budgets each from what just fits to everything.
TEST_P(AgainstBruteForce, FrontsAndBounds) {
  Random random(static_cast<uint64_t>(GetParam()));
  for (int trial = 0; trial < 50; ++trial) {
    PolicyProblem problem =
        randomProblem(random, trial % 2 == 0, GetParam() % 2 == 1);
    ASSERT_TRUE(problem.check().ok());
    std::vector<PolicyOutcome> all;
    forEachChoice(problem, [&](const Choices &choices) {
      all.push_back(evaluate(problem, choices));
    });
    int64_t least = kNothing, most = 0;
    for (const PolicyOutcome &outcome : all) {
      least = std::min(least, outcome.peakBytes);
      most = std::max(most, outcome.peakBytes);
    }
    PolicyFront exact(problem, Effort::exact), fast(problem, Effort::fast);
    EXPECT_EQ(exact.points().front().peakBytes, least);
    EXPECT_EQ(exact.within(least - 1), nullptr);
    EXPECT_EQ(leastExtraNs(problem, -1), -1);
    for (int64_t step = 0; step <= 6; ++step) {
      int64_t capacity = least + (most - least) * step / 6;
      int64_t optimum = kNothing;
      for (const PolicyOutcome &outcome : all)
        if (outcome.peakBytes <= capacity)
          optimum = std::min(optimum, outcome.extraNs);
      const PolicyFront::Point *found = exact.within(capacity);
      ASSERT_NE(found, nullptr);
      EXPECT_EQ(found->extraNs, optimum);
      for (const PolicyFront *front : {&exact, &fast}) {
        const PolicyFront::Point *point = front->within(capacity);
        if (front == &fast && !point)
          continue; // judged below
        PolicyOutcome outcome = evaluate(problem, front->choices(*point));
        EXPECT_EQ(outcome.peakBytes, point->peakBytes);
        EXPECT_EQ(outcome.extraNs, point->extraNs);
      }
      int64_t bound = leastExtraNs(problem, capacity);
      EXPECT_LE(bound, optimum);
      EXPECT_GE(bound, 0);
    }
  }
}

/// What every option but the first leaves to a host that admits a part of it.
void limitHost(PolicyProblem &problem, Random &random) {
  for (std::vector<LayerOption> &options : problem.kinds)
    for (size_t i = 1; i < options.size(); ++i)
      options[i].hostBytes = random(0, 2) * random(50, 500);
  for (Moment &moment : problem.moments)
    moment.overlapped =
        random(-1, static_cast<int64_t>(problem.stages.size()) - 1);
  int64_t most = 0;
  forEachChoice(problem, [&](const Choices &choices) {
    most = std::max(most, evaluate(problem, choices).hostBytes);
  });
  problem.hostCapacityBytes = random(0, most);
}

// The same with a host of any size up to what nothing exceeds.
TEST_P(AgainstBruteForce, FrontsWithinTheHost) {
  Random random(static_cast<uint64_t>(1000 + GetParam()));
  int64_t judged = 0, limited = 0;
  for (int trial = 0; trial < 50; ++trial) {
    PolicyProblem problem =
        randomProblem(random, trial % 2 == 0, GetParam() % 2 == 1);
    limitHost(problem, random);
    ASSERT_TRUE(problem.check().ok()) << problem.check().error().message;
    // By the definition, of what the host admits: peak and least time.
    std::vector<PolicyOutcome> all;
    forEachChoice(problem, [&](const Choices &choices) {
      PolicyOutcome outcome = evaluate(problem, choices);
      int64_t host = 0;
      for (const Moment &moment : problem.moments) {
        int64_t bytes = 0;
        for (size_t s = 0; s < choices.size(); ++s)
          for (size_t l = 0; l < choices[s].size(); ++l) {
            int64_t count = moment.held[s];
            for (int64_t running : {moment.running, moment.overlapped})
              count += running == static_cast<int64_t>(s);
            auto kind = static_cast<size_t>(problem.stages[s][l]);
            bytes +=
                count * problem.kinds[kind][static_cast<size_t>(choices[s][l])]
                            .hostBytes;
          }
        host = std::max(host, bytes);
      }
      EXPECT_EQ(outcome.hostBytes, host);
      if (host <= problem.hostCapacityBytes)
        all.push_back(outcome);
    });
    PolicyFront exact(problem, Effort::exact), fast(problem, Effort::fast);
    judged += exact.isExact();
    for (const PolicyOutcome &budget : all) {
      int64_t optimum = kNothing;
      for (const PolicyOutcome &outcome : all)
        if (outcome.peakBytes <= budget.peakBytes)
          optimum = std::min(optimum, outcome.extraNs);
      const PolicyFront::Point *found = exact.within(budget.peakBytes);
      ASSERT_NE(found, nullptr);
      if (exact.isExact())
        EXPECT_EQ(found->extraNs, optimum) << "trial " << trial;
      const int64_t bound = leastExtraNs(problem, budget.peakBytes);
      limited += found->extraNs > bound;
      EXPECT_LE(bound, optimum);
    }
    for (const PolicyFront *front : {&exact, &fast})
      for (const PolicyFront::Point &point : front->points()) {
        PolicyOutcome outcome = evaluate(problem, front->choices(point));
        EXPECT_EQ(outcome.peakBytes, point.peakBytes);
        EXPECT_EQ(outcome.extraNs, point.extraNs);
        EXPECT_LE(outcome.hostBytes, problem.hostCapacityBytes);
      }
    // Fast takes at most 2 % of the work longer, where it has an answer.
    int64_t layers = 0;
    for (const auto &stage : problem.stages)
      layers += static_cast<int64_t>(stage.size());
    for (const PolicyFront::Point &point : exact.points())
      if (const PolicyFront::Point *found = fast.within(point.peakBytes))
        EXPECT_LE(static_cast<double>(3000 * layers + found->extraNs),
                  1.02 * static_cast<double>(3000 * layers + point.extraNs))
            << "trial " << trial;
  }
  EXPECT_GE(judged, 40);
  EXPECT_GT(limited, 100);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstBruteForce, testing::Range(0, 12));

// Whatever is chosen takes as long as before, where last layers have no early
// copies, as in plans; options say more of it.
TEST(CountCertainWaits, AreThoseThatComeWhateverLiesAbove) {
  Random random(12);
  int grown = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    // Options of last layers, and of others.
    std::vector<std::vector<LayerOption>> kinds(3);
    for (std::vector<LayerOption> &options : kinds)
      for (int64_t i = random(1, 4); i > 0; --i) {
        LayerOption &option = options.emplace_back();
        option.extraNs = random(0, 20);
        option.peakBytes = random(0, 10);
        addLags(option, random, 30);
        for (auto program :
             {&LayerOption::backward, &LayerOption::weightGrad}) {
          CopiesBack &copies = option.*program;
          copies.linkFreeNs = random(-10, 10);
          copies.mayWaitNs = random(0, 4) ? random(0, 10) : kUnlimitedNs;
          if (&options == &kinds.front())
            copies.earlyNs = 0;
        }
      }
    PolicyProblem problem;
    std::vector<int64_t> &stage = problem.stages.emplace_back();
    for (int64_t layers = random(1, 7); layers > 1; --layers)
      stage.push_back(random(1, 2));
    stage.push_back(0);
    problem.moments = {{{1}, 0}};
    problem.kinds = kinds;
    countCertainWaits({&kinds[0], &kinds[1], &kinds[2]});
    PolicyProblem counted = problem;
    counted.kinds = kinds;
    ASSERT_TRUE(problem.check().ok() && counted.check().ok());
    for (size_t kind = 0; kind < kinds.size(); ++kind)
      for (size_t i = 0; i < kinds[kind].size(); ++i) {
        const LayerOption &before = problem.kinds[kind][i];
        const LayerOption &after = kinds[kind][i];
        EXPECT_GE(after.extraNs, before.extraNs);
        EXPECT_GE(after.backward.earlyNs, 0);
        EXPECT_GE(after.weightGrad.earlyNs, 0);
        EXPECT_EQ(after.extraNs - before.extraNs,
                  before.backward.earlyNs - after.backward.earlyNs +
                      before.weightGrad.earlyNs - after.weightGrad.earlyNs);
        EXPECT_EQ(after.weightGradNs - before.weightGradNs,
                  before.weightGrad.earlyNs - after.weightGrad.earlyNs);
        grown += after.extraNs > before.extraNs;
      }
    forEachChoice(problem, [&](const Choices &choices) {
      EXPECT_EQ(evaluate(problem, choices).extraNs,
                evaluate(counted, choices).extraNs);
      EXPECT_EQ(timesOf(problem, 0, choices[0]).weightGradNs,
                timesOf(counted, 0, choices[0]).weightGradNs);
    });
    ASSERT_FALSE(HasFailure()) << "trial " << trial;
  }
  EXPECT_GT(grown, 200);
}

// By hand: of 30, the link is free for 8 at most, and 5 may be late. Where
// somebody leaves it all the time nothing is certain.
TEST(CountCertainWaits, CountWhatTheLinkIsNeverFreeFor) {
  LayerOption copies{7, 10, 150}, last{0, 10, 150};
  copies.backward = {30, 8, 5};
  copies.weightGrad = {30, -3, 5};
  copies.weightGradNs = 2;
  last.backward = {0, 6, 0};
  last.weightGrad = {0, -9, 0};
  std::vector<LayerOption> inside = {copies}, lasts = {last};
  countCertainWaits({&inside, &lasts});
  EXPECT_EQ(inside[0].extraNs, 7 + 17 + 25);
  EXPECT_EQ(inside[0].weightGradNs, 2 + 25);
  EXPECT_EQ(inside[0].backward, (CopiesBack{13, 8, 5}));
  EXPECT_EQ(inside[0].weightGrad, (CopiesBack{5, -3, 5}));
  EXPECT_EQ(lasts[0], last);
  inside = {copies};
  lasts[0].backward.linkFreeNs = kUnlimitedNs;
  lasts[0].weightGrad.linkFreeNs = kUnlimitedNs;
  countCertainWaits({&inside, &lasts});
  EXPECT_EQ(inside[0], copies);
}

// What the fast front loses is part of a step that takes far longer than what
// choices add: layers of 10 us at least, extra time of up to 1 us each.
TEST(PolicyFront, FastIsWithinTwoPercentOfTheOptimum) {
  Random random(99);
  int64_t problems = 0;
  for (int trial = 0; trial < 600; ++trial) {
    PolicyProblem problem = randomProblem(random, true);
    int64_t layers = 0;
    for (const auto &stage : problem.stages)
      layers += static_cast<int64_t>(stage.size());
    int64_t work = layers * 3000; // extra time up to a third of it
    PolicyFront exact(problem, Effort::exact), fast(problem, Effort::fast);
    for (const PolicyFront::Point &point : exact.points()) {
      const PolicyFront::Point *found = fast.within(point.peakBytes);
      ASSERT_NE(found, nullptr) << "trial " << trial;
      EXPECT_LE(static_cast<double>(work + found->extraNs),
                1.02 * static_cast<double>(work + point.extraNs))
          << "trial " << trial;
    }
    ++problems;
  }
  EXPECT_EQ(problems, 600);
}

// As large as a rank of a real plan: twelve layers of two kinds, eight options.
TEST(PolicyFront, FastIsWithinTwoPercentOnLargeRanks) {
  Random random(5);
  for (int trial = 0; trial < 12; ++trial) {
    PolicyProblem problem;
    for (int kind = 0; kind < 2; ++kind) {
      std::vector<LayerOption> &options = problem.kinds.emplace_back();
      options.push_back({0, int64_t{2000} << 20, int64_t{2600} << 20});
      for (int i = 1; i < 8; ++i) {
        int64_t kept = random(50, 1900) << 20;
        options.push_back(
            {random(1, 12'000'000), kept, kept + (random(400, 900) << 20)});
        addLag(options.back(), random, 6'000'000);
      }
    }
    problem.stages = {{0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
    problem.moments = {{{random(0, 15)}, 0, int64_t{20} << 30}};
    PolicyFront exact(problem, Effort::exact), fast(problem, Effort::fast);
    int64_t work = 12 * 36'000'000; // a DeepSeek-V3 layer, both ways
    for (const PolicyFront::Point &point : exact.points()) {
      const PolicyFront::Point *found = fast.within(point.peakBytes);
      if (!found) { // the smallest plans may be left out
        EXPECT_LE(static_cast<double>(fast.points().front().peakBytes),
                  1.002 * static_cast<double>(point.peakBytes));
        continue;
      }
      EXPECT_LE(static_cast<double>(work + found->extraNs),
                1.02 * static_cast<double>(work + point.extraNs))
          << "trial " << trial;
      EXPECT_LE(leastExtraNs(problem, point.peakBytes), point.extraNs);
    }
  }
}

// The last rank of a real plan: the head needs so much above what layers keep
// that their own peaks do not matter, nor does what other microbatches hold.
TEST(PolicyFront, FastIsWithinTwoPercentBelowALargeHead) {
  Random random(6);
  for (int trial = 0; trial < 12; ++trial) {
    PolicyProblem problem;
    std::vector<LayerOption> &options = problem.kinds.emplace_back();
    options.push_back({0, int64_t{600} << 20, int64_t{900} << 20});
    for (int i = 1; i < 16; ++i) {
      int64_t kept = random(5, 590) << 20;
      options.push_back(
          {random(1, 2'000'000), kept, kept + (random(100, 900) << 20)});
    }
    problem.kinds.push_back({{0, int64_t{800} << 20, int64_t{8000} << 20}});
    problem.stages = {{0, 0, 0, 0, 0, 0, 0, 0, 1}};
    problem.moments = {{{0}, 0, int64_t{20} << 30}};
    PolicyFront exact(problem, Effort::exact), fast(problem, Effort::fast);
    EXPECT_EQ(fast.points().front().peakBytes,
              exact.points().front().peakBytes);
    int64_t work = 8 * 6'000'000; // a layer of DeepSeek-V2-Lite, both ways
    for (const PolicyFront::Point &point : exact.points()) {
      const PolicyFront::Point *found = fast.within(point.peakBytes);
      ASSERT_NE(found, nullptr) << "trial " << trial;
      EXPECT_LE(static_cast<double>(work + found->extraNs),
                1.02 * static_cast<double>(work + point.extraNs))
          << "trial " << trial;
    }
  }
}

TEST(PolicyFront, MoreMemoryNeverTakesMoreTime) {
  Random random(7);
  for (int trial = 0; trial < 100; ++trial) {
    PolicyProblem problem = randomProblem(random, false);
    PolicyFront front(problem, Effort::fast);
    int64_t before = kNothing;
    for (const PolicyFront::Point &point : front.points()) {
      EXPECT_LT(point.extraNs, before);
      before = point.extraNs;
    }
    EXPECT_EQ(front.points().back().extraNs,
              leastExtraNs(problem, kNothing / 4));
  }
}

TEST(PolicyProblem, SaysWhatIsWrong) {
  PolicyProblem problem;
  EXPECT_FALSE(problem.check().ok());
  problem.kinds = {{{0, 10, 20}}};
  problem.stages = {{0}};
  problem.moments = {{{1}, 0, 5}};
  EXPECT_TRUE(problem.check().ok());
  PolicyProblem wrong = problem;
  wrong.stages = {{1}};
  EXPECT_THAT(wrong.check().error().message,
              testing::HasSubstr("no kind of layer 1"));
  wrong = problem;
  wrong.kinds[0][0].peakBytes = 5;
  EXPECT_FALSE(wrong.check().ok());
  wrong = problem;
  wrong.moments[0].held = {1, 1};
  EXPECT_FALSE(wrong.check().ok());
  wrong = problem;
  wrong.kinds[0][0].peakBytes = int64_t{1} << 62;
  EXPECT_FALSE(wrong.check().ok());
}

} // namespace
} // namespace moe::optimize
