#include "compiler/Schedule/Generators.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

using namespace moe;
using namespace moe::schedule;
using plan::StepKind;
using testing::HasSubstr;

namespace {

StepSchedule make(const char *name, int64_t ranks, int64_t microbatches) {
  Result<Schedule> schedule = generate(name, {ranks, microbatches, 1});
  EXPECT_TRUE(schedule.ok());
  return insertTransfers(*schedule);
}

std::string failure(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

std::vector<std::string> texts(const std::vector<Step> &steps) {
  std::vector<std::string> list;
  for (const Step &step : steps)
    list.push_back(describe(step));
  return list;
}

/// The first step of the rank that fits.
size_t find(const StepSchedule &steps, size_t rank, StepKind kind,
            Phase phase = Phase::forward, int64_t microbatch = 0) {
  const auto &list = steps.ranks[rank];
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].kind == kind && list[i].phase == phase &&
        list[i].microbatch == microbatch)
      return i;
  ADD_FAILURE() << "no such step";
  return 0;
}

void erase(StepSchedule &steps, size_t rank, size_t index) {
  auto &list = steps.ranks[rank];
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(index));
}

TEST(InsertTransfers, AllLabelsAreLoadedInOrder) {
  ScheduleProblem problem{2, 2, 1};
  problem.labelRoles = {"labels", "labels_2"};
  Result<Schedule> schedule = generate("1f1b", problem);
  ASSERT_TRUE(schedule.ok());
  StepSchedule steps = insertTransfers(*schedule);
  EXPECT_TRUE(verify(steps).ok());
  size_t first = find(steps, 1, StepKind::load);
  EXPECT_EQ(steps.ranks[1][first].role, "labels");
  EXPECT_EQ(steps.ranks[1][first + 1].role, "labels_2");

  StepSchedule missing = steps;
  erase(missing, 1, first + 1);
  EXPECT_THAT(failure(verify(missing)), HasSubstr("labels were not loaded"));
  StepSchedule twice = steps;
  twice.ranks[1][first + 1].role = "labels";
  EXPECT_THAT(failure(verify(twice)), HasSubstr("happens twice"));
  StepSchedule swapped = steps;
  std::swap(swapped.ranks[1][first], swapped.ranks[1][first + 1]);
  EXPECT_THAT(failure(verify(swapped)),
              HasSubstr("labels must be loaded before"));
  StepSchedule unknown = steps;
  unknown.ranks[1][first + 1].role = "labels_3";
  EXPECT_THAT(failure(verify(unknown)), HasSubstr("tokens or labels"));
}

TEST(InsertTransfers, TheListOfTwoRanks) {
  StepSchedule steps =
      insertTransfers(*generate("1f1b", {2, 2, 1}), ReceiveAhead::never);
  EXPECT_THAT(texts(steps.ranks[0]),
              testing::ElementsAre(
                  "load tokens of stage 0, microbatch 0",
                  "run forward of stage 0, microbatch 0",
                  "send forward of stage 0, microbatch 0, to rank 1",
                  "load tokens of stage 0, microbatch 1",
                  "wait_send forward of stage 0, microbatch 0, to rank 1",
                  "run forward of stage 0, microbatch 1",
                  "send forward of stage 0, microbatch 1, to rank 1",
                  "receive backward of stage 0, microbatch 0, from rank 1",
                  "run backward of stage 0, microbatch 0",
                  "receive backward of stage 0, microbatch 1, from rank 1",
                  "run backward of stage 0, microbatch 1",
                  "wait_send forward of stage 0, microbatch 1, to rank 1",
                  "reduce_gradients", "update"));
  EXPECT_THAT(texts(steps.ranks[1]),
              testing::ElementsAre(
                  "receive forward of stage 1, microbatch 0, from rank 0",
                  "load labels of stage 1, microbatch 0",
                  "run forward of stage 1, microbatch 0",
                  "collect_loss of stage 1, microbatch 0",
                  "run backward of stage 1, microbatch 0",
                  "send backward of stage 1, microbatch 0, to rank 0",
                  "receive forward of stage 1, microbatch 1, from rank 0",
                  "load labels of stage 1, microbatch 1",
                  "run forward of stage 1, microbatch 1",
                  "collect_loss of stage 1, microbatch 1",
                  "wait_send backward of stage 1, microbatch 0, to rank 0",
                  "run backward of stage 1, microbatch 1",
                  "send backward of stage 1, microbatch 1, to rank 0",
                  "wait_send backward of stage 1, microbatch 1, to rank 0",
                  "reduce_gradients", "update"));
}

