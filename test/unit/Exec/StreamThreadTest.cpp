#include "runtime/Exec/StreamThread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <vector>

using namespace moe;
using exec::StreamThread;

namespace {

TEST(StreamThread, RunsTasksInOrderAndWaitsForOne) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::vector<int64_t> order;
    StreamThread stream;
    for (int64_t n = 1; n <= 40; ++n) {
      EXPECT_EQ(stream.issue([&order, n]() -> Status {
        order.push_back(n);
        return {};
      }),
                n);
      if (random() % 5 == 0) {
        EXPECT_TRUE(stream.join().ok());
        EXPECT_EQ(order.size(), static_cast<size_t>(n));
      }
    }
    EXPECT_TRUE(stream.wait(7).ok());
    EXPECT_TRUE(stream.join().ok());
    for (int64_t n = 1; n <= 40; ++n)
      EXPECT_EQ(order[static_cast<size_t>(n - 1)], n);
  }
}

TEST(StreamThread, WaitsForNoMoreThanItMust) {
  StreamThread stream;
  std::atomic<bool> go = false;
  stream.issue([]() -> Status { return {}; });
  stream.issue([&]() -> Status {
    go.wait(false);
    return {};
  });
  EXPECT_TRUE(stream.wait(0).ok());
  EXPECT_TRUE(stream.wait(1).ok());
  go = true;
  go.notify_all();
  EXPECT_TRUE(stream.join().ok());
}

TEST(StreamThread, NothingRunsAfterAFailure) {
  StreamThread stream;
  EXPECT_TRUE(stream.join().ok()); // before there is a thread
  bool ran = false;
  stream.issue([]() -> Status { return Error{"no room"}; });
  int64_t second = stream.issue([&]() -> Status {
    ran = true;
    return {};
  });
  for (int64_t number : {int64_t{0}, int64_t{1}, second}) {
    // Number 0 is done from the start; the failure may come before or after.
    Status status = stream.wait(number);
    if (number > 0) {
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.error().message, "no room");
    }
  }
  EXPECT_FALSE(stream.join().ok());
  stream.issue([&]() -> Status {
    ran = true;
    return {};
  });
  EXPECT_FALSE(stream.join().ok());
  EXPECT_FALSE(ran);
}

TEST(StreamThread, EndsWithTasksLeft) {
  for (int round = 0; round < 50; ++round) {
    StreamThread stream;
    for (int n = 0; n < 5; ++n)
      stream.issue([]() -> Status { return {}; });
  }
}

} // namespace
