//===- Cost.h - how long an op takes ----------------------------*- C++ -*-===//
//
// Roofline estimates: an op takes as long as the slower of its arithmetic and
// its memory traffic, each at the share of the peak that the machine
// description assumes for work of its class and size, plus the start of a
// kernel. docs/cost-model.md derives the rules and compares them with published
// measurements.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Cost/Machine.h"
#include "compiler/Cost/Routing.h"
#include "runtime/Plan/Plan.h"

#include <cstdint>
#include <vector>

namespace moe::cost {

/// The work of one op on one device.
struct OpWork {
  OpClass opClass = OpClass::elementwise;
  DType dtype = DType::bf16; ///< of the arithmetic
  double flops = 0;          ///< a multiply-add counts as two
  int64_t bytes = 0;         ///< read and written in device memory
  /// exchange only: bytes that this device sends to other devices, used when
  /// `fanout` is not known.
  int64_t linkBytes = 0;
  /// Equal parts that a kernel works through: experts of a grouped
  /// multiplication, heads times sequences of attention. The efficiency is that
  /// of work of flops / parts.
  int64_t parts = 1;
  Fanout fanout =
      {}; ///< exchange only: what is sent, from which traffic follows
  /// exchange only, applied to `fanout`: rows that the busiest device receives
  /// over the balanced number.
  double imbalance = 1;
  bool operator==(const OpWork &) const = default;
};

/// The type whose peak applies to the arithmetic of `work`: elementwise bf16
/// work runs on the vector units at the f32 rate.
DType arithmeticType(const OpWork &work);

/// The traffic of an exchange: from its fan-out, or its link bytes spread
/// evenly over the other devices.
Traffic trafficOfWork(const Machine &machine, const OpWork &work,
                      int64_t groupSize);

/// Estimated nanoseconds of `work`.
///
/// compute: max(flops / (peak * efficiency(flops / parts)),
/// bytes / (hbm * efficiency)) + kernel latency.
/// exchange: bytes / (hbm * efficiency) + kernel latency (gathering rows) +
/// the time of its traffic among `groupSize` devices.
int64_t estimateNs(const Machine &machine, const OpWork &work,
                   int64_t groupSize = 1);

/// Time for each of `groupSize` devices to send `linkBytes`, spread evenly
/// over the others. The devices of a group are neighbours: as many as fit
/// share an NVLink domain, traffic to the others takes the network, both at
/// once. 0 when groupSize <= 1.
int64_t exchangeNs(const Machine &machine, int64_t linkBytes,
                   int64_t groupSize);

/// Time of an exchange of the given traffic: NVLink and network at once, the
/// slower counts. 0 when groupSize <= 1.
int64_t exchangeNs(const Machine &machine, const Traffic &traffic,
                   int64_t groupSize);

/// Ring all-reduce of `bytes` over `groupSize` devices, of which neighbouring
/// ones lie `stride` devices apart: each device sends 2 (groupSize - 1) /
/// groupSize times `bytes`. Inside one NVLink domain that goes over NVLink.
/// Otherwise there are as many rings as a domain holds members of the group,
/// each leaving the domain through the network port of another member: the rate
/// is the smaller of NVLink's and of these ports' together. 0 when
/// groupSize <= 1.
int64_t allReduceNs(const Machine &machine, int64_t bytes, int64_t groupSize,
                    int64_t stride = 1);

/// AdamW over `trainableParameters` local elements stored as `storage`: bound
/// by memory traffic. bf16: reads f32 gradient, master and two moments (16 B),
/// writes master, moments and weight (14 B) per element; f32 and f64: reads
/// four, writes three elements.
int64_t optimizerNs(const Machine &machine, int64_t trainableParameters,
                    DType storage);

/// A point-to-point link as the simulator uses it.
struct Link {
  int64_t latencyNs = 0;
  double bytesPerSecond = 0; ///< 0: takes no time
};

/// The link between neighbouring pipeline ranks. Pipeline parallelism is the
/// outermost dimension, so two neighbours lie `devicesPerRank` apart; they use
/// NVLink only when the whole pipeline (pipelineRanks * devicesPerRank devices)
/// lies in one domain, the network otherwise.
Link pipelineLink(const Machine &machine, int64_t pipelineRanks,
                  int64_t devicesPerRank);

/// A rank that sends to itself: the bytes are copied within device memory,
/// which reads and writes each.
Link localLink(const Machine &machine);

/// A copy between device and host. While the other direction is busy too, a
/// direction gets no more than half of what both have together. Devices that
/// share the link get equal parts.
enum class HostCopy : uint8_t { to_device, to_host };
std::optional<HostCopy> parseHostCopy(std::string_view text);
Link hostLink(const Machine &machine, HostCopy direction, bool bothBusy);

/// Nanoseconds for `bytes` to pass an idle link.
int64_t transferNs(const Link &link, int64_t bytes);

/// Nanoseconds until the given bytes have been copied to the device and from
/// it, started together: each direction at its rate, and both at the rate they
/// have together. 0 for no bytes.
int64_t hostCopyNs(const Machine &machine, int64_t toDeviceBytes,
                   int64_t toHostBytes);

/// Every figure and rule that the estimates above rest on, with its source, in
/// a fixed order.
std::vector<plan::Assumption> assumptions(const Machine &machine);

} // namespace moe::cost