TEST(InsertTransfers, ReceivesArePostedOneActionAheadWhereThereIsASlot) {
  auto inputs = [](ReceiveAhead ahead) {
    StepSchedule steps = insertTransfers(*generate("1f1b", {2, 3, 1}), ahead);
    EXPECT_EQ(failure(verify(steps)), "no error");
    std::vector<std::string> list;
    for (size_t rank : {size_t{0}, size_t{1}})
      for (const Step &step : steps.ranks[rank])
        if (step.kind == StepKind::run || step.kind == StepKind::receive)
          list.push_back((step.kind == StepKind::run ? "run " : "receive ") +
                         std::string(name(step.phase)).substr(0, 1) +
                         std::to_string(step.microbatch));
    return std::pair(list, assignSlots(steps).slotCounts);
  };
  using testing::ElementsAre;
  using testing::Pair;
  EXPECT_THAT(
      inputs(ReceiveAhead::never),
      Pair(ElementsAre("run f0", "run f1", "receive b0", "run b0", "run f2",
                       "receive b1", "run b1", "receive b2", "run b2",
                       "receive f0", "run f0", "run b0", "receive f1", "run f1",
                       "run b1", "receive f2", "run f2", "run b2"),
           ElementsAre(2, 1)));
  // The gradient of microbatch 2 has to wait until that of 1 has been used. The
  // second rank has one slot, which is free when the backward is done.
  EXPECT_THAT(
      inputs(ReceiveAhead::inFreeSlots),
      Pair(ElementsAre("run f0", "receive b0", "run f1", "run b0", "receive b1",
                       "run f2", "run b1", "receive b2", "run b2", "receive f0",
                       "run f0", "run b0", "receive f1", "run f1", "run b1",
                       "receive f2", "run f2", "run b2"),
           ElementsAre(2, 1)));
  EXPECT_THAT(
      inputs(ReceiveAhead::always),
      Pair(ElementsAre("run f0", "receive b0", "run f1", "run b0", "receive b1",
                       "run f2", "run b1", "receive b2", "run b2", "receive f0",
                       "run f0", "receive f1", "run b0", "run f1", "receive f2",
                       "run b1", "run f2", "run b2"),
           ElementsAre(2, 2)));
}

TEST(InsertTransfers, EverySizeIsLegalAndSlotsMatchTheFormula) {
  for (int64_t ranks = 1; ranks <= 32; ++ranks)
    for (int64_t microbatches : {1, 2, 3, 5, 8, 31, 64})
      for (const char *name : {"gpipe", "1f1b"}) {
        StepSchedule steps = make(name, ranks, microbatches);
        ASSERT_EQ(failure(verify(steps)), "no error")
            << name << ", " << ranks << " ranks, " << microbatches;
        SlotAssignment slots = assignSlots(steps);
        for (int64_t stage = 0; stage < ranks; ++stage)
          ASSERT_EQ(slots.slotCounts[static_cast<size_t>(stage)],
                    name == std::string("gpipe")
                        ? microbatches
                        : std::min(microbatches, ranks - stage));
      }
}

