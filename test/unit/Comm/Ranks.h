//===- Ranks.h - runs a function on every rank of a world -------*- C++ -*-===//
#pragma once

#include "runtime/Comm/Loopback.h"

#include <functional>
#include <thread>

namespace moe::comm {

/// Calls `body` on one thread per rank and returns what each returned.
inline std::vector<Status>
onEveryRank(LoopbackWorld &world, int64_t ranks,
            const std::function<Status(Transport &)> &body) {
  std::vector<Status> results(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int64_t r = 0; r < ranks; ++r)
    threads.emplace_back(
        [&, r] { results[static_cast<size_t>(r)] = body(world.transport(r)); });
  for (std::thread &thread : threads)
    thread.join();
  return results;
}

inline std::string messageOf(const Status &status) {
  return status ? "" : status.error().message;
}

inline Group firstRanks(int64_t ranks) {
  Group group;
  for (int64_t r = 0; r < ranks; ++r)
    group.push_back(r);
  return group;
}

} // namespace moe::comm
