//===- Transport.h - how ranks exchange bytes -------------------*- C++ -*-===//
//
// One object per rank. Every rank of a group must issue the same collectives in
// the same order; a transport that notices a difference ends the world.
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

/// `what` of every operation names the plan's op or step, for messages.
class Transport {
public:
  virtual ~Transport() = default;

  virtual int64_t rank() const = 0;

  /// Offers `bytes` to `peer` and returns at once. They must neither change nor
  /// go away until waitSend() succeeds; after a failure, until every rank of
  /// the world has returned from its last operation. Messages with equal peer
  /// and tag are taken in the order in which they were posted.
  virtual Result<SendHandle> postSend(std::span<const std::byte> bytes,
                                      int64_t peer, int64_t tag,
                                      std::string_view what) = 0;
  /// Blocks until the peer has taken the bytes.
  virtual Status waitSend(SendHandle send, std::string_view what) = 0;
  /// Blocks until the next message of `peer` with `tag` is in `bytes`. A
  /// message of another size is an error.
  virtual Status receive(std::span<std::byte> bytes, int64_t peer, int64_t tag,
                         std::string_view what) = 0;

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
