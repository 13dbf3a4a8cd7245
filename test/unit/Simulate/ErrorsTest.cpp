// Plans that cannot run, and what is said about them.
#include "compiler/Simulate/Simulate.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

using namespace moe;
using plan::Phase;
using plan::StepKind;
using testing::HasSubstr;

namespace {

std::string failure(const plan::Plan &plan) {
  simulate::Options options;
  options.detail = true;
  Result<simulate::Timeline> timeline = simulate::simulate(plan, options);
  return timeline.ok() ? "no error" : timeline.error().message;
}

/// One microbatch there and back.
PlanBuilder makePair() {
  PlanBuilder builder(2);
  for (int64_t rank = 0; rank < 2; ++rank) {
    builder.addStage(rank);
    builder.addProgram(rank, Phase::forward, {makeOp(10), makeOp(10)});
    builder.addProgram(rank, Phase::backward, {makeOp(20)});
  }
  builder.load(0, 0);
  builder.run(0, 0, Phase::forward);
  builder.send(0, 0, Phase::forward, 1);
  builder.receive(0, 0, Phase::backward, 1);
  builder.run(0, 0, Phase::backward);
  builder.waitSend(0, 0, Phase::forward, 1);
  builder.receive(1, 0, Phase::forward, 0);
  builder.run(1, 0, Phase::forward);
  builder.run(1, 0, Phase::backward);
  builder.send(1, 0, Phase::backward, 0);
  builder.waitSend(1, 0, Phase::backward, 0);
  return builder;
}

void moveToFront(std::vector<plan::Step> &steps, StepKind kind) {
  auto found = std::find_if(steps.begin(), steps.end(),
                            [&](auto &step) { return step.kind == kind; });
  std::rotate(steps.begin(), found, found + 1);
}

TEST(Deadlock, NamesRanksAndSteps) {
  plan::Plan plan = makePair().plan;
  EXPECT_EQ(failure(plan), "no error");
  // Rank 0 runs backward before forward.
  auto &steps = plan.ranks[0].steps;
  std::rotate(steps.begin(), steps.begin() + 3, steps.begin() + 5);
  EXPECT_EQ(failure(plan),
            "simulation: deadlock: rank 0 waits in step 1 (run backward of "
            "stage s0, microbatch 0) for rank 1; rank 1 waits in step 1 (run "
            "forward of stage s1, microbatch 0) for rank 0");
}

TEST(Deadlock, OfARankWithItself) {
  PlanBuilder builder(1);
  builder.addStage(0);
  builder.addStage(0);
  builder.send(0, 0, Phase::forward, 0);
  builder.waitSend(0, 0, Phase::forward, 0);
  builder.receive(1, 0, Phase::forward, 0);
  EXPECT_EQ(failure(builder.plan),
            "simulation: deadlock: rank 0 waits in step 1 (wait_send of stage "
            "s0, microbatch 0, value y) for rank 0");
}

TEST(Deadlock, BehindAnEarlierMessage) {
  // Rank 1 waits for the second message; the first one is posted later.
  PlanBuilder builder(2);
  builder.addStage(0);
  builder.addStage(1);
  builder.addProgram(1, Phase::forward, {makeOp(10)});
  builder.addProgram(0, Phase::backward, {makeOp(10)});
  builder.send(0, 0, Phase::forward, 1);
  builder.waitSend(0, 0, Phase::forward, 1);
  builder.receive(0, 0, Phase::backward, 1);
  builder.run(1, 0, Phase::forward);
  builder.send(1, 0, Phase::backward, 0);
  builder.waitSend(1, 0, Phase::backward, 0);
  builder.receive(1, 0, Phase::forward, 0);
  EXPECT_THAT(failure(builder.plan),
              HasSubstr("deadlock: rank 0 waits in step 1 (wait_send"));
}

TEST(Matching, MessagesThatDoNotMatch) {
  const plan::Plan plan = makePair().plan;
  plan::Plan longer = plan;
  longer.stages[1].values[kInput].bytes *= 2;
  EXPECT_EQ(failure(longer),
            "simulation: rank 1, step 0 (receive of stage s1, microbatch 0, "
            "value x) meets another message: rank 0, step 2 (send of stage "
            "s0, microbatch 0, value y)");

  plan::Plan unsent = plan;
  std::erase_if(unsent.ranks[0].steps, [](auto &step) {
    return step.kind == StepKind::send || step.kind == StepKind::wait_send;
  });
  EXPECT_THAT(failure(unsent), HasSubstr("rank 0 never sends it"));

  plan::Plan untaken = plan;
  std::erase_if(untaken.ranks[1].steps,
                [](auto &step) { return step.kind == StepKind::receive; });
  EXPECT_THAT(failure(untaken), HasSubstr("rank 1 never receives it"));

  plan::Plan waits = plan;
  moveToFront(waits.ranks[0].steps, StepKind::wait_send);
  EXPECT_THAT(failure(waits), HasSubstr("was not sent before"));
}

TEST(Indices, OfSteps) {
  const plan::Plan plan = makePair().plan;
  auto broken = [&](auto change) {
    plan::Plan copy = plan;
    change(copy);
    return failure(copy);
  };
  EXPECT_THAT(broken([](auto &p) { p.ranks[0].steps[0].stage = 2; }),
              HasSubstr("rank 0, step 0: there is no such stage"));
  EXPECT_THAT(broken([](auto &p) { p.ranks[0].steps[0].value = 9; }),
              HasSubstr("no such value"));
  EXPECT_THAT(broken([](auto &p) { p.ranks[1].steps[0].peer = 2; }),
              HasSubstr("no such peer"));
  EXPECT_THAT(
      broken([](auto &p) { p.ranks[0].steps[1].phase = Phase::weight_grad; }),
      HasSubstr("no program of this phase"));
  EXPECT_THAT(
      broken([](auto &p) { p.ranks[0].steps[1].kind = StepKind::overlap; }),
      HasSubstr("no such overlap"));
}

TEST(Indices, OfOps) {
  const plan::Plan plan = makePair().plan;
  auto broken = [&](auto change) {
    plan::Plan copy = plan;
    change(copy.stages[0].programs[0].ops[1]);
    return failure(copy);
  };
  EXPECT_EQ(broken([](auto &op) { op.waits = {1}; }),
            "simulation: forward program: op forward.1 of stage s0 waits for "
            "op 1, which is not an earlier one");
  EXPECT_THAT(broken([](auto &op) { op.waits = {-1}; }), HasSubstr("op -1"));
  EXPECT_THAT(broken([](auto &op) { op.releases = {5}; }),
              HasSubstr("releases value 5"));
  EXPECT_THAT(broken([](auto &op) { op.timeNs = -1; }),
              HasSubstr("negative or too long"));
}

TEST(Indices, OfOverlaps) {
  PlanBuilder builder = makePair();
  plan::Overlap overlap;
  overlap.members = {{{0, Phase::forward}, {0, Phase::backward}}};
  overlap.order = {0, 1, 0};
  overlap.live.resize(3);
  auto broken = [&](auto change) {
    plan::Plan copy = builder.plan;
    copy.ranks[0].overlaps = {overlap};
    change(copy.ranks[0].overlaps[0]);
    return failure(copy);
  };
  EXPECT_EQ(broken([](auto &) {}), "no error");
  EXPECT_THAT(broken([](auto &o) { o.members[1].stage = 7; }),
              HasSubstr("rank 0, overlap 0: there is no program of its member "
                        "1"));
  EXPECT_THAT(broken([](auto &o) { o.order = {0, 1, 1}; }),
              HasSubstr("too many ops of member 1"));
  EXPECT_THAT(broken([](auto &o) { o.order = {0, 1, 2}; }),
              HasSubstr("a member that does not exist"));
  EXPECT_THAT(broken([](auto &o) {
                o.order = {0, 1};
                o.live.resize(2);
              }),
              HasSubstr("too few ops of member 0"));
  EXPECT_THAT(broken([](auto &o) { o.live.resize(2); }),
              HasSubstr("live bytes"));
  EXPECT_THAT(broken([](auto &o) { o.waits = {{1, 1}}; }),
              HasSubstr("not an earlier one"));
  EXPECT_THAT(broken([](auto &o) { o.waits = {{3, 0}}; }),
              HasSubstr("not an earlier one"));
}

TEST(Times, ThatAreNegativeOrTooLong) {
  const plan::Plan plan = makePair().plan;
  auto broken = [&](auto change) {
    plan::Plan copy = plan;
    change(copy);
    return failure(copy);
  };
  EXPECT_THAT(broken([](auto &p) { p.ranks[0].updateNs = -1; }),
              HasSubstr("gradient reduction or update"));
  EXPECT_THAT(broken([](auto &p) { p.machine.linkLatencyNs = -1; }),
              HasSubstr("latency is negative"));
  EXPECT_THAT(broken([](auto &p) { p.machine.linkBytesPerSecond = 1e-20; }),
              HasSubstr("link rates"));
  EXPECT_THAT(broken([](auto &p) {
                for (plan::Stage &stage : p.stages)
                  for (plan::Program &program : stage.programs)
                    program.ops[0].timeNs = int64_t{1} << 52;
              }),
              HasSubstr("longer than 2^53 ns"));
}

TEST(Mutation, NothingCrashes) {
  // Some index, time or kind of a valid plan changed at random: an error or a
  // timeline, both are fine.
  std::mt19937 random(11);
  size_t failed = 0;
  for (int round = 0; round < 3000; ++round) {
    plan::Plan plan = makeAnyPlan(random() % 40);
    for (int change = 0; change < 2; ++change) {
      auto number = static_cast<int64_t>(random() % 12) - 2;
      plan::Rank &rank = plan.ranks[random() % plan.ranks.size()];
      plan::Step &step = rank.steps[random() % rank.steps.size()];
      plan::Stage &stage = plan.stages[random() % plan.stages.size()];
      plan::Program &program = stage.programs[random() % stage.programs.size()];
      plan::Op &op = program.ops[random() % program.ops.size()];
      switch (random() % 12) {
      case 0:
        step.stage = number;
        break;
      case 1:
        step.value = number;
        break;
      case 2:
        step.peer = number;
        break;
      case 3:
        step.microbatch = number;
        break;
      case 4:
        step.overlap = number;
        break;
      case 5:
        step.kind = static_cast<StepKind>(random() % 9);
        break;
      case 6:
        step.phase = static_cast<Phase>(random() % 4);
        break;
      case 7:
        op.waits = {number};
        break;
      case 8:
        op.releases = {number};
        break;
      case 9:
        op.timeNs = number;
        break;
      case 10:
        stage.programs.pop_back();
        if (stage.programs.empty())
          stage.programs.push_back(program);
        break;
      default:
        if (!rank.overlaps.empty())
          rank.overlaps[0].members[1].stage = number;
        break;
      }
    }
    failed += failure(plan) != "no error";
  }
  EXPECT_GT(failed, 500u);
  EXPECT_LT(failed, 2900u);
}

} // namespace