TEST(AssignSlots, NoTwoMicrobatchesHoldOneSlotAtATime) {
  for (const char *name : {"gpipe", "1f1b"}) {
    StepSchedule steps = make(name, 5, 11);
    SlotAssignment slots = assignSlots(steps);
    for (size_t rank = 0; rank < steps.ranks.size(); ++rank) {
      std::vector<int64_t> holder(static_cast<size_t>(slots.slotCounts[rank]),
                                  -1);
      ASSERT_EQ(slots.slots[rank].size(), steps.ranks[rank].size());
      for (size_t i = 0; i < steps.ranks[rank].size(); ++i) {
        const Step &step = steps.ranks[rank][i];
        int64_t slot = slots.slots[rank][i];
        if (step.stage < 0) {
          EXPECT_EQ(slot, -1);
          continue;
        }
        ASSERT_GE(slot, 0);
        ASSERT_LT(slot, slots.slotCounts[rank]);
        if (step.kind == StepKind::send || step.kind == StepKind::wait_send)
          continue;
        int64_t &held = holder[static_cast<size_t>(slot)];
        if (held != step.microbatch) {
          ASSERT_EQ(held, -1) << describe(step);
          held = step.microbatch;
        }
        if (step.kind == StepKind::run && step.phase == Phase::backward)
          held = -1;
      }
    }
  }
}

TEST(AssignSlots, LowestFreeSlotFirst) {
  StepSchedule steps = make("1f1b", 2, 4);
  SlotAssignment slots = assignSlots(steps);
  std::vector<int64_t> forward;
  for (size_t i = 0; i < steps.ranks[0].size(); ++i)
    if (steps.ranks[0][i].kind == StepKind::run &&
        steps.ranks[0][i].phase == Phase::forward)
      forward.push_back(slots.slots[0][i]);
  EXPECT_EQ(forward, (std::vector<int64_t>{0, 1, 0, 1}));
}

TEST(InsertTransfers, SplitBackwardSendsBeforeTheWeightGradient) {
  Schedule schedule{"split", {2, 1, 1}, {}};
  using enum Phase;
  schedule.ranks = {
      {{forward, 0, 0}, {backward_input, 0, 0}, {weight_grad, 0, 0}},
      {{forward, 1, 0}, {backward_input, 1, 0}, {weight_grad, 1, 0}}};
  StepSchedule steps = insertTransfers(schedule);
  EXPECT_EQ(failure(verify(steps)), "no error");
  size_t sent = find(steps, 1, StepKind::send, backward);
  EXPECT_EQ(steps.ranks[1][sent - 1].phase, backward_input);
  EXPECT_EQ(steps.ranks[1][sent + 1].phase, weight_grad);
}

TEST(InsertTransfers, SeveralStagesPerRank) {
  // Two ranks, four stages in a loop, one microbatch: up and down again.
  Schedule schedule{"loop", {2, 1, 2}, {}};
  using enum Phase;
  schedule.ranks = {
      {{forward, 0, 0}, {forward, 2, 0}, {backward, 2, 0}, {backward, 0, 0}},
      {{forward, 1, 0}, {forward, 3, 0}, {backward, 3, 0}, {backward, 1, 0}}};
  ASSERT_EQ(failure(verify(schedule)), "no error");
  EXPECT_EQ(failure(verify(insertTransfers(schedule))), "no error");
  EXPECT_EQ(maxInFlight(schedule, 0), 2);
}

//===----------------------------------------------------------------------===//
// Broken lists
//===----------------------------------------------------------------------===//

TEST(VerifySteps, MissingSend) {
  StepSchedule steps = make("1f1b", 2, 2);
  erase(steps, 0, find(steps, 0, StepKind::send));
  EXPECT_THAT(failure(verify(steps)), HasSubstr("has not been sent"));
  // With its wait gone too, the message is overwritten before it leaves.
  erase(steps, 0, find(steps, 0, StepKind::wait_send));
  EXPECT_THAT(failure(verify(steps)),
              HasSubstr("fills the send buffer that still holds microbatch 0"));
}

TEST(VerifySteps, SendWithoutReceive) {
  StepSchedule steps = make("1f1b", 3, 2);
  // Rank 1 takes the input of microbatch 1 from nowhere.
  erase(steps, 1, find(steps, 1, StepKind::receive, Phase::forward, 1));
  EXPECT_THAT(failure(verify(steps)), HasSubstr("its input was not received"));
}

