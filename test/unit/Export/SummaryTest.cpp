#include "compiler/Export/Summary.h"
#include "compiler/Cost/Cost.h"
#include "compiler/Export/Table.h"

#include <gmock/gmock.h>

#include <limits>
#include <sstream>

using namespace moe;
using namespace moe::report;
using plan::MemoryClass;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kMiB = int64_t{1} << 20;

TEST(Format, Bytes) {
  EXPECT_EQ(formatBytes(0), "0 B");
  EXPECT_EQ(formatBytes(1023), "1023 B");
  EXPECT_EQ(formatBytes(1024), "1.0 KiB");
  EXPECT_EQ(formatBytes(768 * kMiB), "768.0 MiB");
  EXPECT_EQ(formatBytes(37 * kGiB + kGiB / 4), "37.25 GiB");
  EXPECT_EQ(formatBytes(-3 * kGiB), "-3.00 GiB");
  EXPECT_EQ(formatBytes(2048 * kGiB), "2.00 TiB");
}

TEST(Format, NanosecondsAndCounts) {
  EXPECT_EQ(formatNanoseconds(12), "12 ns");
  EXPECT_EQ(formatNanoseconds(9100), "9.1 us");
  EXPECT_EQ(formatNanoseconds(56780000), "56.78 ms");
  EXPECT_EQ(formatNanoseconds(1234000000), "1.234 s");
  EXPECT_EQ(formatCount(0), "0");
  EXPECT_EQ(formatCount(999), "999");
  EXPECT_EQ(formatCount(1000), "1,000");
  EXPECT_EQ(formatCount(671026419200), "671,026,419,200");
  EXPECT_EQ(formatCount(-123456), "-123,456");
  EXPECT_EQ(formatCount(-123), "-123");
  EXPECT_EQ(formatPercent(0.12345), "12.3 %");
  EXPECT_EQ(formatPercent(-0.5), "-50.0 %");
  EXPECT_EQ(formatCount(std::numeric_limits<int64_t>::min()),
            "-9,223,372,036,854,775,808");
}

TEST(Table, WrapsAtSpaces) {
  EXPECT_THAT(wrap("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(wrap("one incomprehensible word", 5),
              ElementsAre("one", "incomprehensible", "word"));
  EXPECT_THAT(wrap("", 5), ElementsAre(""));
}

TEST(Table, WrapsLongListsBehindCommas) {
  EXPECT_THAT(wrap("a norm,act,qkv,x,mlp b", 9),
              ElementsAre("a norm,", "act,qkv,", "x,mlp b"));
  EXPECT_THAT(wrap("norm,incomprehensible,act", 6),
              ElementsAre("norm,", "incomprehensible,", "act"));
  EXPECT_THAT(wrapList({"a (1, 2)", "b", "c (3, 4)"}, 12),
              ElementsAre("a (1, 2), b,", "c (3, 4)"));
  EXPECT_THAT(wrapList({}, 11), ElementsAre());
}

TEST(Table, AlignsAndDropsTrailingSpaces) {
  Table table;
  table.addColumn("rank", Table::Align::right);
  table.addColumn("layers", Table::Align::left);
  table.addColumn("why", Table::Align::left);
  table.addRow({"0", "a", "some long reason that wraps"});
  table.addRow({"10", "bb", ""});
  EXPECT_EQ(table.print(1, 33), " rank  layers  why\n"
                                "    0  a       some long reason\n"
                                "               that wraps\n"
                                "   10  bb\n");
}

/// Qwen3-30B-A3B at cluster size, with figures of the right order.
plan::Plan makePlan() {
  plan::Plan plan;
  plan.generator = "moe-plan 0.1.0";
  plan.model = {"qwen3-30b-a3b", "qwen3_moe", {},        48, 2048,
                151936,          30532122624, 3353032704};
  plan.machine = {"h100-sxm", 81559 * kMiB, 6403 * kMiB, 76 * kGiB};
  plan.layout = {4, 8, 1, 1, 1, 32, 1, 4096};
  plan.schedule = "1f1b";
  plan.capacityFactor = 1.25;
  plan.imbalance = 1.1;
  for (int64_t r = 0; r < 4; ++r) {
    plan::Stage stage;
    stage.name = "s" + std::to_string(r);
    stage.rank = r;
    if (r == 0)
      stage.blocks.push_back("embedding");
    for (int64_t layer = 12 * r; layer < 12 * (r + 1); ++layer)
      stage.blocks.push_back("layers." + std::to_string(layer));
    if (r == 3)
      stage.blocks.push_back("head");
    plan.stages.push_back(stage);
    plan::Rank rank;
    rank.rank = r;
    rank.stages = {r};
    rank.steps.resize(300);
    plan::Step &step = rank.steps[14];
    step.stage = r;
    step.microbatch = 4 - r;
    step.phase = plan::Phase::backward;
    rank.peakStep = 14;
    rank.peakOp = "layers." + std::to_string(12 * r + 11) +
                  ".mlp.experts.down.input_grad";
    rank.peak[MemoryClass::parameters] = 3 * kGiB + r * 100 * kMiB;
    rank.peak[MemoryClass::gradients] = 6 * kGiB;
    rank.peak[MemoryClass::optimizer] = 18 * kGiB;
    rank.peak[MemoryClass::saved] = (32 - 7 * r) * kGiB;
    rank.peak[MemoryClass::transient] = 1234 * kMiB;
    rank.peak[MemoryClass::receive] = 64 * kMiB;
    rank.peak[MemoryClass::send] = 16 * kMiB;
    rank.peak[MemoryClass::expert_communication] = 160 * kMiB;
    rank.peak[MemoryClass::handles] = 300 * 1024;
    rank.peak[MemoryClass::workspace] = 512 * 1024;
    rank.arenaBytes = rank.peak.total() + 37 * kMiB;
    rank.busyNs = 1500000000 + 10000000 * r;
    rank.exposedCommunicationNs = 50000000 * (r == 2 ? 3 : 1);
    plan.ranks.push_back(rank);
  }
  plan.prediction = {1675000000, 1 - 1530.0 / 1675, 1e18, 0.382, true};
  Result<cost::Machine> machine =
      cost::loadMachine("h100-sxm", cost::machineDirectories());
  EXPECT_TRUE(machine.ok());
  plan.assumptions = cost::assumptions(*machine);
  return plan;
}

TEST(Summary, SaysWhatMatters) {
  std::string text = summarize(makePlan());
  EXPECT_THAT(text, HasSubstr("30,532,122,624 parameters, 3,353,032,704 "
                              "active per token"));
  EXPECT_THAT(text, HasSubstr("pp=4, ep=8, dp=1, tp=1, cp=1: 32 devices"));
  EXPECT_THAT(text, HasSubstr("embedding, layers.0-11"));
  EXPECT_THAT(text, HasSubstr("layers.36-47, head"));
  EXPECT_THAT(text, HasSubstr("14: backward 4, "
                              "layers.11.mlp.experts.down.input_grad"));
  EXPECT_THAT(text, HasSubstr("Fits: every rank stays within 76.00 GiB; the "
                              "tightest, rank 0, has"));
  EXPECT_THAT(text, HasSubstr("bubble 8.7 %"));
  // 32 microbatches x 4096 tokens x 8 expert-parallel ranks in 1.675 s.
  EXPECT_THAT(text, HasSubstr("626,015 tokens/s (19,562 per device)"));
  // 50, 50, 150 and 50 ms of 1.675 s.
  EXPECT_THAT(text, HasSubstr("Exposed communication: 4.5 % of it on average, "
                              "at most 9.0 % (rank 2); model FLOPs "
                              "utilization 38.2 %"));
  EXPECT_THAT(text, HasSubstr("grouped_gemm efficiency"));
  EXPECT_THAT(text, Not(HasSubstr("DOES NOT FIT")));
  EXPECT_THAT(text, Not(HasSubstr("reduced from")));
}

TEST(Summary, LinesStayWithinTheWidth) {
  plan::Plan plan = makePlan();
  std::string targets = "norm@layers.0";
  for (int layer = 1; layer < 48; ++layer)
    targets += ",norm@layers." + std::to_string(layer);
  plan.assumptions.push_back({"recompute", targets, "option --recompute"});
  std::istringstream lines(summarize(plan));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 110u) << line;
    if (!line.empty())
      EXPECT_NE(line.back(), ' ') << line;
  }
}

