#include "compiler/Optimize/Placement.h"

#include "RandomRank.h"
#include "compiler/Optimize/StreamWaits.h"
#include "runtime/Plan/Replay.h"

#include <gmock/gmock.h>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;
using testing::HasSubstr;

namespace {

/// Places the rank, sets all waits, and returns what its replay says, which
/// checks that no live buffers share bytes and that streams keep off them.
plan::Replay place(plan::Plan &plan, Reuse reuse) {
  Result<Arena> arena = placeRank(plan, 0, reuse);
  EXPECT_TRUE(arena) << arena.error().message;
  plan.ranks[0].arenaBytes = arena->bytes;
  for (plan::Stage &stage : plan.stages)
    for (plan::Program &program : stage.programs)
      setWaits(stage, program);
  for (plan::Overlap &overlap : plan.ranks[0].overlaps)
    overlap.waits = overlapWaits(plan, overlap);
  Result<plan::Replay> replay = plan::replay(plan, 0);
  EXPECT_TRUE(replay) << replay.error().message;
  EXPECT_LE(arena->boundBytes, arena->bytes);
  // What lives while a program runs is what the bound is made of.
  if (replay && replay->peakStep >= 0 &&
      plan::isExecution(
          plan.ranks[0].steps[static_cast<size_t>(replay->peakStep)].kind))
    EXPECT_GE(arena->boundBytes, replay->peak.total());
  return replay ? *replay : plan::Replay();
}

size_t countWaits(const plan::Plan &plan) {
  size_t waits = 0;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      for (const plan::Op &op : program.ops)
        waits += op.waits.size();
  for (const plan::Overlap &overlap : plan.ranks[0].overlaps)
    waits += overlap.waits.size();
  return waits;
}

TEST(Placement, RandomRanksReplayInNearlyTheBytesTheyNeed) {
  std::mt19937 random(4);
  double arenas = 0, roomier = 0, peaks = 0;
  int overlaps = 0;
  for (int round = 0; round < 200; ++round) {
    plan::Plan made = randomRank(random);
    overlaps += static_cast<int>(made.ranks[0].overlaps.size());
    plan::Plan same = made;
    plan::Replay replay = place(made, Reuse::inIssueOrder);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    ASSERT_GE(made.ranks[0].arenaBytes, replay.peak.total());
    arenas += static_cast<double>(made.ranks[0].arenaBytes);
    peaks += static_cast<double>(replay.peak.total());

    size_t dataWaits = countWaits(same);
    place(same, Reuse::withoutWaits);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    ASSERT_EQ(countWaits(same), dataWaits);
    roomier += static_cast<double>(same.ranks[0].arenaBytes);

    // The same again, from what is placed already.
    plan::Plan before = same;
    place(same, Reuse::withoutWaits);
    ASSERT_EQ(same, before);
  }
  EXPECT_GT(overlaps, 200);
  RecordProperty("arenaOverPeak", std::to_string(arenas / peaks));
  RecordProperty("withoutWaitsOverPeak", std::to_string(roomier / peaks));
  EXPECT_LT(arenas, 1.15 * peaks);
  EXPECT_LT(roomier, 1.27 * peaks);
}

/// One stage with two values that never live together, on the same stream or
/// not.
plan::Plan twoValues(plan::Stream stream) {
  plan::Plan made;
  made.schedule = "by hand";
  plan::Stage &stage = made.stages.emplace_back();
  stage.name = "s0";
  plan::Program &forward = stage.programs.emplace_back();
  for (int64_t i = 0; i < 2; ++i) {
    plan::Value value;
    value.name = "v" + std::to_string(i);
    value.dtype = DType::i32;
    value.shape = {64};
    value.bytes = 256;
    stage.values.push_back(value);
    plan::Op op;
    op.kind = "add";
    op.name = "op" + std::to_string(i);
    op.stream = i == 0 ? plan::Stream::compute : stream;
    op.outputs = {i};
    op.releases = {i};
    forward.ops.push_back(op);
  }
  plan::Rank &rank = made.ranks.emplace_back();
  rank.stages = {0};
  plan::Step run;
  run.stage = run.microbatch = run.slot = 0;
  rank.steps = {run};
  return made;
}

TEST(Placement, ReuseAcrossStreamsCostsAWaitOrBytes) {
  plan::Plan sameStream = twoValues(plan::Stream::compute);
  place(sameStream, Reuse::withoutWaits);
  EXPECT_EQ(sameStream.ranks[0].arenaBytes, 256);

  plan::Plan made = twoValues(plan::Stream::expert_communication);
  place(made, Reuse::withoutWaits);
  EXPECT_EQ(made.ranks[0].arenaBytes, 512);
  EXPECT_EQ(countWaits(made), 0u);
  place(made, Reuse::inIssueOrder);
  EXPECT_EQ(made.ranks[0].arenaBytes, 256);
  EXPECT_EQ(made.stages[0].programs[0].ops[1].waits, (std::vector<int64_t>{0}));
}

TEST(Placement, WhatPassesThroughAProgramTakesBytesThatAreGivenBack) {
  plan::Plan made = twoValues(plan::Stream::compute);
  plan::Stage &stage = made.stages[0];
  plan::Parameter weight, frozen;
  weight.name = "weight";
  weight.shape = {100, 2};
  frozen.name = "frozen";
  frozen.shape = {3};
  frozen.dtype = DType::f32;
  frozen.trainable = false;
  weight.initializer.kind = frozen.initializer.kind = "ones";
  stage.parameters = {weight, frozen};
  stage.values[0].placement = plan::Placement::slot;
  place(made, Reuse::withoutWaits);
  const plan::Parameter &placed = stage.parameters[0];
  // bf16 weight; f32 gradient, master and moments, rounded up to 256.
  EXPECT_EQ(placed.weightOffset, 0);
  EXPECT_EQ(placed.gradientOffset, 512);
  EXPECT_EQ(placed.masterOffset, 512 + 1024);
  EXPECT_EQ(placed.firstMomentOffset, 512 + 2 * 1024);
  EXPECT_EQ(placed.secondMomentOffset, 512 + 3 * 1024);
  EXPECT_EQ(stage.parameters[1].weightOffset, 512 + 4 * 1024);
  EXPECT_EQ(stage.parameters[1].gradientOffset, -1);
  int64_t persistent = 512 + 4 * 1024 + 256;
  // Where the only microbatch has them.
  auto placeOf = [&](size_t index) {
    const plan::Value &value = stage.values[index];
    EXPECT_EQ(value.placement, plan::Placement::slot);
    return stage.slots.at(0).at(static_cast<size_t>(value.group)) +
           value.offset;
  };
  EXPECT_EQ(placeOf(0), persistent);
  EXPECT_EQ(placeOf(1), persistent);
  EXPECT_EQ(made.ranks[0].arenaBytes, persistent + 256);
  // While both live, one is above the other.
  stage.programs[0].ops[0].releases.clear();
  stage.programs[0].ops[1].releases = {0, 1};
  place(made, Reuse::withoutWaits);
  EXPECT_EQ(placeOf(0), persistent);
  EXPECT_EQ(placeOf(1), persistent + 256);
  EXPECT_EQ(made.ranks[0].arenaBytes, persistent + 512);
}

TEST(Placement, MoreThanAnArenaCanHoldIsAnError) {
  plan::Plan made = twoValues(plan::Stream::compute);
  made.stages[0].values[0].bytes = int64_t{1} << 53;
  Result<Arena> arena = placeRank(made, 0, Reuse::withoutWaits);
  ASSERT_FALSE(arena);
  EXPECT_THAT(arena.error().message,
              HasSubstr("pipeline rank 0 needs more than 2^53 bytes"));
}

} // namespace
