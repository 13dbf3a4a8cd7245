#include "support/Parallel.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace moe {

size_t defaultJobs() {
  constexpr size_t kMostJobs = 16;
  return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMostJobs);
}

size_t jobsOrDefault(int64_t asked) {
  return asked > 0 ? static_cast<size_t>(asked) : defaultJobs();
}

void inParallel(size_t count, size_t jobs,
                const std::function<void(size_t)> &task,
                const std::function<void(size_t)> &onDone) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  size_t done = 0;
  auto work = [&] {
    for (size_t number = next++; number < count; number = next++) {
      task(number);
      const std::lock_guard<std::mutex> lock(mutex);
      ++done;
      if (onDone)
        onDone(done);
    }
  };
  std::vector<std::thread> others;
  // Where the system has no more threads, those that there are do it.
  auto start = [&] {
    try {
      others.emplace_back(work);
      return true;
    } catch (const std::system_error &) {
      return false;
    }
  };
  while (others.size() + 1 < std::min(count, jobs) && start())
    ;
  work(); // as well
  for (std::thread &other : others)
    other.join();
}

} // namespace moe
