#include "compiler/Schedule/Schedule.h"

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
  StepSchedule steps = make("1f1b", 2, 2);
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

TEST(VerifySteps, MessagesThatCross) {
  // Rank 1 takes two inputs in the other order than rank 0 sends them. The
  // actions alone could still run.
  Schedule schedule = *gpipe({2, 2, 1});
  std::swap(schedule.ranks[1][0], schedule.ranks[1][1]);
  ASSERT_EQ(failure(verify(schedule)), "no error");
  EXPECT_THAT(failure(verify(insertTransfers(schedule))),
              HasSubstr("rank 1, step 0 (receive forward of stage 1, "
                        "microbatch 1, from rank 0): meets another message: "
                        "rank 0, step 2 (send forward of stage 0, microbatch "
                        "0, to rank 1)"));
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
  StepSchedule steps = make("1f1b", 2, 2);
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