TEST(Summary, APlanThatDoesNotFitSaysWhereAndByHowMuch) {
  plan::Plan plan = makePlan();
  plan.machine.budgetBytes =
      plan.machine.reserveBytes + plan.ranks[2].arenaBytes + kGiB;
  plan.prediction.fits = false;
  std::string text = summarize(plan);
  // Each rank saves 7 GiB less than the one before, and holds 100 MiB more
  // parameters.
  EXPECT_THAT(text, HasSubstr("DOES NOT FIT: 2 of 4 ranks exceed the budget"));
  EXPECT_THAT(text, HasSubstr("rank 0 by 12.80 GiB, rank 1 by 5.90 GiB"));
  EXPECT_THAT(text, HasSubstr("-12.80G"));
  EXPECT_THAT(text, Not(HasSubstr("Fits:")));
  plan.machine.budgetBytes =
      plan.machine.reserveBytes + plan.ranks[1].arenaBytes;
  EXPECT_THAT(summarize(plan), HasSubstr("1 of 4 ranks exceeds the budget"));
}

TEST(Summary, ReductionsAndUnusedClasses) {
  plan::Plan plan = makePlan();
  plan.model.reductions = {"hidden=256", "layers=4"};
  for (plan::Rank &rank : plan.ranks)
    rank.peak[MemoryClass::workspace] = 0;
  std::string text = summarize(plan);
  EXPECT_THAT(text, HasSubstr("reduced from the published configuration: "
                              "hidden=256, layers=4"));
  EXPECT_THAT(text, Not(HasSubstr("workspace")));
}

TEST(Summary, DecisionsAreSummedByReason) {
  plan::Plan plan = makePlan();
  EXPECT_THAT(summarize(plan), Not(HasSubstr("Decisions")));
  plan.decisions = {{0, 0, plan::Action::recompute, 3 * kMiB, 1000, "norm"},
                    {1, 0, plan::Action::keep, -2 * kMiB, 0, "replays need it"},
                    {1, 1, plan::Action::recompute, kMiB, 500, "norm"}};
  std::string text = summarize(plan);
  EXPECT_THAT(text, testing::ContainsRegex("recompute +norm +2 +4.0M +1.5 us"));
  EXPECT_THAT(text, testing::ContainsRegex("keep +replays need it +1 +-2.0M"));
}

TEST(Summary, EmptyPlanDoesNotCrash) {
  EXPECT_THAT(summarize(plan::Plan{}), HasSubstr("not estimated"));
}

} // namespace
