#include "compiler/Schedule/Evaluate.h"

#include "compiler/Schedule/Generators.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

using namespace moe;
using namespace moe::schedule;
using testing::HasSubstr;

namespace {

TEST(Evaluate, AnExampleByHand) {
  // Messages take 1: rank 1 begins at 3, rank 0 goes back when the gradients
  // that rank 1 makes at 7 and 11 are there.
  Schedule schedule = *generate("1f1b", {2, 2, 1});
  Costs costs;
  costs.stages = {{2, 2, 1, 10, 4}, {1, 2, 1, 7, 0}};
  costs.transferNs = 1;
  Evaluation value = *evaluate(schedule, costs);
  EXPECT_EQ(value.ranks[0].times,
            (std::vector<ActionTime>{{0, 2}, {2, 4}, {8, 11}, {12, 15}}));
  EXPECT_EQ(value.ranks[1].times,
            (std::vector<ActionTime>{{3, 4}, {4, 7}, {7, 8}, {8, 11}}));
  EXPECT_EQ(value.makespanNs, 15);
  EXPECT_EQ(value.ranks[0].busyNs, 10);
  EXPECT_DOUBLE_EQ(value.bubble, 1 - 10.0 / 15);
  EXPECT_DOUBLE_EQ(value.spanBubble, 1 - 10.0 / 15);
  EXPECT_EQ(value.ranks[0].peakBytes, 20);
  EXPECT_EQ(value.ranks[1].peakBytes, 7);
  EXPECT_EQ(value.peakBytes, 20);
}

TEST(Evaluate, AnOverlapBeginsAndEndsTogetherAndHoldsBoth) {
  using enum Phase;
  Schedule schedule{"overlap", {1, 2, 1}, {}};
  schedule.ranks = {{{forward, 0, 0},
                     {forward, 0, 1, true},
                     {backward, 0, 0},
                     {backward, 0, 1}}};
  Costs costs;
  costs.stages = {{3, 2, 2, 10, 0}};
  Evaluation apart = *evaluate(schedule, costs);
  EXPECT_EQ(apart.makespanNs, 14);
  EXPECT_EQ(apart.peakBytes, 20);
  costs.overlaps = {{0, 0, 5}};
  Evaluation together = *evaluate(schedule, costs);
  EXPECT_EQ(together.ranks[0].times,
            (std::vector<ActionTime>{{0, 3}, {3, 8}, {3, 8}, {8, 12}}));
  EXPECT_EQ(together.ranks[0].busyNs, 12);
}

/// Earliest times by relaxing all dependencies until nothing changes: no order
/// of evaluation, no queue.
int64_t longestPath(const Schedule &schedule, const Costs &costs) {
  const ScheduleProblem &problem = schedule.problem;
  std::map<std::tuple<bool, int64_t, int64_t>, int64_t> end;
  int64_t latest = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
      int64_t free = 0;
      for (const Action &action : schedule.ranks[rank]) {
        bool forward = action.phase == Phase::forward;
        const StageCosts &stage =
            costs.stages[static_cast<size_t>(action.stage)];
        int64_t begin = free;
        int64_t source = action.stage + (forward ? -1 : 1);
        bool needs = action.phase != Phase::weight_grad &&
                     !(forward ? problem.isFirst(action.stage)
                               : problem.isLast(action.stage));
        if (needs)
          begin = std::max(
              begin, end[{forward, source, action.microbatch}] +
                         (problem.rankOf(source) == static_cast<int64_t>(rank)
                              ? 0
                              : costs.transferNs));
        free =
            begin + (forward                                 ? stage.forwardNs
                     : action.phase == Phase::backward_input ? stage.inputGradNs
                     : action.phase == Phase::weight_grad
                         ? stage.weightGradNs
                         : stage.inputGradNs + stage.weightGradNs);
        if (action.phase != Phase::weight_grad) {
          int64_t &known = end[{forward, action.stage, action.microbatch}];
          changed = changed || known != free;
          known = free;
        }
        latest = std::max(latest, free);
      }
    }
  }
  return latest;
}

