#include "runtime/Exec/ThreadPool.h"

#include <gtest/gtest.h>

using namespace moe;

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (int64_t threads = 1; threads <= 5; ++threads) {
    exec::ThreadPool pool(threads);
    for (int64_t n : {0, 1, 2, 4, 7, 100})
      for (int round = 0; round < 20; ++round) {
        std::vector<int> hits(static_cast<size_t>(n), 0);
        pool.forEachChunk(n, [&](int64_t begin, int64_t end) {
          EXPECT_LT(begin, end);
          for (int64_t i = begin; i < end; ++i)
            ++hits[static_cast<size_t>(i)];
        });
        for (int hit : hits)
          EXPECT_EQ(hit, 1);
      }
  }
}
