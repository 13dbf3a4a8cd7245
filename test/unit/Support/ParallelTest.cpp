#include "support/Parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <vector>

namespace moe {
namespace {

TEST(Parallel, EachNumberIsATaskOnce) {
  for (size_t count : {0, 1, 2, 7, 100})
    for (size_t jobs : {1, 2, 8, 200}) {
      std::vector<std::atomic<int>> calls(count);
      std::vector<size_t> told;
      inParallel(
          count, jobs, [&](size_t number) { ++calls[number]; },
          [&](size_t done) { told.push_back(done); });
      for (const std::atomic<int> &each : calls)
        EXPECT_EQ(each, 1);
      std::vector<size_t> all(count);
      std::iota(all.begin(), all.end(), 1);
      EXPECT_EQ(told, all);
    }
}

TEST(Parallel, TasksRunAtTheSameTimeButNoMoreThanJobs) {
  constexpr size_t kJobs = 3;
  std::mutex mutex;
  std::condition_variable changed;
  size_t running = 0, most = 0;
  // The first ones wait for each other: with fewer threads none would end.
  inParallel(12, kJobs, [&](size_t number) {
    std::unique_lock<std::mutex> lock(mutex);
    most = std::max(most, ++running);
    changed.notify_all();
    if (number < kJobs)
      EXPECT_TRUE(changed.wait_for(lock, std::chrono::minutes(1),
                                   [&] { return most == kJobs; }));
    --running;
  });
  EXPECT_EQ(most, kJobs);
}

TEST(Parallel, ThereIsAlwaysSomethingToDoItWith) {
  EXPECT_GE(defaultJobs(), 1U);
  EXPECT_LE(defaultJobs(), 16U);
  EXPECT_EQ(jobsOrDefault(0), defaultJobs());
  EXPECT_EQ(jobsOrDefault(3), 3U);
}

} // namespace
} // namespace moe
