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

Result<SendHandle> LoopbackTransport::postSend(std::span<const std::byte> bytes,
                                               int64_t peer, int64_t tag,
                                               std::string_view what) {
  std::lock_guard<std::mutex> lock(world.mutex);
  if (world.failure)
    return world.ended(self);
  MOE_RETURN_IF_ERROR(checkPeer(peer, what));
  auto message = std::make_shared<Message>(Message{bytes});
  world.mailboxes[{self, peer, tag}].push_back(message);
  pending[nextSend] = {message, peer, tag};
  world.conditions[static_cast<size_t>(peer)]->notify_all();
  return SendHandle{nextSend++};
}

Status LoopbackTransport::waitSend(SendHandle send, std::string_view what) {
  std::unique_lock<std::mutex> lock(world.mutex);
  if (world.failure)
    return world.ended(self);
  auto found = pending.find(send.id);
  if (found == pending.end())
    return world.fail(self, head("send", what) +
                                " was not posted, or was waited for before");
  Posted posted = found->second;
  pending.erase(found);
  return world.wait(
      lock, self, [&] { return posted.message->taken; },
      [&] {
        return head("send", what) + " (tag " + std::to_string(posted.tag) +
               ") was not taken by rank " + std::to_string(posted.peer);
      });
}

Status LoopbackTransport::receive(std::span<std::byte> bytes, int64_t peer,
                                  int64_t tag, std::string_view what) {
  std::unique_lock<std::mutex> lock(world.mutex);
  if (world.failure)
    return world.ended(self);
  MOE_RETURN_IF_ERROR(checkPeer(peer, what));
  auto &mailbox = world.mailboxes[{peer, self, tag}];
  auto context = [&] {
    return head("receive", what) + " (tag " + std::to_string(tag) + ")";
  };
  MOE_RETURN_IF_ERROR(world.wait(
      lock, self, [&] { return !mailbox.empty(); },
      [&] {
        return context() + ": nothing came from rank " + std::to_string(peer);
      }));
  std::shared_ptr<Message> message = mailbox.front();
  mailbox.pop_front();
  if (message->bytes.size() != bytes.size())
    return world.fail(self, context() + ": expected " +
                                std::to_string(bytes.size()) + " bytes, rank " +
                                std::to_string(peer) + " sent " +
                                std::to_string(message->bytes.size()));
  lock.unlock();
  if (!bytes.empty())
    std::memcpy(bytes.data(), message->bytes.data(), bytes.size());
  lock.lock();
  message->taken = true;
  world.conditions[static_cast<size_t>(peer)]->notify_all();
  return {};
}

void LoopbackTransport::abort(const Error &error) {
  std::lock_guard<std::mutex> lock(world.mutex);
  world.fail(self, error.message);
}

} // namespace moe::comm
