#include "Ranks.h"

#include <gtest/gtest.h>

#include <array>

using namespace moe;
using namespace moe::comm;

namespace {

/// Every way to block. The peer that everyone waits for is the last rank.
enum class Blocking {
  receive,
  wait_send,
  exchange,
  all_reduce,
  gather,
  barrier
};

Status block(Transport &self, int64_t ranks, Blocking how) {
  std::array<std::byte, 8> data{};
  double value = 1;
  switch (how) {
  case Blocking::receive:
    return self.receive(data, ranks - 1, 5, "stuck");
  case Blocking::wait_send: {
    auto send = self.postSend(data, ranks - 1, 5, "stuck");
    return send ? self.waitSend(*send, "stuck") : Status(send.error());
  }
  case Blocking::exchange:
    return self.exchange(firstRanks(ranks), {}, {}, "stuck");
  case Blocking::all_reduce:
    return self.allReduceSum(firstRanks(ranks), &value, 1, DType::f64, "stuck");
  case Blocking::gather: {
    auto all = self.allGather(firstRanks(ranks), {&value, 1}, "stuck");
    return all ? Status() : Status(all.error());
  }
  case Blocking::barrier:
    return self.barrier(firstRanks(ranks), "stuck");
  }
  return {};
}

class Fault : public testing::TestWithParam<Blocking> {};

TEST_P(Fault, AbortWakesEveryRankWithTheRootCause) {
  constexpr int64_t kRanks = 5;
  LoopbackWorld world(kRanks);
  auto results = onEveryRank(world, kRanks, [&](Transport &self) -> Status {
    if (self.rank() == kRanks - 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      self.abort({"layers.3: capacity exceeded"});
      self.abort({"a later error does not replace the cause"});
    }
    return block(self, kRanks, GetParam());
  });
  for (int64_t r = 0; r + 1 < kRanks; ++r)
    EXPECT_EQ(messageOf(results[static_cast<size_t>(r)]),
              "rank 4 ended: layers.3: capacity exceeded");
  EXPECT_EQ(messageOf(results[kRanks - 1]), "layers.3: capacity exceeded");
  ASSERT_TRUE(world.failure().has_value());
  EXPECT_EQ(world.failure()->rank, 4);
}

TEST_P(Fault, DeadlineNamesOperationAndPeer) {
  constexpr int64_t kRanks = 3;
  LoopbackWorld world(kRanks, {std::chrono::milliseconds(30)});
  auto results = onEveryRank(world, kRanks, [&](Transport &self) -> Status {
    return self.rank() == kRanks - 1 ? Status()
                                     : block(self, kRanks, GetParam());
  });
  ASSERT_TRUE(world.failure().has_value());
  const std::string cause = world.failure()->error.message;
  EXPECT_NE(cause.find("'stuck'"), std::string::npos) << cause;
  EXPECT_NE(cause.find("within 30 ms"), std::string::npos) << cause;
  bool collective =
      GetParam() != Blocking::receive && GetParam() != Blocking::wait_send;
  EXPECT_NE(cause.find(collective ? "ranks 2 of 0,1,2 did not come" : "rank 2"),
            std::string::npos)
      << cause;
  if (!collective) {
    EXPECT_NE(cause.find("(tag 5)"), std::string::npos) << cause;
  }
  for (int64_t r = 0; r < 2; ++r) {
    std::string message = messageOf(results[static_cast<size_t>(r)]);
    EXPECT_EQ(message, world.failure()->rank == r
                           ? cause
                           : "rank " + std::to_string(world.failure()->rank) +
                                 " ended: " + cause);
  }
}

TEST_P(Fault, NothingStartsAfterTheEnd) {
  LoopbackWorld world(1);
  world.transport(0).abort({"over"});
  EXPECT_EQ(messageOf(block(world.transport(0), 1, GetParam())), "over");
}

INSTANTIATE_TEST_SUITE_P(Every, Fault,
                         testing::Values(Blocking::receive, Blocking::wait_send,
                                         Blocking::exchange,
                                         Blocking::all_reduce, Blocking::gather,
                                         Blocking::barrier));

TEST(Desynchronised, RanksThatComeForDifferentThingsEnd) {
  LoopbackWorld world(2);
  auto results = onEveryRank(world, 2, [&](Transport &self) {
    double value = 0;
    return self.rank() == 0
               ? self.barrier({0, 1}, "update")
               : self.allReduceSum({0, 1}, &value, 1, DType::f64, "router");
  });
  ASSERT_TRUE(world.failure().has_value());
  const std::string cause = world.failure()->error.message;
  EXPECT_NE(cause.find("ranks 0,1 do not agree"), std::string::npos) << cause;
  EXPECT_NE(cause.find("barrier of 'update'"), std::string::npos) << cause;
  EXPECT_NE(cause.find("all_reduce f64 of 'router'"), std::string::npos)
      << cause;
  EXPECT_FALSE(results[0].ok());
  EXPECT_FALSE(results[1].ok());
}

TEST(Desynchronised, ARankOutsideTheGroupIsRefused) {
  LoopbackWorld world(2);
  EXPECT_EQ(messageOf(world.transport(1).barrier({0}, "x")),
            "barrier of 'x' (size 0): rank is not in the group 0");
}

/// Ranks leave an exchange early while others may still read their memory: the
/// sanitizers see it when a rank does not wait for its readers.
TEST(Desynchronised, AbortInTheMiddleOfExchangesLeavesNoReader) {
  for (int round = 0; round < 50; ++round) {
    constexpr int64_t kRanks = 4;
    LoopbackWorld world(kRanks);
    onEveryRank(world, kRanks, [&](Transport &self) -> Status {
      for (int n = 0;; ++n) {
        if (self.rank() == 3 && n == round % 7)
          self.abort({"enough"});
        std::vector<std::byte> source(4096), target(4096);
        std::vector<SendSegment> sends;
        std::vector<ReceiveSegment> receives;
        for (int64_t r = 0; r < kRanks; ++r) {
          sends.push_back({r, source.data() + r * 1024, 1024});
          receives.push_back({r, target.data() + r * 1024, 1024});
        }
        MOE_RETURN_IF_ERROR(
            self.exchange(firstRanks(kRanks), sends, receives, "rows"));
      }
    });
    EXPECT_EQ(world.failure()->error.message, "enough");
  }
}

} // namespace
