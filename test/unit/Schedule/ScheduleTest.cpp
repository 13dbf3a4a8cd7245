#include "compiler/Schedule/Generators.h"

#include <gmock/gmock.h>

#include <algorithm>

using namespace moe;
using namespace moe::schedule;
using testing::HasSubstr;

namespace {

const std::vector<int64_t> kMicrobatches = {1, 2, 3, 4, 7, 8, 16, 31, 33, 64};

Schedule make(const char *name, int64_t ranks, int64_t microbatches) {
  Result<Schedule> schedule = generate(name, {ranks, microbatches, 1});
  EXPECT_TRUE(schedule.ok());
  return *schedule;
}

std::string failure(const Status &status) {
  return status.ok() ? "no error" : status.error().message;
}

TEST(Generators, ArbitrarySizesVerifyAndHoldWhatTheFormulaSays) {
  for (int64_t ranks = 1; ranks <= 32; ++ranks)
    for (int64_t microbatches : kMicrobatches) {
      Schedule pipe = make("gpipe", ranks, microbatches);
      ASSERT_EQ(failure(verify(pipe)), "no error");
      Schedule alternating = make("1f1b", ranks, microbatches);
      ASSERT_EQ(failure(verify(alternating)), "no error");
      for (int64_t rank = 0; rank < ranks; ++rank) {
        ASSERT_EQ(maxInFlight(pipe, rank), microbatches);
        ASSERT_EQ(turnsAtOnce(pipe, rank), microbatches == 1);
        ASSERT_EQ(turnsAtOnce(alternating, rank),
                  microbatches == 1 || rank + 1 == ranks);
        ASSERT_EQ(maxInFlight(alternating, rank),
                  std::min(microbatches, ranks - rank))
            << ranks << " ranks, " << microbatches << " microbatches";
      }
    }
}

TEST(Generators, OneForwardOneBackwardIsTheKnownOrder) {
  Schedule schedule = make("1f1b", 2, 3);
  using enum Phase;
  EXPECT_EQ(schedule.ranks[0], (std::vector<Action>{{forward, 0, 0},
                                                    {forward, 0, 1},
                                                    {backward, 0, 0},
                                                    {forward, 0, 2},
                                                    {backward, 0, 1},
                                                    {backward, 0, 2}}));
  EXPECT_EQ(schedule.ranks[1], (std::vector<Action>{{forward, 1, 0},
                                                    {backward, 1, 0},
                                                    {forward, 1, 1},
                                                    {backward, 1, 1},
                                                    {forward, 1, 2},
                                                    {backward, 1, 2}}));
}

TEST(Generators, BackwardOrderIsTheSameInBoth) {
  auto backwards = [](const Schedule &schedule, size_t rank) {
    std::vector<Action> list;
    for (const Action &action : schedule.ranks[rank])
      if (action.phase == Phase::backward)
        list.push_back(action);
    return list;
  };
  for (size_t rank = 0; rank < 4; ++rank)
    EXPECT_EQ(backwards(make("gpipe", 4, 9), rank),
              backwards(make("1f1b", 4, 9), rank));
}

TEST(Generators, ImpossibleProblemsNameWhatIsWrong) {
  EXPECT_THAT(gpipe({0, 4, 1}).error().message,
              HasSubstr("pipeline ranks must be at least 1, is 0"));
  EXPECT_THAT(gpipe({4, -2, 1}).error().message,
              HasSubstr("microbatches must be at least 1, is -2"));
  EXPECT_THAT(oneForwardOneBackward({4, 4, 2}).error().message,
              HasSubstr("1f1b needs one stage per rank, asked for 2"));
  EXPECT_THAT(gpipe({1, 4, 2}).error().message,
              HasSubstr("one pipeline rank takes one stage"));
  EXPECT_THAT(generate("dualpipes", {4, 4, 1}).error().message,
              HasSubstr("unknown schedule 'dualpipes'; known: gpipe, 1f1b, "
                        "interleaved, grouped-interleaved, zb-h1"));
}

//===----------------------------------------------------------------------===//
// Broken orders
//===----------------------------------------------------------------------===//

TEST(VerifyActions, MissingBackward) {
  Schedule schedule = make("1f1b", 2, 2);
  schedule.ranks[0].pop_back();
  EXPECT_EQ(failure(verify(schedule)),
            "schedule: rank 0: backward of stage 0, microbatch 1 is missing");
}

TEST(VerifyActions, DuplicateForward) {
  Schedule schedule = make("1f1b", 2, 2);
  schedule.ranks[1].push_back({Phase::forward, 1, 0});
  EXPECT_EQ(failure(verify(schedule)),
            "schedule: rank 1: forward of stage 1, microbatch 0: runs twice");
}

TEST(VerifyActions, BackwardBeforeForward) {
  Schedule schedule = make("1f1b", 2, 2);
  std::swap(schedule.ranks[1][0], schedule.ranks[1][1]);
  EXPECT_THAT(failure(verify(schedule)), HasSubstr("runs before its forward"));
}

TEST(VerifyActions, BackwardsOutOfOrder) {
  Schedule schedule = make("gpipe", 2, 2);
  for (auto &actions : schedule.ranks)
    std::swap(actions[2], actions[3]);
  EXPECT_THAT(failure(verify(schedule)), HasSubstr("ascending order"));
}

TEST(VerifyActions, ForeignStageAndRanges) {
  Schedule schedule = make("gpipe", 2, 2);
  schedule.ranks[0][0].stage = 1;
  EXPECT_THAT(failure(verify(schedule)), HasSubstr("lies on rank 1"));
  schedule.ranks[0][0].stage = 2;
  EXPECT_THAT(failure(verify(schedule)), HasSubstr("there are 2 stages"));
  schedule.ranks[0][0] = {Phase::forward, 0, 2};
  EXPECT_THAT(failure(verify(schedule)), HasSubstr("there are 2 microbatches"));
  schedule.ranks.pop_back();
  EXPECT_THAT(failure(verify(schedule)),
              HasSubstr("has 1 ranks, the problem 2"));
}

TEST(VerifyActions, CircleOfRanksIsNamed) {
  // Rank 0 wants the gradient of microbatch 0 before it forwards microbatch 1;
  // rank 1 wants microbatch 1 before it makes that gradient.
  Schedule schedule = make("gpipe", 2, 2);
  using enum Phase;
  schedule.ranks[0] = {
      {forward, 0, 0}, {backward, 0, 0}, {forward, 0, 1}, {backward, 0, 1}};
  EXPECT_EQ(failure(verify(schedule)),
            "schedule: deadlock: rank 0 waits in step 1 (backward of stage 0, "
            "microbatch 0) for rank 1; rank 1 waits in step 1 (forward of "
            "stage 1, microbatch 1) for rank 0");
}

TEST(VerifyActions, SplitBackward) {
  Schedule schedule{"split", {2, 1, 1}, {}};
  using enum Phase;
  schedule.ranks = {
      {{forward, 0, 0}, {backward_input, 0, 0}, {weight_grad, 0, 0}},
      {{forward, 1, 0}, {backward_input, 1, 0}, {weight_grad, 1, 0}}};
  EXPECT_EQ(failure(verify(schedule)), "no error");
  EXPECT_EQ(maxInFlight(schedule, 0), 1);
  Schedule missing = schedule;
  missing.ranks[1].pop_back();
  EXPECT_THAT(failure(verify(missing)), HasSubstr("weight_grad of stage 1, "
                                                  "microbatch 0 is missing"));
  Schedule fused = schedule;
  fused.ranks[0][1].phase = backward;
  EXPECT_THAT(failure(verify(fused)),
              HasSubstr("without a backward_input before it"));
}

TEST(VerifyActions, Overlaps) {
  using enum Phase;
  Schedule schedule{"overlap", {2, 2, 1}, {}};
  schedule.ranks = {
      {{forward, 0, 0}, {forward, 0, 1}, {backward, 0, 0}, {backward, 0, 1}},
      {{forward, 1, 0},
       {forward, 1, 1, true},
       {backward, 1, 0},
       {backward, 1, 1}}};
  EXPECT_EQ(failure(verify(schedule)), "no error");
  EXPECT_EQ(maxInFlight(schedule, 1), 2);
  EXPECT_TRUE(turnsAtOnce(schedule, 1));
  EXPECT_FALSE(turnsAtOnce(schedule, 0));
  Schedule wrong = schedule;
  wrong.ranks[1][0].overlapsNext = true;
  wrong.ranks[1][1].overlapsNext = false;
  EXPECT_THAT(failure(verify(wrong)),
              HasSubstr("overlaps forward of stage 1, microbatch 1; an overlap "
                        "is a forward, then a backward or backward_input"));
  wrong = schedule;
  wrong.ranks[1][2].overlapsNext = true;
  EXPECT_THAT(failure(verify(wrong)), HasSubstr("overlaps two others"));
  wrong = schedule;
  wrong.ranks[1][3].overlapsNext = true;
  EXPECT_THAT(failure(verify(wrong)), HasSubstr("but is the last"));
  wrong = schedule;
  wrong.ranks[1] = {{forward, 1, 0, true},
                    {backward, 1, 0},
                    {forward, 1, 1},
                    {backward, 1, 1}};
  EXPECT_THAT(failure(verify(wrong)), HasSubstr("overlaps its own backward"));
}

TEST(VerifyActions, APairNeedsTheInputsOfBoth) {
  // Alone, the forward could run before rank 1 has the gradient; the pair
  // waits for it, and rank 1 for the forward.
  using enum Phase;
  Schedule schedule{"overlap", {2, 2, 1}, {}};
  schedule.ranks = {
      {{forward, 0, 0}, {forward, 0, 1}, {backward, 0, 0}, {backward, 0, 1}},
      {{forward, 1, 0}, {forward, 1, 1}, {backward, 1, 0}, {backward, 1, 1}}};
  ASSERT_EQ(failure(verify(schedule)), "no error");
  schedule.ranks[0][1].overlapsNext = true;
  EXPECT_EQ(failure(verify(schedule)),
            "schedule: deadlock: rank 0 waits in step 1 (forward of stage 0, "
            "microbatch 1) for rank 1; rank 1 waits in step 1 (forward of "
            "stage 1, microbatch 1) for rank 0");
}

TEST(VerifyActions, MicrobatchesStayInTheirCopyOfTheModel) {
  ScheduleProblem problem{2, 8, 2, Placement::bidirectional};
  Result<Schedule> schedule = generate("dualpipe", problem);
  ASSERT_TRUE(schedule.ok()) << schedule.error().message;
  schedule->ranks[0].push_back({Phase::forward, 0, 7});
  EXPECT_THAT(failure(verify(*schedule)),
              HasSubstr("forward of stage 0, microbatch 7: the microbatch runs "
                        "through the other copy of the model"));
}

} // namespace
