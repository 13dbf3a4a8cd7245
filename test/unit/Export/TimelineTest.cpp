#include "compiler/Export/SummaryTimeline.h"
#include "test/unit/Simulate/PlanBuilder.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <sstream>

using namespace moe;
using plan::Phase;
using plan::Stream;
using testing::HasSubstr;
using testing::Not;

namespace {

simulate::Timeline run(const plan::Plan &plan) {
  Result<simulate::Timeline> timeline = simulate::simulate(plan);
  EXPECT_TRUE(timeline.ok()) << timeline.error().message;
  return timeline ? *timeline : simulate::Timeline();
}

/// Rank 0 computes 1 ms and exchanges 0.5 ms, then sends for 0.25 ms; rank 1
/// computes 2 ms, then updates 0.25 ms.
plan::Plan makePlan() {
  PlanBuilder builder(2);
  for (int64_t rank = 0; rank < 2; ++rank)
    builder.addStage(rank);
  builder.addProgram(
      0, Phase::forward,
      {makeOp(1'000'000), makeOp(500'000, Stream::expert_communication, {0})});
  plan::Op &op =
      builder.addProgram(1, Phase::forward, {makeOp(2'000'000)}).ops[0];
  op.name = "layers.3.mlp.experts.down";
  op.live[plan::MemoryClass::transient] = 3 << 20;
  builder.run(0, 5, Phase::forward);
  builder.send(0, 5, Phase::forward, 1);
  builder.receive(1, 5, Phase::forward, 0);
  builder.run(1, 5, Phase::forward);
  builder.finish(1);
  builder.plan.ranks[1].updateNs = 250'000;
  builder.plan.machine.linkLatencyNs = 250'000;
  return builder.plan;
}

TEST(TimelineSummary, SaysWhatMatters) {
  plan::Plan plan = makePlan();
  std::string text = report::summarizeTimeline(plan, run(plan));
  // 2.25 of 4 ms.
  EXPECT_THAT(text, HasSubstr("Step time: 4.00 ms estimated, bubble 43.8 %\n"));
  EXPECT_THAT(
      text,
      HasSubstr("     0  37.5     25.0     12.5     12.5      0.0  1.50 ms"));
  EXPECT_THAT(text, HasSubstr("3.0 MiB  1.75 ms  1: forward 5,\n"));
  EXPECT_THAT(text, HasSubstr(" layers.3.mlp.experts.down\n"));
  EXPECT_THAT(text,
              HasSubstr("  forward, compute                3.00 ms  75.0 %\n"
                        "  forward, expert communication  500.0 us  12.5 %\n"
                        "  transfer between ranks         250.0 us   6.2 %\n"
                        "  update                         250.0 us   6.2 %\n"));
  EXPECT_THAT(text, Not(HasSubstr("copy")));
  EXPECT_THAT(text, Not(HasSubstr("utilization")));
}

TEST(TimelineSummary, UtilizationAndCopiesWhereThereAreAny) {
  plan::Plan plan = makePlan();
  plan.machine.flopsPerSecond = 1e12;
  plan.prediction.modelFlops = 4e9;
  simulate::Timeline timeline = run(plan);
  timeline.ranks[0]
      .laneBusyNs[static_cast<size_t>(simulate::Lane::local_copy)] = 1000;
  std::string text = report::summarizeTimeline(plan, timeline);
  EXPECT_THAT(text, HasSubstr("model FLOPs utilization 50.0 %"));
  EXPECT_THAT(text, HasSubstr("copy"));
}

TEST(TimelineSummary, LinesStayWithinTheWidth) {
  plan::Plan plan = makePlan();
  std::istringstream lines(report::summarizeTimeline(plan, run(plan)));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 110u) << line;
    if (!line.empty())
      EXPECT_NE(line.back(), ' ') << line;
  }
}

TEST(TimelineJson, HoldsTheSame) {
  plan::Plan plan = makePlan();
  auto document = nlohmann::json::parse(report::printTimeline(plan, run(plan)),
                                        nullptr, false);
  ASSERT_FALSE(document.is_discarded());
  EXPECT_EQ(document["step_ns"], 4'000'000);
  EXPECT_NEAR(document["bubble"].get<double>(), 1 - 2.25 / 4, 1e-12);
  EXPECT_EQ(document["ranks"].size(), 2u);
  EXPECT_EQ(document["ranks"][0]["lane_busy_ns"]["compute"], 1'000'000);
  EXPECT_EQ(document["ranks"][0]["exposed_communication_ns"], 500'000);
  EXPECT_EQ(document["ranks"][1]["peak_bytes"], 3 << 20);
  EXPECT_EQ(document["ranks"][1]["peak_op"], "layers.3.mlp.experts.down");
  int64_t clock = 0;
  for (const auto &segment : document["critical_path"]) {
    EXPECT_EQ(segment["begin_ns"], clock);
    clock = segment["end_ns"];
  }
  EXPECT_EQ(clock, 4'000'000);
  int64_t sum = 0;
  for (const auto &kind : document["critical_path_by_kind"])
    sum += kind["ns"].get<int64_t>();
  EXPECT_EQ(sum, 4'000'000);
}

TEST(TimelineSummary, OfEveryRandomPlanAndOfNone) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    plan::Plan plan = makeAnyPlan(seed);
    simulate::Timeline timeline = run(plan);
    EXPECT_FALSE(report::summarizeTimeline(plan, timeline).empty());
    EXPECT_TRUE(nlohmann::json::accept(report::printTimeline(plan, timeline)));
  }
  plan::Plan none;
  EXPECT_THAT(report::summarizeTimeline(none, run(none)), HasSubstr("0 ns"));
  EXPECT_TRUE(nlohmann::json::accept(report::printTimeline(none, run(none))));
}

} // namespace
