//===- SimpleMachine.h - a machine for arithmetic in the head ---*- C++ -*-===//
#pragma once

#include "compiler/Cost/Machine.h"

namespace moe::cost {

/// Round figures: reached are 500 TFLOP/s in gemm, 2 TB/s of device memory,
/// 200 GB/s over NVLink among 8 devices, 40 GB/s over the network.
inline Machine simpleMachine() {
  Machine machine;
  machine.name = "simple";
  machine.memoryBytes = int64_t{1} << 36;
  machine.reserveBytes = int64_t{1} << 32;
  machine.bf16FlopsPerSecond = 1000e12;
  machine.f32FlopsPerSecond = 100e12;
  machine.f64FlopsPerSecond = 50e12;
  machine.efficiency = {0.5, 0.4, 0.25, 1.0};
  machine.hbmBytesPerSecond = 4e12;
  machine.hbmEfficiency = 0.5;
  machine.nvlinkDomain = 8;
  machine.nvlinkBytesPerSecond = 400e9;
  machine.nvlinkEfficiency = 0.5;
  machine.networkBytesPerSecond = 50e9;
  machine.networkEfficiency = 0.8;
  machine.hostMemoryBytes = int64_t{1} << 37;
  machine.hostToDeviceBytesPerSecond = 50e9;
  machine.deviceToHostBytesPerSecond = 50e9;
  machine.hostCombinedBytesPerSecond = 80e9;
  machine.kernelLatencyNs = 1000;
  machine.nvlinkLatencyNs = 5000;
  machine.networkLatencyNs = 20000;
  return machine;
}

} // namespace moe::cost