TEST(Evaluate, TheStepIsTheLongestPath) {
  std::mt19937 random(17);
  for (const char *name :
       {"gpipe", "1f1b", "interleaved", "zb-h2", "zb-v", "v-min"})
    for (int round = 0; round < 20; ++round) {
      const auto &all = generators();
      auto info = std::find_if(all.begin(), all.end(), [&](const auto &entry) {
        return entry.name == name;
      });
      auto ranks = static_cast<int64_t>(2 + random() % 4);
      ScheduleProblem problem{ranks,
                              ranks * static_cast<int64_t>(1 + random() % 3),
                              info->stagesPerRank, info->placement};
      GeneratorOptions options;
      options.costs = Costs::uniform(problem);
      options.costs.transferNs = static_cast<int64_t>(random() % 500);
      for (StageCosts &stage : options.costs.stages) {
        stage.forwardNs = static_cast<int64_t>(1 + random() % 2000);
        stage.inputGradNs = static_cast<int64_t>(1 + random() % 2000);
        stage.weightGradNs = static_cast<int64_t>(1 + random() % 2000);
      }
      Result<Schedule> schedule = generate(name, problem, options);
      ASSERT_TRUE(schedule.ok()) << schedule.error().message;
      EXPECT_EQ(evaluate(*schedule, options.costs)->makespanNs,
                longestPath(*schedule, options.costs))
          << name;
    }
}

/// When the last action ends, straight from the steps: receives and sends post
/// and return, runs wait for what is on its way to them, and a message is there
/// a transfer after both sides posted it.
int64_t longestSteps(const StepSchedule &steps, const Costs &costs) {
  const ScheduleProblem &problem = steps.problem;
  // Of messages, by whether they go forward, the stage and the microbatch that
  // they are for: when they are posted.
  using Message = std::tuple<bool, int64_t, int64_t>;
  std::map<Message, int64_t> sent, received;
  auto arrival = [&](const Message &message) {
    const int64_t source =
        std::get<1>(message) + (std::get<0>(message) ? -1 : 1);
    const bool isNear =
        problem.rankOf(source) == problem.rankOf(std::get<1>(message));
    return std::max(sent[message], received[message]) +
           (isNear ? 0 : costs.transferNs);
  };
  int64_t latest = 0, before = -1;
  // Times rise from round to round until all wait for what they have to.
  for (int64_t sum = 0; sum != before; latest = 0) {
    before = std::exchange(sum, 0);
    for (const std::vector<Step> &ofRank : steps.ranks) {
      int64_t now = 0;
      for (const Step &step : ofRank) {
        const bool forward = step.phase == Phase::forward;
        const Message own = {forward, step.stage, step.microbatch};
        const Message next = {forward, step.stage + (forward ? 1 : -1),
                              step.microbatch};
        auto begin = [&](Phase phase, const Message &input) {
          if (phase != Phase::weight_grad && received.contains(input))
            now = std::max(now, arrival(input));
        };
        const StageCosts &stage =
            costs.stages[static_cast<size_t>(std::max<int64_t>(0, step.stage))];
        switch (step.kind) {
        case plan::StepKind::receive:
          received[own] = now;
          break;
        case plan::StepKind::send:
          sent[next] = now;
          break;
        case plan::StepKind::wait_send:
          now = std::max(now, arrival(next));
          break;
        case plan::StepKind::overlap:
          begin(step.phase, own);
          begin(step.second.phase, {step.second.phase == Phase::forward,
                                    step.second.stage, step.second.microbatch});
          now += costs.pairNs(step.stage, step.second.stage,
                              step.second.phase == Phase::backward);
          break;
        case plan::StepKind::run:
          begin(step.phase, own);
          now += forward                               ? stage.forwardNs
                 : step.phase == Phase::backward_input ? stage.inputGradNs
                 : step.phase == Phase::weight_grad
                     ? stage.weightGradNs
                     : stage.inputGradNs + stage.weightGradNs;
          break;
        default:
          continue;
        }
        if (plan::isExecution(step.kind))
          latest = std::max(latest, now);
        sum += now;
      }
    }
    if (sum == before)
      return latest;
  }
  return latest;
}

