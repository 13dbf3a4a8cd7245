#include "compiler/Cost/Cost.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

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

double computeRate(const Machine &machine, OpClass opClass, DType dtype) {
  // Elementwise work runs on the vector units whatever the storage type; their
  // rate is the f32 one (f64 has its own).
  if (opClass == OpClass::elementwise && dtype == DType::bf16)
    dtype = DType::f32;
  return machine.peakFlops(dtype) *
         machine.efficiency[static_cast<size_t>(opClass)];
}

std::string scaled(double value, double unit, const char *suffix) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g %s", value / unit, suffix);
  return text;
}

} // namespace

int64_t exchangeNs(const Machine &machine, int64_t linkBytes,
                   int64_t groupSize) {
  if (groupSize <= 1)
    return 0;
  if (groupSize <= machine.nvlinkDomain)
    return machine.nvlinkLatencyNs +
           toNs(static_cast<double>(linkBytes) / nvlinkRate(machine));
  double outside = static_cast<double>(groupSize - machine.nvlinkDomain) /
                   static_cast<double>(groupSize - 1);
  double networkSeconds =
      static_cast<double>(linkBytes) * outside / networkRate(machine);
  double nvlinkSeconds =
      static_cast<double>(linkBytes) * (1 - outside) / nvlinkRate(machine);
  return machine.networkLatencyNs +
         toNs(std::max(networkSeconds, nvlinkSeconds));
}

int64_t estimateNs(const Machine &machine, const OpWork &work,
                   int64_t groupSize) {
  double memorySeconds = static_cast<double>(work.bytes) / hbmRate(machine);
  if (work.opClass == OpClass::exchange)
    return machine.kernelLatencyNs + toNs(memorySeconds) +
           exchangeNs(machine, work.linkBytes, groupSize);
  double computeSeconds =
      work.flops / computeRate(machine, work.opClass, work.dtype);
  return machine.kernelLatencyNs +
         toNs(std::max(computeSeconds, memorySeconds));
}

int64_t allReduceNs(const Machine &machine, int64_t bytes, int64_t groupSize) {
  if (groupSize <= 1)
    return 0;
  bool nvlink = groupSize <= machine.nvlinkDomain;
  double share =
      2.0 * static_cast<double>(groupSize - 1) / static_cast<double>(groupSize);
  double rate = nvlink ? nvlinkRate(machine)
                       : std::min(nvlinkRate(machine), networkRate(machine));
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

std::vector<plan::Assumption> assumptions(const Machine &machine) {
  std::vector<plan::Assumption> list;
  auto figure = [&](const char *name, const char *path, std::string value) {
    auto source = machine.sources.find(path);
    list.push_back(
        {name, std::move(value),
         source == machine.sources.end() ? "not stated" : source->second});
  };
  constexpr double tera = 1e12, giga = 1e9;
  auto percent = [](double share) { return scaled(share, 0.01, "%"); };

  figure("reserve outside the plan", "reserve_bytes",
         scaled(static_cast<double>(machine.reserveBytes), 0x1p30, "GiB"));
  figure("peak bf16", "flops_per_second.bf16",
         scaled(machine.bf16FlopsPerSecond, tera, "TFLOP/s"));
  figure("peak f32", "flops_per_second.f32",
         scaled(machine.f32FlopsPerSecond, tera, "TFLOP/s"));
  for (size_t i = 0; i < kComputeClassCount; ++i) {
    std::string opClass(name(static_cast<OpClass>(i)));
    figure((opClass + " efficiency").c_str(), ("efficiency." + opClass).c_str(),
           percent(machine.efficiency[i]));
  }
  figure("device memory", "hbm.bytes_per_second",
         scaled(machine.hbmBytesPerSecond, tera, "TB/s"));
  figure("device memory efficiency", "hbm.efficiency",
         percent(machine.hbmEfficiency));
  figure("NVLink domain", "nvlink.domain_size",
         std::to_string(machine.nvlinkDomain) + " devices");
  figure("NVLink, one direction", "nvlink.bytes_per_second",
         scaled(machine.nvlinkBytesPerSecond, giga, "GB/s"));
  figure("NVLink efficiency", "nvlink.efficiency",
         percent(machine.nvlinkEfficiency));
  figure("NVLink latency", "nvlink.latency_ns",
         std::to_string(machine.nvlinkLatencyNs) + " ns");
  figure("network per device", "network.bytes_per_second",
         scaled(machine.networkBytesPerSecond, giga, "GB/s"));
  figure("network efficiency", "network.efficiency",
         percent(machine.networkEfficiency));
  figure("network latency", "network.latency_ns",
         std::to_string(machine.networkLatencyNs) + " ns");
  figure("kernel latency", "kernel_latency_ns",
         std::to_string(machine.kernelLatencyNs) + " ns");
  auto rule = [&](const char *name, const char *value) {
    list.push_back({name, value, "cost model"});
  };
  rule("time of an op",
       "slower of arithmetic and memory traffic, plus the start of a kernel");
  rule("time of an exchange", "gather of rows, then all-to-all spread evenly "
                              "over peers, not hidden behind compute");
  rule("placement of ranks",
       "expert-parallel ranks are neighbours, pipeline ranks outermost");
  return list;
}

} // namespace moe::cost
