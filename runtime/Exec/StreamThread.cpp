#include "runtime/Exec/StreamThread.h"

namespace moe::exec {

StreamThread::~StreamThread() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
  }
  arrived.notify_one();
  if (thread.joinable())
    thread.join();
}

int64_t StreamThread::issue(Task task) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    tasks.push_back(std::move(task));
    ++issued;
  }
  if (!thread.joinable())
    thread = std::thread([this] { work(); });
  arrived.notify_one();
  return issued;
}

Status StreamThread::wait(int64_t number) {
  std::unique_lock<std::mutex> lock(mutex);
  finished.wait(lock, [&] { return failure || done >= number; });
  return failure ? Status(*failure) : Status();
}

void StreamThread::work() {
  std::unique_lock<std::mutex> lock(mutex);
  while (true) {
    arrived.wait(lock, [&] { return stopping || !tasks.empty(); });
    if (stopping)
      return;
    Task task = std::move(tasks.front());
    tasks.pop_front();
    lock.unlock();
    Status status = task();
    task = nullptr;
    lock.lock();
    ++done;
    if (!status) {
      failure = status.error();
      stopping = true;
    }
    finished.notify_all();
  }
}

} // namespace moe::exec
