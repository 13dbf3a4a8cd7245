//===- CorrectionsTest.cpp - what ranks may choose with, after drafts -----===//

#include "driver/Corrections.h"

#include "test/unit/Driver/DrawnModel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

using namespace moe;
using namespace moe::driver;

namespace {

constexpr int64_t kWhole = int64_t{1} << 30, kHost = int64_t{1} << 28;
constexpr size_t kRanks = 4;

/// Four ranks that choose as much as there is room for, and need what their
/// errors say more. What they go without, they pay for in time.
class Correcting : public testing::Test {
protected:
  Correcting() {
    Result<Chooser> made =
        Chooser::make(drawModel(draw, 6), orderOf("1f1b", kRanks, 8), 0, {});
    EXPECT_TRUE(made) << made.error().message;
    chooser.emplace(std::move(*made));
  }

  struct Rank {
    int64_t mostBytes = 2 * kWhole; ///< with everything kept
    std::function<int64_t(int64_t)> error = [](int64_t) { return 0; };
    int64_t ns = 1000;
    int64_t extraNs = 200; ///< with less than that
    int64_t movedBytes = 0, hostBytes = 0;
    int64_t lateNs = 0; ///< longer than its account says
  };

  void choose(const Corrections &corrections) {
    chosen = {};
    draft = {};
    chosen.counts = counts;
    for (size_t r = 0; r < kRanks; ++r) {
      const Rank &rank = ranks[r];
      Chosen::Rank &made = chosen.ranks.emplace_back();
      made.peakBytes = std::min(corrections.room().device[r], rank.mostBytes);
      made.ns = rank.ns;
      made.extraNs = made.peakBytes < rank.mostBytes ? rank.extraNs : 0;
      made.movedBytes = rank.movedBytes;
      made.hostBytes = rank.hostBytes;
      draft.bytesWithoutWaits.push_back(made.peakBytes +
                                        rank.error(made.peakBytes));
      draft.hostArenaBytes.push_back(made.hostBytes);
      draft.stages.push_back({made.ns + made.extraNs + rank.lateNs, 0, 0});
    }
  }
  bool chooseAndCorrect(Corrections &corrections) {
    choose(corrections);
    return corrections.correct(chosen, draft);
  }

