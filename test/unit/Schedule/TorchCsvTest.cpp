#include "compiler/Schedule/TorchCsv.h"

#include "compiler/Schedule/Generators.h"
#include "support/Files.h"

#include <gmock/gmock.h>

#include <random>

using namespace moe;
using namespace moe::schedule;
using testing::HasSubstr;

namespace {

std::string error(std::string_view text, int64_t ranks, int64_t microbatches) {
  Result<Schedule> schedule = readTorchCsv(text, {ranks, microbatches});
  return schedule ? "no error" : schedule.error().message;
}

TEST(TorchCsv, BothFormatsOfTwoRanks) {
  Schedule schedule = *generate("zb-h1", {2, 2, 1});
  EXPECT_EQ(*writeTorchCsv(schedule, TorchCsvFormat::compute_only),
            "0F0,0F1,0I0,0W0,0I1,0W1\n"
            "1F0,1I0,1F1,1I1,1W0,1W1\n");
  EXPECT_EQ(*writeTorchCsv(schedule, TorchCsvFormat::compute_comms),
            "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0I0,0W0,0RECV_B1,0I1,0W1,"
            "0REDUCE_GRAD\n"
            "1RECV_F0,1F0,1RECV_F1,1I0,1SEND_B0,1F1,1I1,1SEND_B1,1W0,1W1,"
            "1REDUCE_GRAD\n");
}

TEST(TorchCsv, OverlapsAndThePlacement) {
  Schedule schedule = *generate("dualpipe-v", {2, 4, 2, Placement::v});
  std::string text = *writeTorchCsv(schedule, TorchCsvFormat::compute_only);
  EXPECT_THAT(text, HasSubstr(",(0F3;3B1)OVERLAP_F_B,"));
  ScheduleProblem base{2, 4};
  base.labelRoles = {"labels", "labels_2"};
  Result<Schedule> read = readTorchCsv(text, base);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->ranks, schedule.ranks);
  EXPECT_EQ(read->problem.placement, Placement::v);
  EXPECT_EQ(read->problem.stagesPerRank, 2);
  EXPECT_EQ(read->problem.labelRoles, base.labelRoles);
}

TEST(TorchCsv, EverySchedulePassesThroughBothFormats) {
  std::mt19937 random(5);
  for (int round = 0; round < 150; ++round) {
    const GeneratorInfo &info =
        generators()[static_cast<size_t>(round) % generators().size()];
    ScheduleProblem problem{static_cast<int64_t>(1 + random() % 6),
                            static_cast<int64_t>(1 + random() % 14),
                            info.stagesPerRank, info.placement};
    Result<Schedule> schedule = generate(info.name, problem);
    if (!schedule)
      continue;
    for (TorchCsvFormat format :
         {TorchCsvFormat::compute_only, TorchCsvFormat::compute_comms}) {
      Result<std::string> text = writeTorchCsv(*schedule, format);
      if (problem.placement == Placement::bidirectional) {
        ASSERT_FALSE(text.ok());
        EXPECT_THAT(text.error().message, HasSubstr("two copies of the model"));
        continue;
      }
      ASSERT_TRUE(text.ok()) << text.error().message;
      Result<Schedule> read =
          readTorchCsv(*text, {problem.ranks, problem.microbatches});
      ASSERT_TRUE(read.ok())
          << info.name << ": " << read.error().message << "\n"
          << *text;
      EXPECT_EQ(read->ranks, schedule->ranks) << info.name;
      EXPECT_EQ(read->problem, schedule->problem) << info.name;
      EXPECT_EQ(*writeTorchCsv(*read, format), *text);
    }
  }
}

TEST(TorchCsv, SpacesEmptyCellsAndLineEnds) {
  const char *plain = "0F0,0B0\n1F0,1B0\n";
  Result<Schedule> schedule = readTorchCsv(plain, {2, 1});
  ASSERT_TRUE(schedule.ok()) << schedule.error().message;
  for (const char *text : {"0F0,,,0B0\r\n,1F0,1B0,\r\n", " 0F0 ,\t0B0\n1F0,1B0",
                           ",0F0,0B0\n1F0,1B0,,"}) {
    Result<Schedule> other = readTorchCsv(text, {2, 1});
    ASSERT_TRUE(other.ok()) << other.error().message;
    EXPECT_EQ(*other, *schedule);
  }
}

TEST(TorchCsv, ShardsAreCheckedAndLeftOut) {
  EXPECT_EQ(
      error("0UNSHARD,0F0,0RESHARD,0UNSHARD,0B0,0RESHARD,0REDUCE_GRAD", 1, 1),
      "no error");
  EXPECT_THAT(error("0UNSHARD,0UNSHARD,0F0,0B0,0REDUCE_GRAD", 1, 1),
              HasSubstr("cell 1: 0UNSHARD: the stage is unsharded"));
  EXPECT_THAT(error("0UNSHARD,0F0,0RESHARD,0RESHARD,0B0,0REDUCE_GRAD", 1, 1),
              HasSubstr("cell 3: 0RESHARD: the stage is sharded"));
  EXPECT_THAT(error("0UNSHARD,0F0,0RESHARD,0B0,0REDUCE_GRAD", 1, 1),
              HasSubstr("cell 3: 0B0: its stage is not unsharded"));
}

