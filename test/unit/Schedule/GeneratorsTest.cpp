// Every generator: legal for everything it admits, holding what its source
// says.
#include "compiler/Schedule/Generators.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace moe;
using namespace moe::schedule;
using testing::AnyOf;
using testing::HasSubstr;

namespace {

std::string failure(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

ScheduleProblem problemFor(const GeneratorInfo &info, int64_t ranks,
                           int64_t microbatches, int64_t stagesPerRank = 0) {
  ScheduleProblem problem{ranks, microbatches, info.stagesPerRank,
                          info.placement};
  if (stagesPerRank > 0)
    problem.stagesPerRank = stagesPerRank;
  return problem;
}

const GeneratorInfo &info(std::string_view name) {
  for (const GeneratorInfo &candidate : generators())
    if (candidate.name == name)
      return candidate;
  ADD_FAILURE() << "no generator " << name;
  return generators().front();
}

Schedule make(std::string_view name, int64_t ranks, int64_t microbatches,
              const GeneratorOptions &options = {}, int64_t stagesPerRank = 0) {
  Result<Schedule> schedule =
      generate(name, problemFor(info(name), ranks, microbatches, stagesPerRank),
               options);
  EXPECT_TRUE(schedule.ok())
      << name << ": " << (schedule ? "" : schedule.error().message);
  return schedule ? *schedule : Schedule{};
}

/// The bubble with F = B = W = 1000 ns a rank and no transfer time.
double unitBubble(const Schedule &schedule) {
  return evaluate(schedule, Costs::uniform(schedule.problem))->bubble;
}

/// As much idle time as `idle` units of a rank's forward, in a schedule that is
/// busy for 3 units a microbatch.
double bubbleOf(double idle, int64_t microbatches) {
  return idle / (idle + 3.0 * static_cast<double>(microbatches));
}

//===----------------------------------------------------------------------===//
// Legality
//===----------------------------------------------------------------------===//

TEST(Generators, RandomProblemsAndCostsAreLegalWithTransfersToo) {
  std::mt19937 random(11);
  auto upTo = [&](int64_t most) {
    return static_cast<int64_t>(random() % static_cast<uint32_t>(most));
  };
  int64_t made = 0, refused = 0;
  for (int round = 0; round < 420; ++round) {
    const GeneratorInfo &chosen =
        generators()[static_cast<size_t>(round) % generators().size()];
    ScheduleProblem problem = problemFor(chosen, 1 + upTo(12), 1 + upTo(40));
    if (chosen.stagesPerRank > 1 && chosen.placement == Placement::loop)
      problem.stagesPerRank = 2 + upTo(3);
    GeneratorOptions options;
    if (random() % 4 != 0) {
      options.costs = Costs::uniform(problem);
      options.costs.transferNs = upTo(400);
      for (StageCosts &stage : options.costs.stages)
        stage = {100 + upTo(1000), 100 + upTo(1000), upTo(1000), 1000,
                 upTo(1001)};
    }
    if (random() % 3 == 0)
      options.groupSize = 1 + upTo(2 * problem.ranks);
    if (random() % 3 == 0)
      options.mostPending = upTo(4);
    Result<Schedule> schedule = generate(chosen.name, problem, options);
    if (!schedule) {
      ++refused;
      EXPECT_THAT(schedule.error().message,
                  AnyOf(HasSubstr("needs"), HasSubstr("takes one stage")));
      continue;
    }
    ++made;
    std::string what =
        std::string(chosen.name) + ", " + std::to_string(problem.ranks) +
        " ranks, " + std::to_string(problem.microbatches) + " microbatches, " +
        std::to_string(problem.stagesPerRank) + " stages, round " +
        std::to_string(round);
    EXPECT_EQ(schedule->name, chosen.name);
    ASSERT_EQ(failure(verify(*schedule)), "no error") << what;
    for (ReceiveAhead ahead :
         {ReceiveAhead::never, ReceiveAhead::inFreeSlots, ReceiveAhead::always})
      ASSERT_EQ(failure(verify(insertTransfers(*schedule, ahead))), "no error")
          << what << ", " << static_cast<int>(ahead);
    // The same input, the same output.
    EXPECT_EQ(*generate(chosen.name, problem, options), *schedule) << what;
  }
  EXPECT_GT(made, 250);
  EXPECT_GT(refused, 20);
}

/// The most weight gradients of a rank that wait while it begins a forward or a
/// backward.
int64_t mostWaiting(const Schedule &schedule) {
  int64_t most = 0;
  for (const std::vector<Action> &actions : schedule.ranks) {
    int64_t waiting = 0;
    for (const Action &action : actions) {
      if (action.phase == Phase::weight_grad) {
        --waiting;
        continue;
      }
      most = std::max(most, waiting);
      waiting += action.phase == Phase::backward_input;
    }
  }
  return most;
}

TEST(Generators, FewWeightGradientsWaitWhereFewMay) {
  std::mt19937 random(12);
  auto upTo = [&](int64_t most) {
    return static_cast<int64_t>(random() % static_cast<uint32_t>(most));
  };
  int64_t limited = 0;
  for (const GeneratorInfo &chosen : generators()) {
    if (!chosen.usesCosts)
      continue;
    for (int round = 0; round < 20; ++round) {
      ScheduleProblem problem = problemFor(chosen, 2 + upTo(7), 16 + upTo(16));
      if (chosen.placement == Placement::loop && chosen.stagesPerRank > 1)
        problem.microbatches = 4 * problem.ranks;
      GeneratorOptions options;
      options.costs = Costs::uniform(problem);
      for (StageCosts &stage : options.costs.stages)
        stage = {100 + upTo(1000), 100 + upTo(1000), upTo(1000), 1000,
                 upTo(1001)};
      Result<Schedule> any = generate(chosen.name, problem, options);
      ASSERT_TRUE(any) << chosen.name << ": " << any.error().message;
      options.mostPending = upTo(4);
      Result<Schedule> few = generate(chosen.name, problem, options);
      ASSERT_TRUE(few) << chosen.name << ": " << few.error().message;
      EXPECT_LE(mostWaiting(*few), options.mostPending) << chosen.name;
      EXPECT_EQ(failure(verify(insertTransfers(*few))), "no error");
      limited += mostWaiting(*any) > options.mostPending;
    }
  }
  EXPECT_GT(limited, 50); // or there would be nothing to hold back
}

TEST(Generators, ReceivesInFreeSlotsAddNoSlots) {
  for (const GeneratorInfo &chosen : generators()) {
    Schedule schedule = make(chosen.name, 4, 16);
    SlotAssignment late =
        assignSlots(insertTransfers(schedule, ReceiveAhead::never));
    SlotAssignment early =
        assignSlots(insertTransfers(schedule, ReceiveAhead::inFreeSlots));
    EXPECT_EQ(early.slotCounts, late.slotCounts) << chosen.name;
  }
}

//===----------------------------------------------------------------------===//
// In flight
//===----------------------------------------------------------------------===//

const std::vector<int64_t> kMicrobatches = {1, 2, 3, 5, 8, 17, 32, 64, 96};

/// Most microbatches of one stage that a rank holds, for every rank count, rank
/// and number of microbatches that the schedule admits.
template <typename Formula>
void expectInFlight(std::string_view name, Formula formula,
                    int64_t stagesPerRank = 0) {
  for (int64_t ranks = 2; ranks <= 32; ++ranks)
    for (int64_t microbatches : kMicrobatches) {
      Result<Schedule> schedule = generate(
          name, problemFor(info(name), ranks, microbatches, stagesPerRank));
      if (!schedule)
        continue;
      for (int64_t rank = 0; rank < ranks; ++rank)
        ASSERT_EQ(maxInFlight(*schedule, rank),
                  formula(ranks, rank, microbatches))
            << name << ", rank " << rank << " of " << ranks << ", "
            << microbatches << " microbatches";
    }
}

TEST(InFlight, Gpipe) {
  expectInFlight("gpipe", [](int64_t, int64_t, int64_t m) { return m; });
}

TEST(InFlight, OneForwardOneBackward) {
  expectInFlight("1f1b", [](int64_t p, int64_t r, int64_t m) {
    return std::min(m, p - r);
  });
}

TEST(InFlight, Interleaved) {
  for (int64_t v : {2, 3, 4})
    expectInFlight(
        "interleaved",
        [&](int64_t p, int64_t r, int64_t m) {
          return std::min(v * m, (v - 1) * p + 2 * (p - r - 1) + 1);
        },
        v);
}

TEST(InFlight, ZeroBubbleH1HoldsTheSameOnEveryRank) {
  expectInFlight("zb-h1",
                 [](int64_t p, int64_t, int64_t m) { return std::min(m, p); });
}

TEST(InFlight, ZeroBubbleH2HoldsTheSameOnEveryRank) {
  expectInFlight("zb-h2", [](int64_t p, int64_t, int64_t m) {
    return std::min(m, 2 * p - 1);
  });
}

TEST(InFlight, HandcraftedZeroBubbleInBytes) {
  // Stage i, from 1, holds (p - i + 1) M_B + (i - 1) M_W in H1 and
  // (2 p - 2 i + 1) M_B + (2 i - 2) M_W in H2.
  for (int64_t p = 2; p <= 32; ++p)
    for (auto [name, factor] : {std::pair("zb-h1", 1), std::pair("zb-h2", 2)}) {
      Schedule schedule = make(name, p, 3 * p);
      Costs costs = Costs::uniform(schedule.problem);
      for (StageCosts &stage : costs.stages)
        stage.weightGradBytes = 700;
      Evaluation value = *evaluate(schedule, costs);
      for (int64_t r = 0; r < p; ++r)
        ASSERT_EQ(value.ranks[static_cast<size_t>(r)].peakBytes,
                  (factor * (p - r - 1) + 1) * 1000 + factor * r * 700)
            << name << ", rank " << r << " of " << p;
    }
}

TEST(InFlight, ZeroBubbleFromCostsUsesItsLimit) {
  // With microbatches to fill it; with fewer, no rank holds more.
  for (auto [name, factor] : {std::pair("zb-1p", 1), std::pair("zb-2p", 2)})
    for (int64_t p = 2; p <= 32; ++p)
      for (int64_t m : kMicrobatches) {
        Schedule schedule = make(name, p, m);
        for (int64_t r = 0; r < p; ++r) {
          int64_t held = maxInFlight(schedule, r);
          ASSERT_LE(held, std::min(m, factor * p));
          if (m >= 3 * p)
            ASSERT_EQ(held, factor * p) << name << ", " << r << " of " << p;
        }
      }
}

TEST(Interleaved, AnyGroupFromTheRanksToTwiceAsManyCanBeExecuted) {
  for (int64_t v : {2, 3})
    for (int64_t p : {2, 3, 4, 7, 12})
      for (int64_t group = p; group <= 2 * p; ++group)
        for (int64_t m : {group, 3 * group, 2 * group + p}) {
          GeneratorOptions options;
          options.groupSize = group;
          Schedule schedule = make("interleaved", p, m, options, v);
          EXPECT_TRUE(verify(insertTransfers(schedule)).ok())
              << p << " ranks, groups of " << group << ", " << m;
        }
}

TEST(InFlight, GroupedInterleavedNeverExceedsItsBuildingBlock) {
  for (int64_t v : {2, 3})
    for (int64_t p = 2; p <= 32; ++p)
      for (int64_t group : {(p + 1) / 2, p}) {
        GeneratorOptions options;
        options.groupSize = group;
        Schedule schedule =
            make("grouped-interleaved", p, 6 * group, options, v);
        for (int64_t r = 0; r < p; ++r)
          ASSERT_EQ(maxInFlight(schedule, r), group * (v - 1) + p)
              << "rank " << r << " of " << p << ", group " << group;
      }
}

/// The most on any rank; the V schedules balance it.
int64_t most(const Schedule &schedule) {
  int64_t held = 0;
  for (int64_t r = 0; r < schedule.problem.ranks; ++r)
    held = std::max(held, maxInFlight(schedule, r));
  return held;
}

TEST(InFlight, VSchedulesInUnitsOfTwoStages) {
  for (int64_t p = 2; p <= 32; ++p) {
    auto units = [&](const char *name) {
      return (most(make(name, p, 2 * p)) + 1) / 2;
    };
    EXPECT_EQ(units("zb-v"), p) << p;
    EXPECT_EQ(units("v-half"), (p + 2) / 2) << p;
    EXPECT_EQ(units("v-min"), (p + 4) / 3) << p;
    EXPECT_LE(units("1f1b-v"), (2 * p + 2) / 3 + 1) << p;
  }
}

TEST(InFlight, DualPipeV) {
  for (int64_t p = 2; p <= 32; ++p) {
    Schedule schedule = make("dualpipe-v", p, 3 * p);
    SlotAssignment slots =
        assignSlots(insertTransfers(schedule, ReceiveAhead::never));
    for (int64_t r = 0; r < p; ++r) {
      ASSERT_EQ(maxInFlight(schedule, r), 2 * p + 1) << r << " of " << p;
      ASSERT_EQ(slots.slotCounts[static_cast<size_t>(r)], 2 * p - r);
      ASSERT_EQ(slots.slotCounts[static_cast<size_t>(2 * p - 1 - r)], r + 1);
    }
  }
}

TEST(InFlight, DualPipe) {
  for (int64_t p = 2; p <= 32; p += 2) {
    Schedule schedule = make("dualpipe", p, 4 * p);
    for (int64_t r = 0; r < p; ++r)
      ASSERT_EQ(maxInFlight(schedule, r), p + 1) << r << " of " << p;
  }
}

//===----------------------------------------------------------------------===//
// Bubbles in unit costs
//===----------------------------------------------------------------------===//

TEST(Bubbles, FollowTheFormulas) {
  for (int64_t p = 2; p <= 16; ++p)
    for (int64_t m : {3 * p, 4 * p}) {
      auto near = [&](const char *name, double idle) {
        EXPECT_NEAR(unitBubble(make(name, p, m)), bubbleOf(idle, m), 1e-12)
            << name << ", " << p << " ranks, " << m << " microbatches";
      };
      auto d = static_cast<double>(p - 1);
      near("gpipe", 3 * d);
      near("1f1b", 3 * d);
      near("interleaved", 1.5 * d); // (p - 1) (F + B + W) / v
      near("zb-h1", d);             // (p - 1) (F + B - W)
      near("zb-1p", d);
      // Only the start of the last rank is left of the step time, and nothing
      // of any rank's own.
      near("zb-h2", d);
      near("zb-2p", d);
      near("zb-v", d / 2);
      for (const char *name : {"zb-h2", "zb-2p", "zb-v"}) {
        Schedule schedule = make(name, p, m);
        EXPECT_EQ(
            evaluate(schedule, Costs::uniform(schedule.problem))->spanBubble, 0)
            << name << ", " << p << " ranks";
      }
      // (p - 1) (F&B + B - 3 W) with F, B of half a rank, B with its W, and
      // without a gain from the overlap.
      near("dualpipe-v", d * (1.5 + 1 - 1.5));
      if (p % 2 == 0) // (p / 2 - 1) (F&B + B - 3 W)
        near("dualpipe", (static_cast<double>(p) / 2 - 1) * (3.0 + 2 - 3));
    }
}

TEST(Bubbles, ZeroBubbleV) {
  // arXiv 2401.10241: with F = B = W no rank idles from its first to its last
  // action, with the memory of 1f1b.
  for (int64_t p = 2; p <= 32; ++p) {
    Schedule schedule = make("zb-v", p, 2 * p);
    Evaluation value = *evaluate(schedule, Costs::uniform(schedule.problem));
    EXPECT_EQ(value.spanBubble, 0) << p;
    EXPECT_LE(value.peakBytes, p * 1000) << p;
  }
}

TEST(Bubbles, OverlapsGain) {
  Schedule schedule = make("dualpipe-v", 4, 16);
  Costs costs = Costs::uniform(schedule.problem);
  double apart = evaluate(schedule, costs)->makespanNs;
  for (int64_t f = 0; f < 8; ++f)
    for (int64_t b = 0; b < 8; ++b)
      costs.overlaps.push_back({f, b, 1000});
  EXPECT_LT(evaluate(schedule, costs)->makespanNs, 0.8 * apart);
}

//===----------------------------------------------------------------------===//
// Limits and what is not admitted
//===----------------------------------------------------------------------===//

TEST(Limits, ZeroBubbleFromCostsKeepsLimitsPerRank) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    auto ranks = static_cast<int64_t>(1 + random() % 10);
    ScheduleProblem problem = problemFor(
        info("zb-2p"), ranks, static_cast<int64_t>(1 + random() % 40));
    GeneratorOptions options;
    options.costs = Costs::uniform(problem);
    for (StageCosts &stage : options.costs.stages)
      stage.weightGradBytes = static_cast<int64_t>(random() % 1001);
    for (int64_t rank = 0; rank < ranks; ++rank)
      options.costs.limitBytes.push_back(
          1000 + static_cast<int64_t>(random() % 12000));
    Result<Schedule> schedule = generate("zb-2p", problem, options);
    ASSERT_TRUE(schedule.ok()) << schedule.error().message;
    ASSERT_EQ(failure(verify(*schedule)), "no error");
    Evaluation value = *evaluate(*schedule, options.costs);
    ASSERT_EQ(failure(withinLimits(value, options.costs)), "no error")
        << "round " << round;
  }
}

