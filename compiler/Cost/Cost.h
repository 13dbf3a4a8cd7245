//===- Cost.h - how long an op takes ----------------------------*- C++ -*-===//
//
// Roofline estimates: an op takes as long as the slower of its arithmetic and
// its memory traffic, each at the share of the peak that the machine
// description assumes, plus the start of a kernel.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Cost/Machine.h"
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
  /// exchange only: bytes that this device sends to other devices.
  int64_t linkBytes = 0;
};

/// Estimated nanoseconds of `work`.
///
/// compute: max(flops / (peak * efficiency), bytes / (hbm * efficiency)) +
/// kernel latency.
/// exchange: bytes / (hbm * efficiency) + kernel latency (gathering rows) +
/// exchangeNs(linkBytes, groupSize).
int64_t estimateNs(const Machine &machine, const OpWork &work,
                   int64_t groupSize = 1);

/// Time for each of `groupSize` devices to send `linkBytes`, spread evenly
/// over the others. The devices of a group are neighbours: as many as fit
/// share an NVLink domain, traffic to the others takes the network, both at
/// once. 0 when groupSize <= 1.
int64_t exchangeNs(const Machine &machine, int64_t linkBytes,
                   int64_t groupSize);

/// Ring all-reduce of `bytes` over `groupSize` neighbouring devices: each
/// device sends 2 (groupSize - 1) / groupSize times `bytes` over the slowest
/// link of the ring. 0 when groupSize <= 1.
int64_t allReduceNs(const Machine &machine, int64_t bytes, int64_t groupSize);

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

/// Every figure and rule that the estimates above rest on, with its source, in
/// a fixed order.
std::vector<plan::Assumption> assumptions(const Machine &machine);

} // namespace moe::cost