TEST(VerifySteps, MissingWait) {
  StepSchedule steps = make("1f1b", 2, 2);
  erase(steps, 0, find(steps, 0, StepKind::wait_send, Phase::forward, 1));
  EXPECT_THAT(failure(verify(steps)), HasSubstr("is never waited for"));
  steps = make("1f1b", 2, 2);
  erase(steps, 0, find(steps, 0, StepKind::wait_send, Phase::forward, 0));
  EXPECT_THAT(failure(verify(steps)), HasSubstr("wait_send must come before"));
}

TEST(VerifySteps, DuplicateReceive) {
  StepSchedule steps = make("1f1b", 2, 2);
  auto &list = steps.ranks[1];
  list.insert(list.begin() + 1, list.front());
  EXPECT_THAT(failure(verify(steps)), HasSubstr("happens twice"));
}

TEST(InsertTransfers, InputsThatAreNeededInAnotherOrderWaitInTheirSlots) {
  // Rank 1 takes two inputs in the other order than rank 0 sends them.
  Schedule schedule = *gpipe({2, 2, 1});
  std::swap(schedule.ranks[1][0], schedule.ranks[1][1]);
  ASSERT_EQ(failure(verify(schedule)), "no error");
  StepSchedule steps = insertTransfers(schedule);
  EXPECT_EQ(failure(verify(steps)), "no error");
  EXPECT_EQ(describe(steps.ranks[1][0]),
            "receive forward of stage 1, microbatch 0, from rank 0");
  EXPECT_EQ(describe(steps.ranks[1][1]),
            "receive forward of stage 1, microbatch 1, from rank 0");
}

TEST(InsertTransfers, AGradientLeavesWhenItsBufferCanTakeIt) {
  // Rank 0 uses the gradient of microbatch 0 last but one, after the input of
  // its second stage, which rank 1 makes after the gradient of microbatch 1.
  using enum Phase;
  Schedule schedule{"late", {2, 2, 2, Placement::v}, {}};
  schedule.ranks = {{{forward, 0, 0},
                     {forward, 0, 1},
                     {forward, 3, 0},
                     {backward, 3, 0},
                     {forward, 3, 1},
                     {backward, 3, 1},
                     {backward, 0, 0},
                     {backward, 0, 1}},
                    {{forward, 1, 0},
                     {forward, 2, 0},
                     {forward, 1, 1},
                     {forward, 2, 1},
                     {backward, 2, 0},
                     {backward, 1, 0},
                     {backward, 2, 1},
                     {backward, 1, 1}}};
  EXPECT_EQ(failure(verify(schedule)), "no error");
  EXPECT_EQ(failure(verify(insertTransfers(schedule))), "no error");
}

TEST(InsertTransfers, OverlapsHaveTransfersAroundBoth) {
  ScheduleProblem problem{2, 4, 2, Placement::v};
  StepSchedule steps =
      insertTransfers(*generate("dualpipe-v", problem), ReceiveAhead::never);
  ASSERT_EQ(failure(verify(steps)), "no error");
  const auto &list = steps.ranks[0];
  size_t i = 0;
  while (i < list.size() && list[i].kind != StepKind::overlap)
    ++i;
  ASSERT_LT(i, list.size());
  EXPECT_EQ(describe(list[i]),
            "overlap backward of stage 3, microbatch 1, with forward of stage "
            "0, microbatch 3");
  std::vector<std::string> after =
      texts({list.begin() + i + 1, list.begin() + i + 3});
  EXPECT_THAT(after, testing::ElementsAre(
                         "send forward of stage 0, microbatch 3, to rank 1",
                         "send backward of stage 3, microbatch 1, to rank 1"));
  SlotAssignment slots = assignSlots(steps);
  EXPECT_EQ(slots.secondSlots[0].size(), list.size());
  for (size_t step = 0; step < list.size(); ++step)
    EXPECT_EQ(slots.secondSlots[0][step] >= 0,
              list[step].kind == StepKind::overlap);
  // Rank r holds 2 P - r microbatches of its first stage and r + 1 of the
  // other.
  EXPECT_EQ(slots.slotCounts, (std::vector<int64_t>{4, 3, 2, 1}));
}