TEST(TorchCsv, WhatIsNotTheGrammar) {
  auto cell = [](const std::string &text) {
    return error("0F0," + text + ",0B0\n", 1, 1);
  };
  for (const char *text :
       {"F0", "-0F0", "0X0", "0f0", "0FF0", "0", "0 F0", "0SEND0", "0SEND_F",
        "\"0F0\"", "0F99999999999999", "99999999999999999999F0"})
    EXPECT_THAT(cell(text), HasSubstr("row 0, cell 1: ")) << text;
  // Where a prefix is enough for others.
  EXPECT_THAT(cell("2BW0"), HasSubstr("'2BW0' is no action: the operation is "
                                      "none of F, B, I, W"));
  EXPECT_THAT(cell("0F1x"), HasSubstr("something follows the microbatch"));
  EXPECT_THAT(cell("0W"), HasSubstr("a microbatch, a decimal number, must"));
  EXPECT_THAT(cell("0REDUCE_GRAD0"), HasSubstr("takes no microbatch"));
  EXPECT_THAT(cell("(0F0;0B0"), HasSubstr("begins like an overlap"));
  EXPECT_THAT(cell("(0F0)OVERLAP_F_B"), HasSubstr("two actions, not 1"));
  EXPECT_THAT(cell("(0F0;0B0;0F1)OVERLAP_F_B"), HasSubstr("not 3"));
  EXPECT_THAT(cell("(0B0;0F0)OVERLAP_F_B"),
              HasSubstr("a forward (F), then a backward (B or I)"));
  EXPECT_THAT(cell("((0F0;0B0)OVERLAP_F_B;0B0)OVERLAP_F_B"),
              HasSubstr("not 3"));
  EXPECT_THAT(cell("0F1"), HasSubstr("0F1: there are 1 microbatches"));
}

TEST(TorchCsv, WhatIsNotASchedule) {
  EXPECT_THAT(error("0F0,0B0\n", 2, 1),
              HasSubstr("has 1 rows, one a rank; there are 2 pipeline ranks"));
  EXPECT_THAT(error("", 1, 1), HasSubstr("has 0 stages"));
  EXPECT_THAT(error("0F0,0B0\n2F0,2B0\n", 2, 1),
              HasSubstr("has 2 stages, the last with number 2; they must be "
                        "numbered without gaps"));
  EXPECT_THAT(error("0F0,0B0\n0F0,0B0\n", 2, 1),
              HasSubstr("row 1, cell 0: 0F0: stage 0 lies on rank 0 already"));
  EXPECT_THAT(error("1F0,1B0\n0F0,0B0\n", 2, 1),
              HasSubstr("the stages lie on ranks 1, 0; known placements are "
                        "loop (0, 1, 2, 0, 1, 2) and v (0, 1, 2, 2, 1, 0)"));
  EXPECT_THAT(error("0F0,1F0,1B0,0B0\n2F0,3F0,3B0,2B0\n", 2, 1),
              HasSubstr("lie on ranks 0, 0, 1, 1"));
  EXPECT_THAT(error("0B0,0F0\n", 1, 1),
              HasSubstr("row 0, cell 0: 0B0: comes before its forward"));
  EXPECT_THAT(error("0F0,0F0,0B0\n", 1, 1),
              HasSubstr("cell 1: 0F0: stands in the row twice"));
  EXPECT_THAT(error("0F0,0B0,0I0,0W0\n", 1, 1),
              HasSubstr("cell 2: 0I0: the microbatch has a full backward (B) "
                        "and an input gradient (I)"));
  EXPECT_THAT(error("0F0,0W0,0I0\n", 1, 1),
              HasSubstr("0W0: comes before its input gradient (I)"));
  EXPECT_THAT(error("0F0,0B0,0W0\n", 1, 1),
              HasSubstr("older files write B for the input gradient"));
  EXPECT_THAT(error("0F0,0I0\n", 1, 1),
              HasSubstr("row 0: stage 0 has no weight gradient (W) of "
                        "microbatch 0"));
  EXPECT_THAT(error("0F0\n", 1, 1), HasSubstr("no backward (B or I)"));
  EXPECT_THAT(error("0F0,0B0\n", 1, 2),
              HasSubstr("stage 0 has 1 forwards; there are 2 microbatches"));
  EXPECT_THAT(error("0F0,0F1,0B1,0B0\n", 1, 2),
              HasSubstr("cell 3: 0B0: runs after microbatch 1; backwards have "
                        "to take microbatches in ascending order, so that "
                        "gradient sums do not depend on the schedule"));
  EXPECT_THAT(error("0F0,0F1,0I0,0I1,0W1,0W0\n", 1, 2),
              HasSubstr("cell 5: 0W0: runs after microbatch 1"));
  EXPECT_THAT(error("0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n", 2, 2),
              HasSubstr("deadlock"));
  EXPECT_THAT(error("0F0,0B0\n", 0, 1), HasSubstr("needs the number of"));
}