TEST(Evaluate, TransfersBeginWhenBothSidesPostedThem) {
  std::mt19937 random(23);
  int longer = 0, steps = 0;
  for (const GeneratorInfo &info : generators())
    for (int round = 0; round < 12; ++round) {
      const auto ranks = static_cast<int64_t>(2 + 2 * (random() % 2));
      const ScheduleProblem problem{
          ranks, 2 * ranks * static_cast<int64_t>(1 + random() % 3),
          info.stagesPerRank, info.placement};
      Result<Schedule> schedule = generate(info.name, problem);
      if (!schedule)
        continue;
      Costs costs = Costs::uniform(problem);
      costs.transferNs = static_cast<int64_t>(random() % 500);
      for (StageCosts &stage : costs.stages) {
        stage.forwardNs = static_cast<int64_t>(1 + random() % 2000);
        stage.inputGradNs = static_cast<int64_t>(1 + random() % 2000);
        stage.weightGradNs = static_cast<int64_t>(1 + random() % 2000);
      }
      const StepSchedule all = insertTransfers(*schedule);
      const Transfers transfers = transfersOf(*schedule, all);
      const int64_t withTransfers =
          evaluate(*schedule, costs, &transfers)->makespanNs;
      EXPECT_EQ(withTransfers, longestSteps(all, costs)) << info.name;
      longer += withTransfers > evaluate(*schedule, costs)->makespanNs;
      ++steps;
    }
  EXPECT_GT(steps, 100);
  EXPECT_GT(longer, 50);
}

/// What a rank holds while the action at `now` runs, straight from the words of
/// StageCosts: looks for the actions of every microbatch anew.
int64_t heldWhile(const std::vector<Action> &actions, size_t now,
                  const Costs &costs) {
  size_t first = now, last = now; // both of a pair run
  if (now > 0 && actions[now - 1].overlapsNext)
    --first;
  if (actions[now].overlapsNext)
    ++last;
  auto place = [&](const Action &like, std::initializer_list<Phase> phases) {
    for (size_t i = 0; i < actions.size(); ++i)
      if (actions[i].stage == like.stage &&
          actions[i].microbatch == like.microbatch &&
          std::find(phases.begin(), phases.end(), actions[i].phase) !=
              phases.end())
        return i;
    return actions.size();
  };
  int64_t bytes = 0;
  for (size_t i = first; i <= last; ++i) {
    const StageCosts &stage =
        costs.stages[static_cast<size_t>(actions[i].stage)];
    bytes += actions[i].phase == Phase::forward ? stage.forwardTransientBytes
                                                : stage.backwardTransientBytes;
  }
  for (size_t i = 0; i <= last; ++i) {
    if (actions[i].phase != Phase::forward)
      continue;
    const StageCosts &stage =
        costs.stages[static_cast<size_t>(actions[i].stage)];
    size_t back = place(actions[i], {Phase::backward, Phase::backward_input});
    size_t weights = place(actions[i], {Phase::backward, Phase::weight_grad});
    if (back >= first)
      bytes += stage.savedBytes;
    else if (weights >= first)
      bytes += stage.weightGradBytes;
  }
  return bytes;
}