TEST(InsertTransfers, ARankSendsToItself) {
  ScheduleProblem problem{2, 3, 2, Placement::v};
  StepSchedule steps = insertTransfers(*generate("zb-v", problem));
  ASSERT_EQ(failure(verify(steps)), "no error");
  EXPECT_EQ(steps.ranks[1][find(steps, 1, StepKind::send)].peer, 1);
  // Everything on one rank.
  StepSchedule alone =
      insertTransfers(*generate("zb-v", {1, 3, 2, Placement::v}));
  EXPECT_EQ(failure(verify(alone)), "no error");
}

/// Both stages on one rank: the gradients of as many microbatches as `ahead`
/// says are made before the first is used.
Schedule handingOver(int64_t ahead) {
  constexpr int64_t kCount = 4;
  Schedule schedule{"", {1, kCount, 2, Placement::v}, {{}}};
  std::vector<Action> &actions = schedule.ranks[0];
  for (int64_t m = 0; m < kCount; ++m) {
    actions.push_back({Phase::forward, 0, m});
    actions.push_back({Phase::forward, 1, m});
  }
  for (int64_t m = 0; m < kCount + ahead - 1; ++m) {
    if (m < kCount)
      actions.push_back({Phase::backward, 1, m});
    if (m + 1 >= ahead)
      actions.push_back({Phase::backward, 0, m + 1 - ahead});
  }
  return schedule;
}

TEST(InsertTransfers, ARankTakesItsOwnGradientRightBehindTheSend) {
  // One waits in either buffer.
  Schedule schedule = handingOver(2);
  ASSERT_EQ(failure(verify(schedule)), "no error");
  StepSchedule steps = insertTransfers(schedule);
  EXPECT_EQ(failure(verify(steps)), "no error");
  EXPECT_EQ(find(steps, 0, StepKind::receive, Phase::backward, 0),
            find(steps, 0, StepKind::send, Phase::backward, 0) + 1);
  EXPECT_EQ(failure(verify(insertTransfers(schedule, ReceiveAhead::never))),
            "no error");
  // For a third there is no buffer.
  schedule = handingOver(3);
  ASSERT_EQ(failure(verify(schedule)), "no error");
  EXPECT_THAT(failure(verify(insertTransfers(schedule))),
              HasSubstr("wait_send backward of stage 1, microbatch 1, to rank "
                        "0) for rank 0"));
}

TEST(VerifySteps, MessagesThatCross) {
  // Both inputs are received before the first forward.
  Schedule schedule = *gpipe({2, 2, 1});
  std::swap(schedule.ranks[1][0], schedule.ranks[1][1]);
  StepSchedule steps = insertTransfers(schedule);
  std::swap(steps.ranks[1][0], steps.ranks[1][1]);
  EXPECT_THAT(failure(verify(steps)),
              HasSubstr("rank 1, step 0 (receive forward of stage 1, "
                        "microbatch 1, from rank 0): meets another message: "
                        "rank 0, step 2 (send forward of stage 0, microbatch "
                        "0, to rank 1)"));
}

TEST(VerifySteps, AGradientHasOneBuffer) {
  StepSchedule steps = insertTransfers(*gpipe({2, 2, 1}), ReceiveAhead::never);
  auto &list = steps.ranks[0];
  size_t second = find(steps, 0, StepKind::receive, Phase::backward, 1);
  std::swap(list[second], list[second - 1]);
  EXPECT_THAT(failure(verify(steps)),
              HasSubstr("the gradient of microbatch 0, for which the stage has "
                        "its one buffer, was not used"));
}

TEST(VerifySteps, WrongPeer) {
  StepSchedule steps = make("1f1b", 3, 2);
  steps.ranks[0][find(steps, 0, StepKind::send)].peer = 2;
  EXPECT_THAT(failure(verify(steps)), HasSubstr("must go to rank 1"));
  steps = make("1f1b", 3, 2);
  steps.ranks[2][find(steps, 2, StepKind::receive)].peer = 0;
  EXPECT_THAT(failure(verify(steps)), HasSubstr("must come from rank 1"));
}