TEST(TorchCsv, DamagedCommunication) {
  const std::string good = "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,"
                           "0B1,0REDUCE_GRAD\n"
                           "1RECV_F0,1F0,1RECV_F1,1B0,1SEND_B0,1F1,1B1,"
                           "1SEND_B1,1REDUCE_GRAD\n";
  EXPECT_EQ(error(good, 2, 2), "no error");
  auto with = [&](const std::string &from, const std::string &to) {
    std::string text = good;
    size_t place = text.find(from);
    EXPECT_NE(place, text.npos) << from;
    text.replace(place, from.size(), to);
    return error(text, 2, 2);
  };
  EXPECT_THAT(with(",0REDUCE_GRAD", ""),
              HasSubstr("row 0: stage 0 has no REDUCE_GRAD"));
  EXPECT_THAT(with("0B1,0REDUCE_GRAD", "0REDUCE_GRAD,0B1"),
              HasSubstr("before the last weight gradient"));
  EXPECT_THAT(
      with("1REDUCE_GRAD", "1REDUCE_GRAD,1REDUCE_GRAD"),
      HasSubstr("row 1, cell 9: 1REDUCE_GRAD: stands in the row twice"));
  EXPECT_THAT(with("1RECV_F0,1F0", "1F0"),
              HasSubstr("row 1, cell 0: 1F0: its input is not received before "
                        "it"));
  EXPECT_THAT(with("0RECV_B0,0B0", "0B0"),
              HasSubstr("the gradient of its output is not received"));
  EXPECT_THAT(with(",0SEND_F1", ""),
              HasSubstr("row 1, cell 2: 1RECV_F1: is never sent"));
  EXPECT_THAT(with("0F0,0SEND_F0", "0SEND_F0,0F0"),
              HasSubstr("row 0, cell 0: 0SEND_F0: there is nothing to send"));
  EXPECT_THAT(with("1RECV_F0,1F0,1RECV_F1", "1RECV_F1,1RECV_F0,1F0"),
              HasSubstr("row 1, cell 0: 1RECV_F1: meets 0SEND_F0 of row 0, "
                        "cell 1; two ranks must list their messages in one "
                        "order"));
  EXPECT_THAT(with("1SEND_B1", "1SEND_F1"), HasSubstr("nothing to send"));
  EXPECT_THAT(with("1F1,1B1", "1F1,,1B1"),
              HasSubstr("row 1, cell 6: is empty, which files with "
                        "communication do not allow"));
}

TEST(TorchCsv, AnyDroppedOrDoubledCellOfCommunicationIsFound) {
  std::mt19937 random(9);
  for (int round = 0; round < 200; ++round) {
    Schedule schedule = *generate("zb-v", {3, 4, 2, Placement::v});
    std::string text = *writeTorchCsv(schedule, TorchCsvFormat::compute_comms);
    std::vector<size_t> commas;
    for (size_t i = 0; i < text.size(); ++i)
      if (text[i] == ',')
        commas.push_back(i);
    size_t i = random() % (commas.size() - 1);
    std::string cell = text.substr(commas[i], commas[i + 1] - commas[i]);
    if (cell.find('\n') != cell.npos)
      continue;
    std::string damaged = text;
    if (random() % 2)
      damaged.erase(commas[i], cell.size());
    else
      damaged.insert(commas[i], cell);
    EXPECT_FALSE(readTorchCsv(damaged, {3, 4}).ok()) << cell;
  }
}

TEST(TorchCsv, AByteOrderMarkIsNoCell) {
  std::string text =
      *writeTorchCsv(*generate("1f1b", {2, 3}), TorchCsvFormat::compute_only);
  Result<Schedule> marked = readTorchCsv("\xEF\xBB\xBF" + text, {2, 3});
  ASSERT_TRUE(marked.ok()) << marked.error().message;
  EXPECT_EQ(marked->ranks, generate("1f1b", {2, 3})->ranks);
  EXPECT_FALSE(readTorchCsv("\xEF\xBB" + text, {2, 3}).ok());
}

TEST(TorchCsv, ErrorsOfFilesNameThem) {
  std::string path = testing::TempDir() + "bad_schedule.csv";
  ASSERT_TRUE(writeFile(path, "0F0,0B0\n0F0\n").ok());
  Result<Schedule> read = readTorchCsvFile(path, {2, 1});
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.error().message, HasSubstr(path + ": torch schedule: row"));
  EXPECT_FALSE(readTorchCsvFile(path + ".none", {2, 1}).ok());
  EXPECT_THAT(readFile(path, 11).error().message,
              HasSubstr("is larger than 11 bytes"));
  EXPECT_TRUE(readFile(path, 12).ok());
}

TEST(TorchCsv, FormatNames) {
  EXPECT_EQ(name(TorchCsvFormat::compute_comms), "compute_comms");
  EXPECT_EQ(parseTorchCsvFormat("compute_only"), TorchCsvFormat::compute_only);
  EXPECT_EQ(parseTorchCsvFormat("compute"), std::nullopt);
}

} // namespace
