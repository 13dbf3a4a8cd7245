// Bubble rates and peaks that others have published for the same schedules.
#include "compiler/Schedule/Generators.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

using namespace moe;
using namespace moe::schedule;

namespace {

struct Times { ///< of one microbatch on one rank, milliseconds
  double forward, inputGrad, weightGrad, transfer;
};

int64_t ns(double milliseconds) { return std::llround(milliseconds * 1e6); }

Evaluation evaluated(std::string_view name, int64_t ranks, int64_t microbatches,
                     const Times &times, double weightGradShare = 1,
                     int64_t groupSize = 0, double limitUnits = 0) {
  ScheduleProblem problem{ranks, microbatches};
  for (const GeneratorInfo &info : generators())
    if (info.name == name) {
      problem.stagesPerRank = info.stagesPerRank;
      problem.placement = info.placement;
    }
  GeneratorOptions options;
  options.groupSize = groupSize;
  options.costs =
      Costs::uniform(problem, ns(times.forward), ns(times.inputGrad),
                     ns(times.weightGrad), ns(times.transfer));
  for (StageCosts &stage : options.costs.stages) {
    stage.savedBytes *= 1000;
    stage.weightGradBytes =
        std::llround(weightGradShare * static_cast<double>(stage.savedBytes));
  }
  if (limitUnits > 0)
    options.costs.limitBytes.assign(static_cast<size_t>(ranks),
                                    static_cast<int64_t>(limitUnits * 1e6));
  Result<Schedule> schedule = generate(name, problem, options);
  EXPECT_TRUE(schedule.ok()) << name;
  EXPECT_TRUE(verify(*schedule).ok()) << name;
  return *evaluate(*schedule, options.costs);
}

// arXiv 2401.10241, Table 5 (bubble rates, of the longest stage) with the times
// of its Table 9. Activations: a microbatch holds 34 h + 5 a s bytes a token,
// of which 32 h until its weight gradient (its Section 4), for hidden size h, a
// heads and sequences of s = 1024 tokens (its Table 3).
TEST(PublishedTables, ZeroBubbleTable5) {
  constexpr std::array<std::string_view, 5> kSchedules = {
      "1f1b", "zb-h1", "zb-h2", "zb-1p", "zb-2p"};
  struct Row {
    int64_t ranks, microbatches, hidden, heads;
    Times times;
    std::array<double, 5> bubbles;
  };
  const std::array<Row, 12> rows = {{
      {8,
       24,
       2304,
       24,
       {18.522, 18.086, 9.337, 0.601},
       {0.2431, 0.1585, 0.1083, 0.1585, 0.0433}},
      {8,
       32,
       2304,
       24,
       {18.513, 18.086, 9.331, 0.626},
       {0.1985, 0.1242, 0.0837, 0.1242, 0.0039}},
      {8,
       64,
       2304,
       24,
       {18.546, 18.097, 9.321, 0.762},
       {0.1240, 0.0674, 0.0444, 0.0674, 0.0026}},
      {8,
       24,
       4096,
       32,
       {29.718, 29.444, 19.927, 0.527},
       {0.2347, 0.1323, 0.0698, 0.1323, 0.0029}},
      {8,
       32,
       4096,
       32,
       {29.802, 29.428, 19.530, 0.577},
       {0.1898, 0.1045, 0.0559, 0.1045, 0.0022}},
      {8,
       64,
       4096,
       32,
       {29.935, 29.621, 19.388, 0.535},
       {0.1091, 0.0554, 0.0294, 0.0554, 0.0010}},
      {16,
       48,
       5120,
       40,
       {11.347, 11.248, 8.132, 0.377},
       {0.2552, 0.1397, 0.0672, 0.1397, 0.0066}},
      {16,
       64,
       5120,
       40,
       {11.307, 11.254, 8.101, 0.379},
       {0.2082, 0.1088, 0.0516, 0.1088, 0.0054}},
      {16,
       128,
       5120,
       40,
       {11.325, 11.308, 8.109, 0.378},
       {0.1251, 0.0576, 0.0266, 0.0576, 0.0028}},
      {32,
       96,
       6144,
       48,
       {10.419, 10.207, 7.715, 0.408},
       {0.2646, 0.1421, 0.0641, 0.1421, 0.0038}},
      {32,
       128,
       6144,
       48,
       {10.408, 10.204, 7.703, 0.408},
       {0.2168, 0.1106, 0.0490, 0.1106, 0.0029}},
      {32,
       256,
       6144,
       48,
       {10.402, 10.248, 7.698, 0.460},
       {0.1352, 0.0594, 0.0257, 0.0594, 0.0018}},
  }};
  for (const Row &row : rows)
    for (size_t i = 0; i < kSchedules.size(); ++i) {
      auto hidden = static_cast<double>(row.hidden);
      double share = 32 * hidden /
                     (34 * hidden + 5 * static_cast<double>(row.heads) * 1024);
      Evaluation value = evaluated(kSchedules[i], row.ranks, row.microbatches,
                                   row.times, share);
      EXPECT_NEAR(value.spanBubble, row.bubbles[i], 1e-3)
          << kSchedules[i] << ", " << row.ranks << " ranks, "
          << row.microbatches << " microbatches";
    }
}

/// Problems of the comparison below.
struct Column {
  int64_t ranks, microbatches;
  Times times;
};
const std::array<Column, 5> kColumns = {{
    {4, 8, {1, 1, 1, 0}},
    {8, 32, {1, 1, 1, 0}},
    {8, 24, {18.522, 18.086, 9.337, 0.601}},
    {16, 48, {11.347, 11.248, 8.132, 0.377}},
    {32, 96, {10.419, 10.207, 7.715, 0.408}},
}};

// What the authors' own schedulers give (those of the zero bubble repository,
// commit 39f2c186, and DualPipe, commit 3da1bbe), all by one simulation of
// actions: the bubble of the whole step in each column, and the peak of the two
// columns with 8 ranks in microbatches of a rank's share of the model.
struct Known {
  std::string_view name;
  std::array<double, 5> bubbles;
  double peak;
  int64_t groupDivisor = 0; ///< groups of ranks / this
  double limitPerRank = 0;  ///< limit in microbatches / ranks; 0: none
};

TEST(PublishedTables, BubbleAndPeakAreMatchedOrBeaten) {
  const std::array<Known, 14> rows = {{
      {"1f1b", {.273, .179, .243, .255, .265}, 8},
      {"interleaved", {.158, .099, .140, .147, .153}, 11.5},
      {"zb-1p", {.111, .068, .159, .140, .142}, 8},
      {"zb-2p", {.111, .068, .128, .107, .110}, 12, 0, 1.5},
      {"zb-2p", {.111, .068, .108, .107, .110}, 16},
      {"zb-v", {.059, .035, .072, .071, .076}, 8},
      {"v-half", {.094, .081, .170, .168, .178}, 5},
      {"v-min", {.186, .123, .335, .293, .303}, 4},
      {"1f1b-v", {.238, .147, .290, .288, .296}, 6},
      {"grouped-interleaved", {.111, .068, .114, .112, .116}, 8, 1},
      {"grouped-interleaved", {.143, .086, .154, .145, .148}, 6, 2},
      {"dualpipe-v", {.111, .068, .149, .141, .150}, 8.5},
      {"dualpipe", {.077, .059, .124, .122, .130}, 9},
      {"zb-h1", {.111, .068, .159, .140, .142}, 8},
  }};
  for (const Known &known : rows)
    for (size_t i = 0; i < kColumns.size(); ++i) {
      const Column &column = kColumns[i];
      Evaluation value = evaluated(
          known.name, column.ranks, column.microbatches, column.times, 1,
          known.groupDivisor > 0 ? column.ranks / known.groupDivisor : 0,
          known.limitPerRank * static_cast<double>(column.ranks));
      EXPECT_LE(value.bubble, known.bubbles[i] + 0.0005)
          << known.name << ", column " << i;
      if (column.ranks == 8)
        EXPECT_LE(static_cast<double>(value.peakBytes) / 1e6, known.peak)
            << known.name << ", column " << i;
    }
}

// The same by the longest stage. In the last column the repository gives .053
// for zb-v with a longer step (.0768 against .0763); the step decides here.
TEST(PublishedTables, BubbleOfTheLongestStageIsMatchedOrBeaten) {
  const std::array<Known, 2> rows = {{
      {"zb-2p", {0, 0, .102, .062, .062}, 16},
      {"zb-v", {0, 0, .070, .050, 1}, 8},
  }};
  for (const Known &known : rows)
    for (size_t i = 0; i < kColumns.size(); ++i) {
      const Column &column = kColumns[i];
      EXPECT_LE(
          evaluated(known.name, column.ranks, column.microbatches, column.times)
              .spanBubble,
          known.bubbles[i] + 0.0005)
          << known.name << ", column " << i;
    }
}

} // namespace
