#include "compiler/Cost/Cost.h"

#include <algorithm>
#include <cmath>

namespace moe::cost {

namespace {

constexpr double kNsPerSecond = 1e9;

/// Rounds up, so that work never takes no time; clamps instead of overflowing.
int64_t toNs(double seconds) {
  double ns = std::ceil(seconds * kNsPerSecond);
  constexpr double limit = 0x1p60;
  return static_cast<int64_t>(std::clamp(ns, 0.0, limit));
}

double hbmRate(const Machine &machine) {
  return machine.hbmBytesPerSecond * machine.hbmEfficiency;
}
double nvlinkRate(const Machine &machine) {
  return machine.nvlinkBytesPerSecond * machine.nvlinkEfficiency;
}
double networkRate(const Machine &machine) {
  return machine.networkBytesPerSecond * machine.networkEfficiency;
}

double computeRate(const Machine &machine, const OpWork &work) {
  double size =
      work.flops / static_cast<double>(std::max<int64_t>(work.parts, 1));
  return machine.peakFlops(arithmeticType(work)) *
         machine.efficiency[static_cast<size_t>(work.opClass)].at(size);
}

/// Link bytes spread evenly over the other devices.
Traffic spread(const Machine &machine, int64_t linkBytes, int64_t groupSize) {
  double bytes = static_cast<double>(linkBytes);
  double outside = groupSize <= machine.nvlinkDomain
                       ? 0
                       : static_cast<double>(groupSize - machine.nvlinkDomain) /
                             static_cast<double>(groupSize - 1);
  return {bytes * (1 - outside), bytes * outside};
}

} // namespace

DType arithmeticType(const OpWork &work) {
  return work.opClass == OpClass::elementwise && work.dtype == DType::bf16
             ? DType::f32
             : work.dtype;
}

Traffic trafficOfWork(const Machine &machine, const OpWork &work,
                      int64_t groupSize) {
  return work.fanout.tokens > 0
             ? exchangeTraffic(machine, work.fanout, work.imbalance, groupSize)
             : spread(machine, work.linkBytes, groupSize);
}

int64_t exchangeNs(const Machine &machine, const Traffic &traffic,
                   int64_t groupSize) {
  if (groupSize <= 1)
    return 0;
  return (groupSize <= machine.nvlinkDomain ? machine.nvlinkLatencyNs
                                            : machine.networkLatencyNs) +
         toNs(std::max(traffic.networkBytes / networkRate(machine),
                       traffic.nvlinkBytes / nvlinkRate(machine)));
}

int64_t exchangeNs(const Machine &machine, int64_t linkBytes,
                   int64_t groupSize) {
  return exchangeNs(machine, spread(machine, linkBytes, groupSize), groupSize);
}

int64_t estimateNs(const Machine &machine, const OpWork &work,
                   int64_t groupSize) {
  double memorySeconds = static_cast<double>(work.bytes) / hbmRate(machine);
  if (work.opClass == OpClass::exchange) {
    int64_t links =
        exchangeNs(machine, trafficOfWork(machine, work, groupSize), groupSize);
    return machine.kernelLatencyNs + toNs(memorySeconds) + links;
  }
  double computeSeconds =
      work.flops > 0 ? work.flops / computeRate(machine, work) : 0;
  return machine.kernelLatencyNs +
         toNs(std::max(computeSeconds, memorySeconds));
}

int64_t allReduceNs(const Machine &machine, int64_t bytes, int64_t groupSize,
                    int64_t stride) {
  if (groupSize <= 1)
    return 0;
  int64_t members = std::clamp<int64_t>(
      machine.nvlinkDomain / std::max<int64_t>(stride, 1), 1, groupSize);
  bool nvlink = members == groupSize;
  double share =
      2.0 * static_cast<double>(groupSize - 1) / static_cast<double>(groupSize);
  double ports = networkRate(machine) * static_cast<double>(members);
  // A domain that holds one member has no use for NVLink.
  double rate = nvlink         ? nvlinkRate(machine)
                : members == 1 ? ports
                               : std::min(nvlinkRate(machine), ports);
  return (nvlink ? machine.nvlinkLatencyNs : machine.networkLatencyNs) +
         toNs(static_cast<double>(bytes) * share / rate);
}

int64_t optimizerNs(const Machine &machine, int64_t trainableParameters,
                    DType storage) {
  // AdamW: gradient, weight (or its f32 master) and two moments are read; the
  // last three, and the bf16 weight beside its master, are written.
  int64_t bytesPerElement =
      storage == DType::bf16 ? 4 * 4 + 3 * 4 + 2 : 7 * byteSize(storage);
  return machine.kernelLatencyNs +
         toNs(static_cast<double>(trainableParameters) *
              static_cast<double>(bytesPerElement) / hbmRate(machine));
}

Link pipelineLink(const Machine &machine, int64_t pipelineRanks,
                  int64_t devicesPerRank) {
  if (pipelineRanks * devicesPerRank <= machine.nvlinkDomain)
    return {machine.nvlinkLatencyNs, nvlinkRate(machine)};
  return {machine.networkLatencyNs, networkRate(machine)};
}

Link localLink(const Machine &machine) {
  return {machine.kernelLatencyNs, hbmRate(machine) / 2};
}

std::optional<HostCopy> parseHostCopy(std::string_view text) {
  if (text == "to_device")
    return HostCopy::to_device;
  if (text == "to_host")
    return HostCopy::to_host;
  return std::nullopt;
}

Link hostLink(const Machine &machine, HostCopy direction, bool bothBusy) {
  double rate = direction == HostCopy::to_device
                    ? machine.hostToDeviceBytesPerSecond
                    : machine.deviceToHostBytesPerSecond;
  if (bothBusy)
    rate = std::min(rate, machine.hostCombinedBytesPerSecond / 2);
  return {machine.kernelLatencyNs,
          rate / static_cast<double>(machine.hostLinkDevices)};
}

int64_t transferNs(const Link &link, int64_t bytes) {
  return link.latencyNs +
         (link.bytesPerSecond > 0
              ? toNs(static_cast<double>(bytes) / link.bytesPerSecond)
              : 0);
}

int64_t hostCopyNs(const Machine &machine, int64_t toDeviceBytes,
                   int64_t toHostBytes) {
  if (toDeviceBytes <= 0 && toHostBytes <= 0)
    return 0;
  auto devices = static_cast<double>(machine.hostLinkDevices);
  double in = static_cast<double>(toDeviceBytes) * devices;
  double out = static_cast<double>(toHostBytes) * devices;
  return machine.kernelLatencyNs +
         toNs(std::max({in / machine.hostToDeviceBytesPerSecond,
                        out / machine.deviceToHostBytesPerSecond,
                        (in + out) / machine.hostCombinedBytesPerSecond}));
}

} // namespace moe::cost