TEST(VerifySteps, LossIsCollectedOnce) {
  StepSchedule steps = make("1f1b", 2, 2);
  erase(steps, 1, find(steps, 1, StepKind::collect_loss, Phase::forward, 1));
  EXPECT_THAT(failure(verify(steps)),
              HasSubstr("the loss of microbatch 1 is never collected"));
  steps = make("gpipe", 2, 2);
  erase(steps, 1, find(steps, 1, StepKind::collect_loss));
  EXPECT_THAT(failure(verify(steps)),
              HasSubstr("the loss of the microbatch before was not collected"));
  steps = make("1f1b", 2, 2);
  auto &list = steps.ranks[1];
  size_t index = find(steps, 1, StepKind::collect_loss);
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(index), list[index]);
  EXPECT_THAT(failure(verify(steps)), HasSubstr("was collected before"));
}

TEST(VerifySteps, LoadsAndTheEnd) {
  StepSchedule steps = make("1f1b", 2, 2);
  erase(steps, 0, 0);
  EXPECT_THAT(failure(verify(steps)), HasSubstr("tokens were not loaded"));
  steps = make("1f1b", 2, 2);
  erase(steps, 1, find(steps, 1, StepKind::load));
  EXPECT_THAT(failure(verify(steps)), HasSubstr("labels were not loaded"));
  steps = make("1f1b", 2, 2);
  steps.ranks[1].pop_back();
  EXPECT_THAT(failure(verify(steps)),
              HasSubstr("rank 1 must end with reduce_gradients and update"));
  steps = make("1f1b", 2, 2);
  steps.ranks[1].insert(steps.ranks[1].begin(),
                        {StepKind::update, Phase::forward, -1, -1, -1, {}});
  EXPECT_THAT(failure(verify(steps)), HasSubstr("belongs at the end"));
}

TEST(VerifySteps, CircularWaitIsNamed) {
  // Each of two ranks waits for its message to be taken before it takes the
  // other's: the actions fit together, the rendezvous does not.
  StepSchedule steps =
      insertTransfers(*generate("1f1b", {2, 2, 1}), ReceiveAhead::never);
  auto &list = steps.ranks[0];
  size_t send = find(steps, 0, StepKind::send, Phase::forward, 1);
  Step wait = list[find(steps, 0, StepKind::wait_send, Phase::forward, 1)];
  erase(steps, 0, find(steps, 0, StepKind::wait_send, Phase::forward, 1));
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(send) + 1, wait);
  ASSERT_EQ(failure(verify(steps)), "no error");
  auto &other = steps.ranks[1];
  size_t back = find(steps, 1, StepKind::send, Phase::backward);
  wait = other[find(steps, 1, StepKind::wait_send, Phase::backward)];
  erase(steps, 1, find(steps, 1, StepKind::wait_send, Phase::backward));
  other.insert(other.begin() + static_cast<std::ptrdiff_t>(back) + 1, wait);
  EXPECT_EQ(failure(verify(steps)),
            "steps: deadlock: rank 0 waits in step 7 (wait_send forward of "
            "stage 0, microbatch 1, to rank 1) for rank 1; rank 1 waits in "
            "step 6 (wait_send backward of stage 1, microbatch 0, to rank 0) "
            "for rank 0");
}

TEST(VerifySteps, RandomDamageIsFound) {
  // Every step of these lists matters: whichever is dropped or doubled, and
  // whichever microbatch is renumbered, the list is no longer legal.
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    auto ranks = static_cast<int64_t>(1 + random() % 6);
    auto microbatches = static_cast<int64_t>(2 + random() % 6);
    StepSchedule steps =
        make(random() % 2 ? "gpipe" : "1f1b", ranks, microbatches);
    auto &list = steps.ranks[random() % steps.ranks.size()];
    size_t index = random() % list.size();
    switch (random() % 3) {
    case 0:
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(index));
      break;
    case 1: {
      Step copy = list[index];
      list.insert(list.begin() + static_cast<std::ptrdiff_t>(index), copy);
      break;
    }
    default:
      if (list[index].stage < 0)
        continue;
      list[index].microbatch = (list[index].microbatch + 1) % microbatches;
    }
    EXPECT_FALSE(verify(steps).ok()) << "round " << round;
  }
}

} // namespace
