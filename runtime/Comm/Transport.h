//===- Transport.h - how ranks exchange bytes -------------------*- C++ -*-===//
//
// One object per rank, which two threads of the rank may use at a time: one
// that issues collectives, another for sends and receives. Every rank of a
// group must issue the same collectives in the same order; a transport that
// notices a difference ends the world.
//
// Faults are fail-stop: the first rank that fails (abort, an error inside an
// operation, a deadline) ends the world. From then on every operation, also one
// that is already blocked, returns an error that names that rank and its cause.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Comm/Topology.h"
#include "support/DType.h"
#include "support/Result.h"

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace moe::comm {

/// Bytes that go to a peer, or where a peer's bytes go.
template <typename Byte> struct Segment {
  int64_t peer = 0; ///< world rank
  Byte *data = nullptr;
  int64_t bytes = 0;
};
using SendSegment = Segment<const std::byte>;
using ReceiveSegment = Segment<std::byte>;

/// A send that was posted; valid until it was waited for.
struct SendHandle {
  int64_t id = -1;
};

/// A receive that was posted; valid until it was waited for.
struct ReceiveHandle {
  int64_t id = -1;
};

/// `what` of every operation names the plan's op or step, for messages.
class Transport {
public:
  virtual ~Transport() = default;

  virtual int64_t rank() const = 0;

  // The n-th send to a peer under a tag fills the n-th receive that the peer
  // posts for this rank under that tag; their sizes must agree. A rank may send
  // to itself. Posting never blocks, and a transfer needs no more than both
  // posts: neither side has to wait for it to happen.

  /// Offers `bytes` to `peer`. They must neither change nor go away until
  /// waitSend() succeeds; after a failure, until every rank of the world has
  /// returned from its last operation.
  virtual Result<SendHandle> postSend(std::span<const std::byte> bytes,
                                      int64_t peer, int64_t tag,
                                      std::string_view what) = 0;
  /// Blocks until the peer has posted the receive and the bytes are there.
  virtual Status waitSend(SendHandle send, std::string_view what) = 0;

  /// Gives `bytes` to be filled by `peer`. They must neither be touched nor go
  /// away until waitReceive() succeeds; after a failure, until every rank of
  /// the world has returned from its last operation.
  virtual Result<ReceiveHandle> postReceive(std::span<std::byte> bytes,
                                            int64_t peer, int64_t tag,
                                            std::string_view what) = 0;
  /// Blocks until the bytes are there.
  virtual Status waitReceive(ReceiveHandle receive, std::string_view what) = 0;

  /// Posts a receive and waits for it.
  Status receive(std::span<std::byte> bytes, int64_t peer, int64_t tag,
                 std::string_view what) {
    Result<ReceiveHandle> posted = postReceive(bytes, peer, tag, what);
    return posted ? waitReceive(*posted, what) : Status(posted.error());
  }

  /// Moves segments among the ranks of a group (all-to-all-v without packing):
  /// the n-th send segment for a peer fills the n-th receive segment that the
  /// peer names for this rank; their sizes must agree. A rank may send to
  /// itself. Sources may be reused on return.
  virtual Status exchange(const Group &group,
                          std::span<const SendSegment> sends,
                          std::span<const ReceiveSegment> receives,
                          std::string_view what) = 0;

  /// In-place sum of f32 or f64 arrays, added in ascending rank order, hence
  /// the same bits on every rank and in every run.
  virtual Status allReduceSum(const Group &group, void *data, int64_t elements,
                              DType dtype, std::string_view what) = 0;

  /// The values of all ranks of the group, concatenated in rank order. All
  /// ranks give equally many.
  virtual Result<std::vector<double>> allGather(const Group &group,
                                                std::span<const double> values,
                                                std::string_view what) = 0;

  /// Returns when every rank of the group has entered.
  virtual Status barrier(const Group &group, std::string_view what) = 0;

  /// Ends the world with this rank's error, unless it has ended already.
  virtual void abort(const Error &error) = 0;

  /// Sum of one value per rank, in ascending rank order.
  Result<double> sum(const Group &group, double value, std::string_view what) {
    Result<std::vector<double>> values = allGather(group, {&value, 1}, what);
    if (!values)
      return values.error();
    double total = 0;
    for (double v : *values)
      total += v;
    return total;
  }
};

} // namespace moe::comm
