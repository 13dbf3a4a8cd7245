#include "runtime/Exec/ThreadPool.h"

namespace moe::exec {

ThreadPool::ThreadPool(int64_t threads) {
  for (int64_t i = 1; i < threads; ++i)
    workers.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
  }
  started.notify_all();
  for (std::thread &worker : workers)
    worker.join();
}

/// Chunk `index` of [0, n) in `parts`.
static std::pair<int64_t, int64_t> chunk(int64_t n, int64_t index,
                                         int64_t parts) {
  int64_t least = n / parts, longer = n % parts;
  int64_t begin = index * least + std::min(index, longer);
  return {begin, begin + least + (index < longer ? 1 : 0)};
}

void ThreadPool::run(int64_t n, Body loopBody, void *loopContext) {
  if (n <= 0)
    return;
  int64_t parts = static_cast<int64_t>(workers.size()) + 1;
  if (parts == 1 || n == 1)
    return loopBody(0, n, loopContext);
  {
    std::lock_guard<std::mutex> lock(mutex);
    size = n;
    body = loopBody;
    context = loopContext;
    running = parts - 1;
    ++generation;
  }
  started.notify_all();
  auto [begin, end] = chunk(n, 0, parts);
  loopBody(begin, end, loopContext);
  std::unique_lock<std::mutex> lock(mutex);
  finished.wait(lock, [&] { return running == 0; });
}

void ThreadPool::work(int64_t index) {
  uint64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex);
  while (true) {
    started.wait(lock, [&] { return stopping || generation != seen; });
    if (stopping)
      return;
    seen = generation;
    auto [begin, end] =
        chunk(size, index, static_cast<int64_t>(workers.size()) + 1);
    Body loopBody = body;
    void *loopContext = context;
    lock.unlock();
    if (begin < end)
      loopBody(begin, end, loopContext);
    lock.lock();
    if (--running == 0)
      finished.notify_one();
  }
}

kernels::Parallel ThreadPool::parallel() {
  return {this, [](void *pool, int64_t n,
                   void (*body)(int64_t, int64_t, void *), void *context) {
            static_cast<ThreadPool *>(pool)->run(n, body, context);
          }};
}

} // namespace moe::exec