TEST(Limits, TooLittleForOneMicrobatch) {
  ScheduleProblem problem = problemFor(info("zb-1p"), 2, 4);
  GeneratorOptions options;
  options.costs = Costs::uniform(problem);
  options.costs.limitBytes = {4000, 900};
  EXPECT_EQ(generate("zb-1p", problem, options).error().message,
            "schedule zb-1p needs 1000 bytes for one microbatch on rank 1, "
            "whose limit is 900");
}

TEST(Errors, SayWhatTheScheduleNeeds) {
  auto error = [](const char *name, const ScheduleProblem &problem,
                  int64_t group = 0) {
    GeneratorOptions options;
    options.groupSize = group;
    Result<Schedule> schedule = generate(name, problem, options);
    return schedule ? "no error" : schedule.error().message;
  };
  EXPECT_THAT(error("zb-h1", {4, 8, 2}),
              HasSubstr("zb-h1 needs one stage per rank, asked for 2"));
  EXPECT_THAT(error("zb-v", {4, 8, 2}),
              HasSubstr("zb-v needs placement v, asked for loop"));
  EXPECT_THAT(error("v-min", {4, 8, 3, Placement::v}),
              HasSubstr("v-min needs 2 stages per rank, asked for 3"));
  EXPECT_THAT(error("interleaved", {4, 8, 1}),
              HasSubstr("needs two stages per rank or more, asked for one"));
  EXPECT_THAT(error("interleaved", {4, 6, 2}),
              HasSubstr("groups of at least as many microbatches as there are "
                        "ranks, the last one too, asked for 4 ranks, 6 "
                        "microbatches and groups of 4"));
  EXPECT_EQ(error("interleaved", {4, 8, 2}, 9), "no error");
  EXPECT_THAT(error("interleaved", {4, 9, 2}, 9),
              HasSubstr("groups of at most twice as many microbatches as there "
                        "are ranks"));
  EXPECT_THAT(error("interleaved", {4, 8, 2}, -1), HasSubstr("groups of -1"));
  EXPECT_THAT(error("grouped-interleaved", {4, 8, 2}, 1),
              HasSubstr("groups of half as many microbatches as there are "
                        "ranks up to as many, the last one too"));
  EXPECT_THAT(error("grouped-interleaved", {4, 8, 2}, 5),
              HasSubstr("groups of 5"));
  EXPECT_THAT(error("dualpipe-v", {4, 7, 2, Placement::v}),
              HasSubstr("needs twice as many microbatches as ranks, asked for "
                        "7 microbatches on 4 ranks"));
  EXPECT_THAT(error("dualpipe", {4, 6, 2, Placement::bidirectional}),
              HasSubstr("needs twice as many microbatches as ranks"));
  EXPECT_THAT(error("dualpipe", {3, 6, 2, Placement::bidirectional}),
              HasSubstr("an even number of ranks and of microbatches"));
  GeneratorOptions options;
  options.costs.stages.resize(3);
  EXPECT_THAT(generate("zb-2p", {4, 8, 1}, options).error().message,
              HasSubstr("given for 3 stages, the schedule has 4"));
}

} // namespace
