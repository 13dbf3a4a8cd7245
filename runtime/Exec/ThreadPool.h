//===- ThreadPool.h - the threads inside one rank ---------------*- C++ -*-===//
#pragma once

#include "kernels/Kernels.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace moe::exec {

/// A fixed number of threads that share loops; one of them is the caller.
/// Loops are split into equal contiguous chunks and may not be nested.
class ThreadPool {
public:
  explicit ThreadPool(int64_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  using Body = void (*)(int64_t begin, int64_t end, void *context);

  /// Covers [0, n) with calls of `body`; returns when all are done.
  void run(int64_t n, Body body, void *context);
  template <typename Function> void forEachChunk(int64_t n, Function &&body) {
    run(
        n,
        [](int64_t begin, int64_t end, void *context) {
          (*static_cast<std::remove_reference_t<Function> *>(context))(begin,
                                                                       end);
        },
        &body);
  }

  /// The view that kernels take.
  kernels::Parallel parallel();

private:
  void work(int64_t index);

  std::mutex mutex;
  std::condition_variable started, finished;
  uint64_t generation = 0;
  bool stopping = false;
  int64_t running = 0;
  // The loop under way.
  int64_t size = 0;
  Body body = nullptr;
  void *context = nullptr;
  std::vector<std::thread> workers;
};

} // namespace moe::exec
