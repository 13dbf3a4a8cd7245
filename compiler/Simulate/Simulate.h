//===- Simulate.h - execution of a plan in estimated time -------*- C++ -*-===//
//
// Runs the steps of every pipeline rank in the order of the plan, op by op on
// the streams of each rank, with the estimated times that the plan carries.
// docs/simulation.md explains the rules with an example.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/Result.h"

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace moe::simulate {

/// What a rank does at the same time. The first four are the streams of ops, in
/// the order of plan::Stream;
/// what arrives from other ranks and what the rank hands over to itself have
/// their own. At most one thing at a time happens on each lane.
enum class Lane : uint8_t {
  compute,                ///< ops, and the update
  expert_communication,   ///< ops, and the reduction of gradients
  copy_out,               ///< ops, from device to host
  copy_in,                ///< ops, from host to device
  pipeline_communication, ///< what arrives from other ranks
  local_copy,             ///< what the rank sends to itself
};
inline constexpr size_t kLaneCount = 6;
std::string_view name(Lane lane);

/// From begin to end, in nanoseconds from the begin of the training step.
struct Interval {
  int64_t beginNs = 0;
  int64_t endNs = 0;
  int64_t ns() const { return endNs - beginNs; }
  bool operator==(const Interval &) const = default;
};

/// Something that took time on a lane: an op, a transfer, gradient reduction
/// or the update.
struct Event {
  Lane lane = Lane::compute;
  Interval time;
  int64_t step = -1; ///< index into the steps of the plan's rank; a transfer is
                     ///< an event of the receiving rank's `receive` step
  int64_t member = 0; ///< of an overlap: whose op
  int64_t op = -1;    ///< index into the ops of the program; -1: no op
  bool operator==(const Event &) const = default;
};

/// Live bytes from a moment on, by class, as the plan counts them: in the order
/// of issue. An op counts from the moment when it, or an op issued after it,
/// begins; what it releases counts until it ends or the next op is issued.
struct MemorySample {
  int64_t ns = 0;
  plan::ByteCounts live;
  bool operator==(const MemorySample &) const = default;
};

struct RankTimeline {
  /// For each step of the plan's rank: run and overlap, the time in programs;
  /// receive and send, the time of the bytes on the link; wait_send, the wait;
  /// the rest as issued.
  std::vector<Interval> steps;
  std::array<int64_t, kLaneCount> laneBusyNs{};
  int64_t busyNs = 0; ///< in programs, gradient reduction and update
  /// Of those, with compute idle and an exchange or reduction under way.
  int64_t exposedCommunicationNs = 0;
  int64_t exposedCopyNs = 0; ///< with nothing but copies under way
  int64_t endNs = 0;
  // The largest total of live bytes, the first time that it is reached.
  int64_t peakBytes = 0;
  int64_t peakNs = 0;
  int64_t peakStep = -1;  ///< -1 when the rank has no steps
  int64_t peakMember = 0; ///< as in Event
  int64_t peakOp = -1;    ///< as in Event; -1: the step itself
  // Only with Options::detail.
  std::vector<Event> events; ///< by begin, then lane; only what took time
  /// By time; those of one moment in order of issue. Only where something
  /// changes.
  std::vector<MemorySample> samples;
};

/// A stretch of the longest chain of events that nothing could shorten but
/// making one of them faster: what the step time consists of.
struct CriticalSegment {
  int64_t rank = 0;
  Lane lane = Lane::compute;
  Interval time;
  int64_t step = -1; ///< as in Event
  bool operator==(const CriticalSegment &) const = default;
};

struct Timeline {
  std::vector<RankTimeline> ranks;
  int64_t stepNs = 0; ///< when the last rank is done
  /// 1 - (busy time of the busiest rank) / stepNs; 0 for an empty plan.
  double bubble = 0;
  double modelFlopsUtilization = 0; ///< as plan::Prediction defines it
  /// From 0 to stepNs without gaps; consecutive ones differ in rank, lane or
  /// step. Waiting for a link's latency belongs to its transfer.
  std::vector<CriticalSegment> criticalPath;
};

struct Options {
  bool detail = false; ///< events and samples as well: memory grows with ops
  /// Detail inside programs only of microbatches below this one (an overlap
  /// counts as its earlier microbatch). Transfers and what happens between
  /// programs are detailed for all.
  int64_t detailMicrobatches = std::numeric_limits<int64_t>::max();
};

/// Rules.
/// - A rank issues its steps in order. `run` and `overlap` begin when the step
///   before is done and the bytes of every input that is being received are
///   there; they end when all their ops have ended.
/// - An op begins when the op before it on its stream and all that it waits for
///   have ended; it takes its time_ns. While copies run in both directions,
///   each gets at most half of what the link to the host carries together, and
///   takes as much longer.
/// - `receive` posts and returns, `send` posts and returns. A message is ready
///   when both are posted and those before it from the same rank to the same
///   rank have arrived. wait_send ends when it has arrived.
/// - Between ranks it takes latency + bytes / rate. All that time it has the
///   sender's way out and the receiver's way in for itself, whoever is at the
///   other end. When several wait for a way, the one whose send and receive
///   were both posted first goes first (then by sender, then by receiver), and
///   none waits while both its ways are free.
/// - From a rank to itself it takes bytes / local rate, one at a time, beside
///   whatever the links do.
/// - The k-th send from one rank to another meets the k-th receive there.
/// - reduce_gradients and update take the times of their rank.
/// Without detail linear in the number of steps and segments of the critical
/// path (times the logarithm of the number of ranks); with it in the number of
/// ops. Errors: transfers that do not match, and deadlock, naming ranks and
/// steps; indices that leave their arrays; times that are negative or beyond
/// 2^53 ns. Live bytes are taken from the plan as they are.
Result<Timeline> simulate(const plan::Plan &plan, const Options &options = {});

} // namespace moe::simulate
