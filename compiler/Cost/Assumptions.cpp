// The figures and rules that estimates rest on, for the plan and its readers.
#include "compiler/Cost/Cost.h"

#include <cstdio>

namespace moe::cost {

namespace {

std::string scaled(double value, double unit, const char *suffix) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g%s", value / unit, suffix);
  return text;
}

std::string percent(double share) { return scaled(share, 0.01, " %"); }

/// "60 %", or "16 % at 1 GFLOP to 60 % at 13 GFLOP (5 sizes)".
std::string print(const Efficiency &efficiency) {
  const Efficiency::Point &first = efficiency.points.front();
  if (efficiency.points.size() == 1)
    return percent(first.share);
  constexpr double giga = 1e9;
  const Efficiency::Point &last = efficiency.points.back();
  return percent(first.share) + " at " + scaled(first.size, giga, " GFLOP") +
         " to " + percent(last.share) + " at " +
         scaled(last.size, giga, " GFLOP") + " (" +
         std::to_string(efficiency.points.size()) + " sizes)";
}

const char *describe(Copies copies) {
  switch (copies) {
  case Copies::choice:
    return "a row for each expert of a token";
  case Copies::rank:
    return "a row for each rank that a token reaches";
  case Copies::node:
    return "a row over the network for each NVLink domain that a token "
           "reaches, then over NVLink to the ranks in it";
  }
  return "";
}

} // namespace

std::vector<plan::Assumption> assumptions(const Machine &machine) {
  std::vector<plan::Assumption> list;
  auto figure = [&](const std::string &name, const std::string &path,
                    std::string value) {
    auto source = machine.sources.find(path);
    list.push_back(
        {name, std::move(value),
         source == machine.sources.end() ? "not stated" : source->second});
  };
  auto rate = [&](const std::string &name, const std::string &path,
                  double value) {
    constexpr double tera = 1e12, giga = 1e9;
    figure(name, path,
           value >= tera ? scaled(value, tera, " TB/s")
                         : scaled(value, giga, " GB/s"));
  };
  auto latency = [&](const std::string &name, const std::string &path,
                     int64_t value) {
    figure(name, path, std::to_string(value) + " ns");
  };
  constexpr double tera = 1e12;

  figure("reserve outside the plan", "reserve_bytes",
         scaled(static_cast<double>(machine.reserveBytes), 0x1p30, " GiB"));
  figure("peak bf16", "flops_per_second.bf16",
         scaled(machine.bf16FlopsPerSecond, tera, " TFLOP/s"));
  figure("peak f32", "flops_per_second.f32",
         scaled(machine.f32FlopsPerSecond, tera, " TFLOP/s"));
  figure("peak f64", "flops_per_second.f64",
         scaled(machine.f64FlopsPerSecond, tera, " TFLOP/s"));
  for (size_t i = 0; i < kComputeClassCount; ++i) {
    std::string opClass(name(static_cast<OpClass>(i)));
    figure(opClass + " efficiency", "efficiency." + opClass,
           print(machine.efficiency[i]));
  }
  rate("device memory", "hbm.bytes_per_second", machine.hbmBytesPerSecond);
  figure("device memory efficiency", "hbm.efficiency",
         percent(machine.hbmEfficiency));
  figure("NVLink domain", "nvlink.domain_size",
         std::to_string(machine.nvlinkDomain) + " devices");
  rate("NVLink, one direction", "nvlink.bytes_per_second",
       machine.nvlinkBytesPerSecond);
  figure("NVLink efficiency", "nvlink.efficiency",
         percent(machine.nvlinkEfficiency));
  latency("NVLink latency", "nvlink.latency_ns", machine.nvlinkLatencyNs);
  rate("network per device", "network.bytes_per_second",
       machine.networkBytesPerSecond);
  figure("network efficiency", "network.efficiency",
         percent(machine.networkEfficiency));
  latency("network latency", "network.latency_ns", machine.networkLatencyNs);
  figure("rows sent by an exchange", "exchange.copies",
         describe(machine.copies));
  rate("host to device", "host_link.to_device_bytes_per_second",
       machine.hostToDeviceBytesPerSecond);
  rate("device to host", "host_link.to_host_bytes_per_second",
       machine.deviceToHostBytesPerSecond);
  rate("both directions of the host link",
       "host_link.combined_bytes_per_second",
       machine.hostCombinedBytesPerSecond);
  figure("devices that share the host link", "host_link.devices",
         std::to_string(machine.hostLinkDevices));
  figure("host memory for a device", "host_memory_bytes",
         scaled(static_cast<double>(machine.hostMemoryBytes), 0x1p30, " GiB"));
  latency("kernel latency", "kernel_latency_ns", machine.kernelLatencyNs);
  auto rule = [&](const char *name, const char *value) {
    list.push_back({name, value, "cost model"});
  };
  rule("time of an op",
       "slower of arithmetic and memory traffic, plus the start of a kernel");
  rule("size of an op",
       "floating-point operations of one expert, or of one head and sequence; "
       "the share of the peak is interpolated between sizes, logarithmically");
  rule("time of an exchange",
       "gather of rows at memory rate, then NVLink and network at once, the "
       "slower counts");
  rule("choice of experts",
       "uniform among what the routing rule admits; the busiest rank receives "
       "routing.imbalance times the balanced rows");
  rule("gradient reduction",
       "ring all-reduce over NVLink within a domain, across domains through "
       "the network port of every member");
  rule("placement of ranks",
       "expert-parallel ranks are neighbours, pipeline ranks outermost");
  rule("time of a copy to or from the host",
       "the whole value, at the rate of its direction, plus the start of a "
       "kernel; copies in both directions at once share what the link carries "
       "together");
  rule("interference", "none else: kernels, exchanges and copies that run at "
                       "the same time do not slow each other down");
  return list;
}

} // namespace moe::cost
