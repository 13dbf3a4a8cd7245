#include "Ranks.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using namespace moe::comm;

namespace {

std::span<const std::byte> bytesOf(const std::vector<int32_t> &values) {
  return std::as_bytes(std::span(values));
}
std::span<std::byte> bytesOf(std::vector<int32_t> &values) {
  return std::as_writable_bytes(std::span(values));
}

/// Every rank posts messages of random sizes to every peer under a few tags
/// and receives its own in another order of peers and tags.
TEST(PointToPoint, AnyOrderAcrossPeersAndTagsInOrderWithin) {
  for (int64_t ranks = 1; ranks <= 8; ++ranks) {
    SCOPED_TRACE(ranks);
    LoopbackWorld world(ranks);
    constexpr int64_t kTags = 3, kMessages = 4;
    auto content = [](int64_t from, int64_t to, int64_t tag, int64_t n) {
      std::mt19937 random(static_cast<uint32_t>(
          ((from * 8 + to) * kTags + tag) * kMessages + n));
      std::vector<int32_t> values(random() % 50);
      for (int32_t &value : values)
        value = static_cast<int32_t>(random());
      return values;
    };
    auto results = onEveryRank(world, ranks, [&](Transport &self) -> Status {
      std::vector<std::vector<int32_t>> sources;
      std::vector<SendHandle> sends;
      for (int64_t n = 0; n < kMessages; ++n)
        for (int64_t tag = 0; tag < kTags; ++tag)
          for (int64_t to = 0; to < ranks; ++to) {
            sources.push_back(content(self.rank(), to, tag, n));
            auto send = self.postSend(bytesOf(std::as_const(sources.back())),
                                      to, tag, "message");
            if (!send)
              return send.error();
            sends.push_back(*send);
          }
      for (int64_t tag = kTags - 1; tag >= 0; --tag)
        for (int64_t from = ranks - 1; from >= 0; --from)
          for (int64_t n = 0; n < kMessages; ++n) {
            std::vector<int32_t> expected = content(from, self.rank(), tag, n);
            std::vector<int32_t> got(expected.size());
            MOE_RETURN_IF_ERROR(
                self.receive(bytesOf(got), from, tag, "message"));
            if (got != expected)
              return Error{"wrong bytes"};
          }
      for (SendHandle send : sends)
        MOE_RETURN_IF_ERROR(self.waitSend(send, "message"));
      return {};
    });
    for (const Status &result : results)
      EXPECT_EQ(messageOf(result), "");
  }
}

TEST(PointToPoint, WrongSizeEndsBothRanks) {
  LoopbackWorld world(2);
  auto results = onEveryRank(world, 2, [&](Transport &self) -> Status {
    std::vector<int32_t> data(self.rank() == 0 ? 3 : 4);
    if (self.rank() == 1)
      return self.receive(bytesOf(data), 0, 7, "hidden");
    auto send = self.postSend(bytesOf(std::as_const(data)), 1, 7, "hidden");
    return send ? self.waitSend(*send, "hidden") : Status(send.error());
  });
  EXPECT_EQ(messageOf(results[1]),
            "receive of 'hidden' (tag 7): expected 16 bytes, rank 0 sent 12");
  EXPECT_EQ(messageOf(results[0]), "rank 1 ended: " + messageOf(results[1]));
}

TEST(PointToPoint, WaitingTwiceIsAnError) {
  LoopbackWorld world(1);
  std::vector<int32_t> data(1);
  Transport &self = world.transport(0);
  auto send = self.postSend(bytesOf(std::as_const(data)), 0, 0, "x");
  ASSERT_TRUE(send.ok());
  ASSERT_TRUE(self.receive(bytesOf(data), 0, 0, "x").ok());
  EXPECT_TRUE(self.waitSend(*send, "x").ok());
  EXPECT_EQ(messageOf(self.waitSend(*send, "x")),
            "send of 'x' was not posted, or was waited for before");
}

TEST(PointToPoint, PeerOutsideTheWorldIsAnError) {
  LoopbackWorld world(2);
  auto send = world.transport(0).postSend({}, 2, 0, "x");
  ASSERT_FALSE(send.ok());
  EXPECT_EQ(send.error().message, "'x' names rank 2 of a world of 2");
}

} // namespace
