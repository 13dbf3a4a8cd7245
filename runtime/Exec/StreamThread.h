//===- StreamThread.h - a stream of a rank ----------------------*- C++ -*-===//
#pragma once

#include "support/Result.h"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace moe::exec {

/// A thread that runs tasks one after the other, in the order in which they
/// were issued. It begins with the first task. One other thread issues them;
/// any may wait for them but this one.
class StreamThread {
public:
  using Task = std::function<Status()>;

  StreamThread() = default;
  /// Waits for the task under way; what was not begun never runs.
  ~StreamThread();
  StreamThread(const StreamThread &) = delete;
  StreamThread &operator=(const StreamThread &) = delete;

  /// Returns the number of the task; the first has 1. Once a task has failed,
  /// none is begun any more.
  int64_t issue(Task task);
  /// Blocks until the task with this number is done, and with it all before it,
  /// or until a task has failed, whose error this is.
  Status wait(int64_t number);
  /// Blocks until no task is under way or will be begun.
  Status join() { return wait(issued); }

private:
  void work();

  std::mutex mutex;
  std::condition_variable arrived, finished;
  std::deque<Task> tasks;
  int64_t issued = 0, done = 0;
  std::optional<Error> failure;
  bool stopping = false;
  std::thread thread;
};

} // namespace moe::exec
