#include "Ranks.h"

#include <gtest/gtest.h>

#include <array>
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

/// One operation of a rank on one message.
struct Operation {
  enum Kind { post_send, post_receive, wait_send, wait_receive } kind;
  size_t message;
};

struct Exchanged {
  int64_t from, to, tag;
  std::vector<int32_t> source, target;
  SendHandle send;
  ReceiveHandle receive;
};

Status apply(Transport &self, const Operation &operation, Exchanged &message) {
  switch (operation.kind) {
  case Operation::post_send: {
    auto send = self.postSend(bytesOf(std::as_const(message.source)),
                              message.to, message.tag, "message");
    if (!send)
      return send.error();
    message.send = *send;
    return {};
  }
  case Operation::post_receive: {
    auto receive = self.postReceive(bytesOf(message.target), message.from,
                                    message.tag, "message");
    if (!receive)
      return receive.error();
    message.receive = *receive;
    return {};
  }
  case Operation::wait_send:
    MOE_RETURN_IF_ERROR(self.waitSend(message.send, "message"));
    // The sender's buffer is free again.
    std::fill(message.source.begin(), message.source.end(), -1);
    return {};
  case Operation::wait_receive:
    return self.waitReceive(message.receive, "message");
  }
  return {};
}

/// Operations of all ranks in one order in which each wait comes behind both
/// posts of its message, else at random; posts of one channel keep the order of
/// the messages.
std::vector<Operation> randomOrder(std::mt19937 &random,
                                   const std::vector<Exchanged> &messages) {
  std::vector<Operation> order;
  std::vector<std::array<bool, 4>> done(messages.size());
  auto isNext = [&](size_t m, Operation::Kind kind) {
    for (size_t other = 0; other < m; ++other)
      if (messages[other].from == messages[m].from &&
          messages[other].to == messages[m].to &&
          messages[other].tag == messages[m].tag && !done[other][kind])
        return false;
    return true;
  };
  while (order.size() < 4 * messages.size()) {
    size_t m = random() % messages.size();
    auto kind = static_cast<Operation::Kind>(random() % 4);
    bool isPost = kind <= Operation::post_receive;
    if (done[m][kind] || (isPost ? !isNext(m, kind)
                                 : !done[m][Operation::post_send] ||
                                       !done[m][Operation::post_receive]))
      continue;
    done[m][kind] = true;
    order.push_back({kind, m});
  }
  return order;
}

/// What needs no more than both posts never blocks: neither one thread that
/// does everything in order, nor ranks that do their parts at any pace.
TEST(PointToPoint, RandomOrdersOfPostsAndWaitsNeverBlock) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    int64_t ranks = 1 + random() % 5;
    std::vector<Exchanged> messages(1 + random() % 24);
    for (Exchanged &message : messages) {
      auto any = [&] { return static_cast<int64_t>(random()) % ranks; };
      message.from = any();
      message.to = any(); // also the rank itself
      message.tag = random() % 2;
      message.source.resize(random() % 40);
      for (int32_t &value : message.source)
        value = static_cast<int32_t>(random() >> 1);
      message.target.resize(message.source.size());
    }
    std::vector<Operation> order = randomOrder(random, messages);
    for (bool threads : {false, true}) {
      SCOPED_TRACE(threads ? "threads" : "one thread");
      std::vector<Exchanged> run = messages;
      LoopbackWorld world(ranks, {std::chrono::seconds(20)});
      auto rankOf = [&](const Operation &operation) {
        const Exchanged &message = run[operation.message];
        return operation.kind == Operation::post_send ||
                       operation.kind == Operation::wait_send
                   ? message.from
                   : message.to;
      };
      std::vector<Status> results;
      if (threads)
        results = onEveryRank(world, ranks, [&](Transport &self) -> Status {
          for (const Operation &operation : order)
            if (rankOf(operation) == self.rank())
              MOE_RETURN_IF_ERROR(
                  apply(self, operation, run[operation.message]));
          return {};
        });
      else
        for (const Operation &operation : order)
          results.push_back(apply(world.transport(rankOf(operation)), operation,
                                  run[operation.message]));
      for (const Status &result : results)
        EXPECT_EQ(messageOf(result), "");
      for (size_t m = 0; m < run.size(); ++m)
        EXPECT_EQ(run[m].target, messages[m].source);
    }
  }
}

/// A rank's thread exchanges while another of its threads sends and receives.
TEST(PointToPoint, GoesOnDuringCollectives) {
  constexpr int64_t kRanks = 3;
  constexpr int kRounds = 200;
  LoopbackWorld world(kRanks);
  auto results = onEveryRank(world, kRanks, [&](Transport &self) -> Status {
    Status collectives;
    std::thread other([&] {
      for (int n = 0; n < kRounds && collectives; ++n) {
        std::array<int32_t, kRanks> sources{}, targets{};
        std::vector<SendSegment> sends;
        std::vector<ReceiveSegment> receives;
        for (int64_t r = 0; r < kRanks; ++r) {
          sources[static_cast<size_t>(r)] =
              static_cast<int32_t>(self.rank() * 1000 + n);
          sends.push_back({r,
                           reinterpret_cast<const std::byte *>(
                               &sources[static_cast<size_t>(r)]),
                           4});
          receives.push_back(
              {r,
               reinterpret_cast<std::byte *>(&targets[static_cast<size_t>(r)]),
               4});
        }
        collectives =
            self.exchange(firstRanks(kRanks), sends, receives, "rows");
        for (int64_t r = 0; r < kRanks && collectives; ++r)
          if (targets[static_cast<size_t>(r)] != r * 1000 + n)
            collectives = Error{"wrong rows"};
      }
    });
    Status transfers;
    for (int n = 0; n < kRounds && transfers; ++n) {
      std::vector<int32_t> source(50, static_cast<int32_t>(self.rank()) + n);
      std::vector<int32_t> target(50);
      int64_t next = (self.rank() + 1) % kRanks;
      int64_t previous = (self.rank() + kRanks - 1) % kRanks;
      auto send = self.postSend(bytesOf(std::as_const(source)), next, 0, "x");
      transfers = self.receive(bytesOf(target), previous, 0, "x");
      if (send && transfers)
        transfers = self.waitSend(*send, "x");
      if (transfers && target[49] != previous + n)
        transfers = Error{"wrong bytes"};
    }
    other.join();
    return transfers ? collectives : transfers;
  });
  for (const Status &result : results)
    EXPECT_EQ(messageOf(result), "");
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

TEST(PointToPoint, WaitingTwiceForAReceiveIsAnError) {
  LoopbackWorld world(1);
  std::vector<int32_t> data(1);
  Transport &self = world.transport(0);
  auto receive = self.postReceive(bytesOf(data), 0, 0, "x");
  ASSERT_TRUE(receive.ok());
  ASSERT_TRUE(self.postSend(bytesOf(std::as_const(data)), 0, 0, "x").ok());
  EXPECT_TRUE(self.waitReceive(*receive, "x").ok());
  EXPECT_EQ(messageOf(self.waitReceive(*receive, "x")),
            "receive of 'x' was not posted, or was waited for before");
}

TEST(PointToPoint, PeerOutsideTheWorldIsAnError) {
  LoopbackWorld world(2);
  auto send = world.transport(0).postSend({}, 2, 0, "x");
  ASSERT_FALSE(send.ok());
  EXPECT_EQ(send.error().message, "'x' names rank 2 of a world of 2");
}

} // namespace
