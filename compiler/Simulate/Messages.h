//===- Messages.h - what ranks send to each other ---------------*- C++ -*-===//
//
// Private to compiler/Simulate.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Simulate/Simulate.h"

#include <algorithm>
#include <span>

namespace moe::simulate {

inline constexpr int64_t kNotYet = -1;
inline constexpr size_t kNone = std::numeric_limits<size_t>::max();

/// From the posting of its send to its arrival.
struct Message {
  size_t pair = 0; ///< index into Exchange::pairs
  size_t sendStep = 0;
  size_t receiveStep = 0;
  int64_t durationNs = 0;
  int64_t sendPostedNs = kNotYet;
  int64_t receivePostedNs = kNotYet;
  Interval time{kNotYet, kNotYet};
  /// The message whose end made way for this one; kNone: it began when both
  /// sides had posted it.
  size_t blocker = kNone;

  bool isPosted() const {
    return sendPostedNs != kNotYet && receivePostedNs != kNotYet;
  }
  int64_t postedNs() const { return std::max(sendPostedNs, receivePostedNs); }
  bool hasArrived() const { return time.endNs != kNotYet; }
};

/// The messages from one rank to one rank, in order.
struct Pair {
  size_t from = 0;
  size_t to = 0;
  std::vector<size_t> messages;
  size_t next = 0; ///< the first that has not arrived
  bool isBusy = false;

  bool isLocal() const { return from == to; }
};

/// Who sends what to whom, and who waits for it.
struct Exchange {
  std::vector<Message> messages;
  std::vector<Pair> pairs; ///< rising by from, then to
  struct OfRank {
    std::vector<size_t> messageOf; ///< by step: of send, receive, wait_send
    /// By step: where those begin in `arrivals` that a run or overlap waits
    /// for. One more than there are steps.
    std::vector<size_t> arrivalsBegin;
    std::vector<size_t> arrivals;
    // Pairs with other ranks.
    std::vector<size_t> outgoing;
    std::vector<size_t> incoming;
  };
  std::vector<OfRank> ranks;

  std::span<const size_t> arrivalsOf(size_t rank, size_t step) const {
    const OfRank &of = ranks[rank];
    return std::span(of.arrivals)
        .subspan(of.arrivalsBegin[step],
                 of.arrivalsBegin[step + 1] - of.arrivalsBegin[step]);
  }
};

/// "run backward of stage s1, microbatch 3".
std::string describe(const plan::Plan &plan, const plan::Step &step);

/// Pairs sends and receives. The steps' indices must have been checked. Errors:
/// transfers that do not match, and that take a time beyond kLongestNs.
Result<Exchange> matchMessages(const plan::Plan &plan);

} // namespace moe::simulate
