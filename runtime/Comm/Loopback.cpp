#include "runtime/Comm/LoopbackState.h"

#include <cstring>

namespace moe::comm {

LoopbackWorld::State::State(int64_t ranks, LoopbackOptions options)
    : options(options) {
  for (int64_t r = 0; r < ranks; ++r) {
    conditions.push_back(std::make_unique<std::condition_variable>());
    transports.push_back(std::make_unique<LoopbackTransport>(*this, r));
  }
}

LoopbackWorld::LoopbackWorld(int64_t ranks, LoopbackOptions options)
    : state(std::make_unique<State>(ranks, options)) {}

LoopbackWorld::~LoopbackWorld() = default;

Transport &LoopbackWorld::transport(int64_t rank) {
  return *state->transports[static_cast<size_t>(rank)];
}

std::optional<Failure> LoopbackWorld::failure() const {
  std::lock_guard<std::mutex> lock(state->mutex);
  return state->failure;
}

Error LoopbackWorld::State::ended(int64_t rank) const {
  if (failure->rank == rank)
    return failure->error;
  return {"rank " + std::to_string(failure->rank) +
          " ended: " + failure->error.message};
}

Error LoopbackWorld::State::fail(int64_t rank, std::string message) {
  if (!failure) {
    failure = Failure{rank, Error{std::move(message)}};
    for (auto &condition : conditions)
      condition->notify_all();
  }
  return ended(rank);
}

Status
LoopbackWorld::State::wait(std::unique_lock<std::mutex> &lock, int64_t rank,
                           const std::function<bool()> &done,
                           const std::function<std::string()> &describe) {
  auto deadline = std::chrono::steady_clock::now() + options.deadline;
  conditions[static_cast<size_t>(rank)]->wait_until(
      lock, deadline, [&] { return failure.has_value() || done(); });
  if (failure)
    return ended(rank);
  if (done())
    return {};
  return fail(rank, describe() + " within " +
                        std::to_string(options.deadline.count()) + " ms");
}

/// The head of every message about one operation.
static std::string head(std::string_view operation, std::string_view what) {
  return std::string(operation) + " of '" + std::string(what) + "'";
}

Status LoopbackTransport::checkPeer(int64_t peer, std::string_view what) {
  if (peer >= 0 && peer < world.size())
    return {};
  return world.fail(self, "'" + std::string(what) + "' names rank " +
                              std::to_string(peer) + " of a world of " +
                              std::to_string(world.size()));
}

Result<int64_t> LoopbackTransport::post(Post side) {
  std::unique_lock<std::mutex> lock(world.mutex);
  if (world.failure)
    return world.ended(self);
  MOE_RETURN_IF_ERROR(checkPeer(side.peer, side.what));
  bool isSend = side.isSend;
  auto mine = std::make_shared<Post>(std::move(side));
  int64_t number = nextPost++;
  pending[number] = mine;
  int64_t source = isSend ? self : mine->peer;
  int64_t destination = isSend ? mine->peer : self;
  std::tuple key{source, destination, mine->tag};
  Mailbox &mailbox = world.mailboxes[key];
  auto &others = isSend ? mailbox.receives : mailbox.sends;
  if (others.empty()) {
    (isSend ? mailbox.sends : mailbox.receives).push_back(mine);
    return number;
  }
  std::shared_ptr<Post> other = others.front();
  others.pop_front();
  if (others.empty())
    world.mailboxes.erase(key);
  const Post &send = isSend ? *mine : *other;
  const Post &receive = isSend ? *other : *mine;
  if (send.bytes != receive.bytes) {
    // The receiver's fault, whoever notices, so that messages do not depend on
    // who came first.
    world.fail(destination, head("receive", receive.what) + " (tag " +
                                std::to_string(receive.tag) + "): expected " +
                                std::to_string(receive.bytes) +
                                " bytes, rank " + std::to_string(source) +
                                " sent " + std::to_string(send.bytes));
    return world.ended(self);
  }
  lock.unlock();
  if (send.bytes > 0)
    std::memcpy(receive.target, send.source, send.bytes);
  lock.lock();
  mine->done = other->done = true;
  world.conditions[static_cast<size_t>(source)]->notify_all();
  world.conditions[static_cast<size_t>(destination)]->notify_all();
  return number;
}

Status LoopbackTransport::waitFor(
    int64_t number, const char *operation, std::string_view what,
    const std::function<std::string(const Post &)> &describe) {
  std::unique_lock<std::mutex> lock(world.mutex);
  if (world.failure)
    return world.ended(self);
  auto found = pending.find(number);
  if (found == pending.end())
    return world.fail(self, head(operation, what) +
                                " was not posted, or was waited for before");
  std::shared_ptr<Post> posted = found->second;
  pending.erase(found);
  return world.wait(
      lock, self, [&] { return posted->done; },
      [&] {
        return head(operation, what) + " (tag " + std::to_string(posted->tag) +
               ")" + describe(*posted);
      });
}

Result<SendHandle> LoopbackTransport::postSend(std::span<const std::byte> bytes,
                                               int64_t peer, int64_t tag,
                                               std::string_view what) {
  Result<int64_t> number = post({.isSend = true,
                                 .source = bytes.data(),
                                 .target = nullptr,
                                 .bytes = bytes.size(),
                                 .peer = peer,
                                 .tag = tag,
                                 .what = std::string(what)});
  if (!number)
    return number.error();
  return SendHandle{*number};
}

Status LoopbackTransport::waitSend(SendHandle send, std::string_view what) {
  return waitFor(send.id, "send", what, [](const Post &posted) {
    return " was not taken by rank " + std::to_string(posted.peer);
  });
}

Result<ReceiveHandle> LoopbackTransport::postReceive(std::span<std::byte> bytes,
                                                     int64_t peer, int64_t tag,
                                                     std::string_view what) {
  Result<int64_t> number = post({.isSend = false,
                                 .source = nullptr,
                                 .target = bytes.data(),
                                 .bytes = bytes.size(),
                                 .peer = peer,
                                 .tag = tag,
                                 .what = std::string(what)});
  if (!number)
    return number.error();
  return ReceiveHandle{*number};
}

Status LoopbackTransport::waitReceive(ReceiveHandle receive,
                                      std::string_view what) {
  return waitFor(receive.id, "receive", what, [](const Post &posted) {
    return ": nothing came from rank " + std::to_string(posted.peer);
  });
}

void LoopbackTransport::abort(const Error &error) {
  std::lock_guard<std::mutex> lock(world.mutex);
  world.fail(self, error.message);
}

} // namespace moe::comm
