//===- LoopbackState.h - shared state of a loopback world -------*- C++ -*-===//
//
// Private to runtime/Comm. One mutex guards everything but the copied bytes;
// the threads of a rank sleep on a condition that they share. Bytes are touched
// by peers only between two passages through the mutex that order them after
// what their owner did before and ahead of what it does next.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Comm/Loopback.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

namespace moe::comm {

/// One side of a transfer, as it was posted.
struct Post {
  bool isSend = false;
  const std::byte *source = nullptr; ///< of a send
  std::byte *target = nullptr;       ///< of a receive
  size_t bytes = 0;
  int64_t peer = 0, tag = 0;
  std::string what;
  bool done = false; ///< the bytes are at the target
};

/// Where the two sides of transfers with equal source, destination and tag
/// meet; one of the queues is empty.
struct Mailbox {
  std::deque<std::shared_ptr<Post>> sends, receives;
};

/// What the ranks of a group are about to do together; ranks that meet must
/// have come for the same.
struct Meeting {
  std::string_view kind; ///< a literal
  int64_t detail = 0;    ///< e.g. the element count
  std::string_view what;
};

/// The meeting place of one group.
struct GroupState {
  std::string kind, what; ///< of the first rank that arrived
  int64_t detail = 0;
  std::vector<char> present;        ///< by position in the group
  std::vector<const void *> posted; ///< by position, what peers may read
  size_t arrived = 0;
  uint64_t generation = 0; ///< meetings that are over
  /// Ranks that may be reading what others posted. A rank that leaves because
  /// the world has ended waits for them, as its memory may go away.
  size_t readers = 0;
};

class LoopbackTransport;

struct LoopbackWorld::State {
  State(int64_t ranks, LoopbackOptions options);

  LoopbackOptions options;
  mutable std::mutex mutex;
  std::vector<std::unique_ptr<std::condition_variable>> conditions;
  std::vector<std::unique_ptr<LoopbackTransport>> transports;
  std::optional<Failure> failure;
  /// By source, destination and tag; those with posts that nothing met yet.
  std::map<std::tuple<int64_t, int64_t, int64_t>, Mailbox> mailboxes;
  std::map<Group, GroupState> groups;

  int64_t size() const { return static_cast<int64_t>(transports.size()); }
  /// The error that `rank` sees once the world has ended. Mutex held.
  Error ended(int64_t rank) const;
  /// Ends the world, unless it has ended; returns what `rank` sees. Mutex held.
  Error fail(int64_t rank, std::string message);
  /// Sleeps until `done` or the end of the world or the deadline; `describe`
  /// says what did not happen. Mutex held through `lock`.
  Status wait(std::unique_lock<std::mutex> &lock, int64_t rank,
              const std::function<bool()> &done,
              const std::function<std::string()> &describe);
};

class LoopbackTransport final : public Transport {
public:
  LoopbackTransport(LoopbackWorld::State &world, int64_t self)
      : world(world), self(self) {}

  int64_t rank() const override { return self; }
  Result<SendHandle> postSend(std::span<const std::byte> bytes, int64_t peer,
                              int64_t tag, std::string_view what) override;
  Status waitSend(SendHandle send, std::string_view what) override;
  Result<ReceiveHandle> postReceive(std::span<std::byte> bytes, int64_t peer,
                                    int64_t tag,
                                    std::string_view what) override;
  Status waitReceive(ReceiveHandle receive, std::string_view what) override;
  Status exchange(const Group &group, std::span<const SendSegment> sends,
                  std::span<const ReceiveSegment> receives,
                  std::string_view what) override;
  Status allReduceSum(const Group &group, void *data, int64_t elements,
                      DType dtype, std::string_view what) override;
  Result<std::vector<double>> allGather(const Group &group,
                                        std::span<const double> values,
                                        std::string_view what) override;
  Status barrier(const Group &group, std::string_view what) override;
  void abort(const Error &error) override;

private:
  Status checkPeer(int64_t peer, std::string_view what);
  /// Notes one side of a transfer and, when it is the second, copies. Returns
  /// the number that it is waited for by.
  Result<int64_t> post(Post side);
  /// Blocks until the transfer of the post with this number is done; `describe`
  /// says what did not happen.
  Status waitFor(int64_t number, const char *operation, std::string_view what,
                 const std::function<std::string(const Post &)> &describe);
  /// Waits until all ranks of the group have come to the same meeting. With
  /// `post` non-null it becomes readable for the group and this rank a reader,
  /// until leave(). Returns the group's state.
  Result<GroupState *> meet(const Group &group, const Meeting &meeting,
                            const void *post);
  /// Ends what a meeting with a post began: waits for the group to be done with
  /// reading. `status` is how it went on this rank.
  Status leave(GroupState &state, const Group &group, Status status,
               std::string_view what);
  Status reduceInPlace(GroupState &state, const Group &group, void *data,
                       int64_t elements, DType dtype, std::string_view what);
  Status copySegments(const GroupState &state, const Group &group,
                      std::span<const ReceiveSegment> receives,
                      std::string_view what);

  LoopbackWorld::State &world;
  int64_t self;
  std::map<int64_t, std::shared_ptr<Post>> pending; ///< not waited for
  int64_t nextPost = 0;
};

} // namespace moe::comm