  optimize::Random draw{11};
  std::optional<Chooser> chooser;
  std::vector<Rank> ranks{kRanks};
  std::vector<int64_t> counts = {2, 2, 2, 2};
  Chosen chosen;
  Draft draft;
};

// By however much, in either direction, whether memory was free at first or
// not: then ranks fit, and leave next to nothing.
TEST_F(Correcting, AnAccountThatIsAlwaysWrongByAsMuchIsCorrectedAtOnce) {
  int kept = 0, tight = 0;
  for (int round = 0; round < 200; ++round) {
    for (Rank &rank : ranks) {
      const int64_t error = draw(-kWhole / 4, kWhole / 4);
      rank.error = [=](int64_t) { return error; };
      rank.mostBytes = draw(kWhole / 2, 2 * kWhole);
    }
    Corrections corrections(*chooser, kWhole, kHost);
    EXPECT_TRUE(corrections.isFree());
    if (round % 2 == 0)
      corrections.limit();
    EXPECT_EQ(corrections.isFree(), round % 2 != 0);
    chooseAndCorrect(corrections);
    EXPECT_FALSE(corrections.isFree());
    chooseAndCorrect(corrections);
    for (size_t r = 0; r < kRanks; ++r) {
      EXPECT_LE(draft.bytesWithoutWaits[r], kWhole);
      const bool isAll = chosen.ranks[r].peakBytes == ranks[r].mostBytes;
      if (!isAll)
        EXPECT_GE(draft.bytesWithoutWaits[r], kWhole - 2 * slackOf(kWhole));
      ++(isAll ? kept : tight);
    }
    EXPECT_FALSE(chooseAndCorrect(corrections));
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(kept, 100);
  EXPECT_GT(tight, 100);
}

// As long as stages have the same blocks. Where the account is wrong by ever
// more, some room is found to fit nevertheless.
TEST_F(Correcting, RoomStaysBetweenWhatFittedAndWhatDidNot) {
  int narrowed = 0;
  for (int round = 0; round < 100; ++round) {
    for (Rank &rank : ranks) {
      const int64_t start = draw(0, kWhole / 4), step = draw(1, kWhole / 3);
      const int64_t at = draw(kWhole / 4, kWhole);
      rank.error = [=](int64_t bytes) {
        return start + bytes / 8 + (bytes > at ? step : 0);
      };
    }
    Corrections corrections(*chooser, kWhole, kHost);
    corrections.limit();
    std::vector<int64_t> fitted(kRanks, -1), failed(kRanks, kUnlimited);
    for (int drafts = 0; drafts < 16; ++drafts) {
      const std::vector<int64_t> before = corrections.room().device;
      chooseAndCorrect(corrections);
      for (size_t r = 0; r < kRanks; ++r) {
        const int64_t after = corrections.room().device[r];
        if (draft.bytesWithoutWaits[r] > kWhole) {
          failed[r] = std::min(failed[r], before[r]);
          EXPECT_LT(after, before[r]);
        } else {
          fitted[r] = std::max(fitted[r], before[r]);
          EXPECT_GE(after, before[r]);
          narrowed += after > before[r] && failed[r] < kUnlimited;
        }
        EXPECT_GE(after, fitted[r]);
        EXPECT_LT(after, failed[r]);
      }
    }
    for (int64_t bytes : fitted)
      EXPECT_GE(bytes, 0);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(narrowed, 100);
}

// A rank that failed with this room may well fit with it under another cut.
TEST_F(Correcting, AnotherCutIsAnotherMatter) {
  auto raised = [&](bool isSameCut) {
    Corrections corrections(*chooser, kWhole, kHost);
    corrections.limit();
    ranks[0].error = [](int64_t) { return kWhole / 8; };
    chooseAndCorrect(corrections);
    EXPECT_LT(corrections.room().device[0], kWhole);
    ranks[0].error = [](int64_t) { return -kWhole / 8; };
    if (!isSameCut)
      std::swap(counts[0], ++counts[1]);
    EXPECT_TRUE(chooseAndCorrect(corrections));
    return corrections.room().device[0];
  };
  EXPECT_LT(raised(true), kWhole);
  EXPECT_GT(raised(false), kWhole);
}

// Giving up a byte saves less than a third of it: by the distance alone it
// would take many drafts.
TEST_F(Correcting, WhereChoicesSaveLittleSomeRoomFitsSoon) {
  for (Rank &rank : ranks)
    rank.error = [](int64_t bytes) {
      return kWhole * 6 / 5 - bytes - (kWhole - bytes) * 3 / 10;
    };
  Corrections corrections(*chooser, kWhole, kHost);
  corrections.limit();
  for (int drafts = 0; drafts < 6; ++drafts)
    chooseAndCorrect(corrections);
  for (int64_t bytes : draft.bytesWithoutWaits)
    EXPECT_LE(bytes, kWhole);
}

// What others could do with more room makes no step shorter, and who keeps all
// that is worth its memory needs none.
TEST_F(Correcting, OnlyTheSlowestHaveReasonToChooseAgain) {
  for (bool isSlowest : {false, true}) {
    Corrections corrections(*chooser, kWhole, kHost);
    corrections.limit();
    ranks[1].error = [](int64_t) { return -kWhole / 4; };
    ranks[1].ns = isSlowest ? 2000 : 900;
    ranks[2].error = ranks[1].error;
    ranks[2].extraNs = 10;
    EXPECT_EQ(chooseAndCorrect(corrections), isSlowest);
    EXPECT_GT(corrections.room().device[1], kWhole);
    EXPECT_EQ(corrections.room().device[0], kWhole);
    EXPECT_EQ(corrections.room().device[2], kWhole);
  }
}

// Reason to choose again for one of both, both are corrected.
TEST_F(Correcting, RoomAndCopiesAreCorrectedTogether) {
  ranks[1].error = [](int64_t) { return -kWhole / 4; };
  ranks[2].movedBytes = ranks[2].hostBytes = 10'000;
  ranks[2].lateNs = 500;
  Corrections corrections(*chooser, kWhole, kHost);
  corrections.limit();
  EXPECT_TRUE(chooseAndCorrect(corrections));
  EXPECT_GT(corrections.room().device[1], kWhole);
  EXPECT_LT(corrections.room().host[2], kHost);
}

// Behind the fourth draft in a row that it does not fit, and only where copies
// may be to blame.
TEST_F(Correcting, WhereTheAccountStaysWrongARankDoesWithoutCopies) {
  Corrections corrections(*chooser, kWhole, kHost);
  corrections.limit();
  for (size_t r : {0, 1})
    ranks[r].error = [](int64_t bytes) { return 2 * kWhole - bytes; };
  ranks[1].movedBytes = ranks[2].movedBytes = 1000;
  for (int drafts = 0; drafts < 4; ++drafts) {
    EXPECT_EQ(corrections.room().host, std::vector<int64_t>(kRanks, kHost));
    chooseAndCorrect(corrections);
  }
  EXPECT_EQ(corrections.room().host,
            (std::vector<int64_t>{kHost, 0, kHost, kHost}));
  EXPECT_LT(corrections.room().device[0], kWhole);
  EXPECT_EQ(corrections.room().device[1], kWhole);
}

// In the time that the slowest rank loses, the link copies what it then has
// less of on the host.
TEST_F(Correcting, CopiesThatHoldEachOtherUpAreLess) {
  int fewer = 0, none = 0;
  for (int round = 0; round < 100; ++round) {
    for (Rank &rank : ranks) {
      rank.ns = draw(90'000, 100'000);
      rank.extraNs = 0;
      rank.mostBytes = kWhole / 2;
      rank.movedBytes = draw(0, 3) * 10'000;
      rank.hostBytes = 5 * rank.movedBytes;
      rank.lateNs = draw(0, 2) * draw(0, 20'000);
      const bool isTooLarge = draw(0, 5) == 0;
      rank.error = [=](int64_t) { return isTooLarge ? kWhole : 0; };
    }
    Corrections corrections(*chooser, kWhole, kHost);
    const bool isChanged = chooseAndCorrect(corrections);
    int64_t slowestNs = 0;
    for (const Rank &rank : ranks)
      slowestNs = std::max(slowestNs, rank.ns);
    bool expected = false;
    for (size_t r = 0; r < kRanks; ++r) {
      const Rank &rank = ranks[r];
      const int64_t lostNs = rank.ns + rank.lateNs - slowestNs;
      const int64_t left = corrections.room().host[r];
      if (draft.bytesWithoutWaits[r] > kWhole || rank.movedBytes == 0 ||
          lostNs < slowestNs / 128) {
        EXPECT_EQ(left, kHost);
        continue;
      }
      expected = true;
      const double moved =
          static_cast<double>(rank.movedBytes) -
          static_cast<double>(lostNs) * chooser->hostBytesPerNs();
      EXPECT_NEAR(static_cast<double>(left), std::max(0.0, 5 * moved), 1);
      ++(moved > 0 ? fewer : none);
    }
    EXPECT_EQ(isChanged, expected);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(fewer, 20);
  EXPECT_GT(none, 20);
}

// A host is met at once where the account is wrong by as much again.
TEST(CorrectHost, TakesFromRanksThatExceedIt) {
  optimize::Random draw(12);
  int exceeding = 0, emptied = 0;
  for (int round = 0; round < 300; ++round) {
    Chosen chosen;
    Draft draft;
    std::vector<int64_t> bytes, errors;
    for (size_t r = 0; r < kRanks; ++r) {
      bytes.push_back(draw(0, 1) == 0 ? kHost : draw(0, kHost));
      errors.push_back(draw(-kHost / 8, kHost * 5 / 4));
      chosen.ranks.emplace_back().hostBytes = draw(0, bytes[r]);
      draft.hostArenaBytes.push_back(
          std::max<int64_t>(0, chosen.ranks[r].hostBytes + errors[r]));
    }
    const std::vector<int64_t> before = bytes;
    correctHost(chosen, draft, kHost, bytes);
    for (size_t r = 0; r < kRanks; ++r) {
      if (draft.hostArenaBytes[r] <= kHost) {
        EXPECT_EQ(bytes[r], before[r]);
        continue;
      }
      ++exceeding;
      emptied += bytes[r] == 0;
      EXPECT_LE(bytes[r], before[r]);
      EXPECT_GE(bytes[r], 0);
      if (bytes[r] > 0)
        EXPECT_LE(bytes[r] + errors[r], kHost);
      EXPECT_GE(bytes[r],
                std::min(before[r], kHost - errors[r]) - slackOf(kHost));
    }
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  EXPECT_GT(exceeding, 100);
  EXPECT_GT(emptied, 20);
}

} // namespace