/// With values that wait on the host, too: held while their copies run.
TEST(Evaluate, ThePeakIsWhatIsHeldWhileSomethingRuns) {
  std::mt19937 random(23);
  auto below = [&](int64_t end) {
    return static_cast<int64_t>(random()) % end;
  };
  int pairs = 0;
  for (const GeneratorInfo &info : generators())
    for (int round = 0; round < 12; ++round) {
      ScheduleProblem problem{2 + 2 * below(2), 4 + 4 * below(2),
                              info.stagesPerRank, info.placement};
      Result<Schedule> schedule = generate(info.name, problem);
      if (!schedule)
        continue;
      Costs costs = Costs::uniform(problem);
      for (StageCosts &stage : costs.stages) {
        stage.savedBytes = below(50);
        stage.weightGradBytes = below(stage.savedBytes + 1);
        stage.forwardTransientBytes = below(90);
        stage.backwardTransientBytes = below(90);
      }
      Result<Evaluation> evaluation = evaluate(*schedule, costs);
      ASSERT_TRUE(evaluation.ok()) << info.name;
      for (size_t rank = 0; rank < schedule->ranks.size(); ++rank) {
        const std::vector<Action> &actions = schedule->ranks[rank];
        int64_t most = 0;
        for (size_t i = 0; i < actions.size(); ++i) {
          most = std::max(most, heldWhile(actions, i, costs));
          pairs += actions[i].overlapsNext;
        }
        EXPECT_EQ(evaluation->ranks[rank].peakBytes, most) << info.name;
      }
    }
  EXPECT_GT(pairs, 0);
}

TEST(Evaluate, UniformCostsSplitTheShareOfARank) {
  ScheduleProblem problem{4, 8, 2, Placement::v};
  EXPECT_EQ(Costs::uniform(problem).stages[0],
            (StageCosts{500, 500, 500, 500, 500}));
  // Two copies: every microbatch passes through one stage of a rank.
  problem.placement = Placement::bidirectional;
  EXPECT_EQ(Costs::uniform(problem).stages[0],
            (StageCosts{1000, 1000, 1000, 1000, 1000}));
}

TEST(Evaluate, Limits) {
  Schedule schedule = *generate("1f1b", {2, 2, 1});
  Costs costs = Costs::uniform(schedule.problem);
  costs.limitBytes = {2000, 1000};
  Evaluation value = *evaluate(schedule, costs);
  EXPECT_TRUE(withinLimits(value, costs).ok());
  costs.limitBytes = {1999, 1000};
  EXPECT_EQ(withinLimits(value, costs).error().message,
            "schedule: rank 0 holds 2000 bytes at once, 1 more than its limit");
}

TEST(Evaluate, CostsThatDoNotFit) {
  Schedule schedule = *generate("1f1b", {2, 2, 1});
  auto error = [&](auto change) {
    Costs costs = Costs::uniform(schedule.problem);
    change(costs);
    Result<Evaluation> value = evaluate(schedule, costs);
    return value ? "no error" : value.error().message;
  };
  EXPECT_THAT(error([](Costs &c) { c.stages.pop_back(); }),
              HasSubstr("given for 1 stages, the schedule has 2"));
  EXPECT_THAT(error([](Costs &c) { c.limitBytes = {1}; }),
              HasSubstr("limits are given for 1 ranks"));
  EXPECT_THAT(error([](Costs &c) { c.stages[1].forwardNs = -1; }),
              HasSubstr("of stage 1 are negative"));
  EXPECT_THAT(error([](Costs &c) { c.stages[1].weightGradBytes = 1001; }),
              HasSubstr("stage 1 holds more for its weight gradient"));
  EXPECT_THAT(error([](Costs &c) { c.transferNs = -1; }),
              HasSubstr("the transfer time is negative"));
  EXPECT_THAT(error([](Costs &c) { c.overlaps = {{0, 2, 1}}; }),
              HasSubstr("names a stage that does not exist"));
  EXPECT_THAT(error([](Costs &c) { c.overlaps = {{0, 1, -1}}; }),
              HasSubstr("takes negative time"));
  EXPECT_THAT(error([](Costs &c) { c.stages[0].forwardNs = INT64_MAX; }),
              HasSubstr("does not fit 62 bits"));
  // A schedule that cannot run.
  std::swap(schedule.ranks[0][0], schedule.ranks[0][2]);
  EXPECT_THAT(error([](Costs &) {}), HasSubstr("deadlock"));
}

} // namespace
