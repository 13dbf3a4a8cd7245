// Figures of a machine from measured times.
#include "compiler/Cost/Profile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

namespace moe::cost {

namespace {

constexpr double kNsPerSecond = 1e9;

std::string print(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// Of an even number, the mean of the middle two.
double median(std::vector<double> values) {
  size_t middle = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 ? values[middle]
                           : (values[middle - 1] + values[middle]) / 2;
}

/// Bytes moved, and the nanoseconds that took.
struct Sample {
  double bytes = 0;
  double ns = 0;
};

struct Line {
  double latencyNs = 0;
  double nsPerByte = 0; ///< > 0
};

/// The line through samples that is least disturbed by outliers (Theil and
/// Sen): the median of the slopes between any two, and of what the slope leaves
/// over. Nothing when the samples do not determine one.
std::optional<Line> fitLine(std::vector<Sample> samples) {
  std::sort(samples.begin(), samples.end(),
            [](const Sample &a, const Sample &b) {
              return std::pair(a.bytes, a.ns) < std::pair(b.bytes, b.ns);
            });
  // Pairs grow with the square; samples at regular places keep them few.
  constexpr size_t most = 400;
  if (samples.size() > most) {
    std::vector<Sample> some;
    for (size_t i = 0; i < most; ++i)
      some.push_back(samples[i * (samples.size() - 1) / (most - 1)]);
    samples = std::move(some);
  }
  constexpr double span = 4;
  std::vector<double> sizes;
  for (const Sample &sample : samples)
    if (sizes.empty() || sizes.back() != sample.bytes)
      sizes.push_back(sample.bytes);
  if (sizes.size() < 3 || sizes.back() < span * sizes.front())
    return std::nullopt;
  std::vector<double> slopes, rest;
  for (size_t i = 0; i < samples.size(); ++i)
    for (size_t j = i + 1; j < samples.size(); ++j)
      if (samples[j].bytes > samples[i].bytes)
        slopes.push_back((samples[j].ns - samples[i].ns) /
                         (samples[j].bytes - samples[i].bytes));
  Line line;
  line.nsPerByte = median(std::move(slopes));
  if (!(line.nsPerByte > 0))
    return std::nullopt;
  for (const Sample &sample : samples)
    rest.push_back(sample.ns - line.nsPerByte * sample.bytes);
  line.latencyNs = std::max(0.0, median(std::move(rest)));
  return line;
}

class Calibration {
public:
  Calibration(const Machine &machine, const Profile &profile)
      : machine(machine), profile(profile) {}

  Result<Machine> run() {
    if (profile.machine != machine.name)
      return Error{profile.source + ": profile: measured on '" +
                   profile.machine + "', but the machine is '" + machine.name +
                   "'; name its description, or correct \"machine\""};
    MOE_RETURN_IF_ERROR(checkPeaks());
    // Each step uses what those before it found.
    MOE_RETURN_IF_ERROR(fitMemory());
    for (size_t i = 0; i < kComputeClassCount; ++i)
      MOE_RETURN_IF_ERROR(fitCompute(static_cast<OpClass>(i)));
    MOE_RETURN_IF_ERROR(fitNvlink());
    MOE_RETURN_IF_ERROR(fitNetwork());
    fitHostLink(ProfileEntry::Kind::to_device, "host_link.to_device",
                machine.hostToDeviceBytesPerSecond);
    fitHostLink(ProfileEntry::Kind::to_host, "host_link.to_host",
                machine.deviceToHostBytesPerSecond);
    if (found == 0)
      return Error{profile.source +
                   ": profile: determines no figure of the machine; it needs "
                   "ops that are not bound by memory, exchanges or copies that "
                   "take longer than their latency"};
    return machine;
  }

private:
  /// A measurement beyond a peak means that the profile or the description is
  /// wrong.
  Status checkPeaks() {
    for (size_t i = 0; i < profile.entries.size(); ++i) {
      const ProfileEntry &entry = profile.entries[i];
      const OpWork &work = entry.work;
      double seconds = static_cast<double>(entry.ns) / kNsPerSecond;
      auto check = [&](double amount, double peak, const char *what,
                       const char *unit) -> Status {
        if (amount <= peak * seconds)
          return {};
        return Error{profile.source + ": profile: entries[" +
                     std::to_string(i) + "]: " + print(amount / seconds) + " " +
                     unit + " is more than the peak of " + what + " of " +
                     machine.name + ", " + print(peak) +
                     "; check the counts (a multiply-add is two operations) "
                     "and the time, and that data did not come from a cache"};
      };
      if (entry.kind != ProfileEntry::Kind::op)
        continue;
      MOE_RETURN_IF_ERROR(check(static_cast<double>(work.bytes),
                                machine.hbmBytesPerSecond, "device memory",
                                "B/s"));
      if (work.opClass == OpClass::exchange) {
        Traffic traffic = trafficOf(entry);
        MOE_RETURN_IF_ERROR(check(traffic.nvlinkBytes,
                                  machine.nvlinkBytesPerSecond, "NVLink",
                                  "B/s"));
        MOE_RETURN_IF_ERROR(check(traffic.networkBytes,
                                  machine.networkBytesPerSecond, "the network",
                                  "B/s"));
      } else {
        MOE_RETURN_IF_ERROR(
            check(work.flops, peakOf(work), "arithmetic", "FLOP/s"));
      }
    }
    return {};
  }

  Status fitMemory() {
    std::vector<Sample> samples;
    for (const ProfileEntry &entry : profile.entries) {
      const OpWork &work = entry.work;
      if (entry.kind != ProfileEntry::Kind::op ||
          work.opClass != OpClass::elementwise)
        continue;
      // Bound by memory even if that reached its peak.
      double share =
          machine.efficiency[static_cast<size_t>(work.opClass)].at(work.flops);
      if (static_cast<double>(work.bytes) / machine.hbmBytesPerSecond >
          work.flops / (peakOf(work) * share))
        samples.push_back(
            {static_cast<double>(work.bytes), static_cast<double>(entry.ns)});
    }
    return fitRate(samples, machine.hbmBytesPerSecond, "hbm.efficiency",
                   machine.hbmEfficiency, "kernel_latency_ns",
                   machine.kernelLatencyNs);
  }

  Status fitCompute(OpClass opClass) {
    std::map<int, std::vector<Efficiency::Point>> buckets;
    const ProfileEntry *first = nullptr;
    size_t used = 0;
    for (const ProfileEntry &entry : profile.entries) {
      const OpWork &work = entry.work;
      if (entry.kind != ProfileEntry::Kind::op || work.opClass != opClass)
        continue;
      if (first && first->work.dtype != work.dtype)
        return Error{profile.source + ": profile: entries of class " +
                     std::string(name(opClass)) + " were measured in " +
                     std::string(name(first->work.dtype)) + " and " +
                     std::string(name(work.dtype)) +
                     "; a description has one efficiency a class: keep the "
                     "type that is trained in"};
      first = &entry;
      double ns = static_cast<double>(entry.ns - machine.kernelLatencyNs);
      double memoryNs = memoryNsOf(work);
      // An op that memory bounds says nothing of arithmetic; measurements
      // scatter by a few per cent.
      constexpr double scatter = 0.97;
      if (!(work.flops > 0) || ns <= 0 || memoryNs > scatter * ns)
        continue;
      double size = work.flops / static_cast<double>(work.parts);
      double share = work.flops / (peakOf(work) * ns / kNsPerSecond);
      buckets[std::ilogb(size)].push_back({size, std::min(share, 1.0)});
      ++used;
    }
    if (used == 0)
      return {};
    std::vector<Efficiency::Point> points;
    for (const auto &[unused, entries] : buckets) {
      std::vector<double> sizes, shares;
      for (const Efficiency::Point &point : entries) {
        sizes.push_back(point.size);
        shares.push_back(point.share);
      }
      points.push_back({median(std::move(sizes)), median(std::move(shares))});
    }
    extend(points, machine.efficiency[static_cast<size_t>(opClass)]);
    // More work never takes less time: where the scatter of measurements says
    // otherwise, small sizes, which suffer from it most, are raised.
    for (size_t i = points.size() - 1; i > 0; --i)
      points[i - 1].share =
          std::max(points[i - 1].share,
                   points[i].share * points[i - 1].size / points[i].size);
    machine.efficiency[static_cast<size_t>(opClass)] =
        Efficiency(std::move(points));
    note("efficiency." + std::string(name(opClass)), used);
    return {};
  }

  /// Sizes beyond those measured keep the shape that the description had.
  static void extend(std::vector<Efficiency::Point> &points,
                     const Efficiency &before) {
    const Efficiency::Point first = points.front(), last = points.back();
    std::vector<Efficiency::Point> below;
    for (Efficiency::Point point : before.points)
      if (point.size < first.size) {
        point.share *= first.share / before.at(first.size);
        below.push_back({point.size, std::min(point.share, 1.0)});
      } else if (point.size > last.size) {
        point.share *= last.share / before.at(last.size);
        points.push_back({point.size, std::min(point.share, 1.0)});
      }
    points.insert(points.begin(), below.begin(), below.end());
  }

  Status fitNvlink() {
    std::vector<Sample> samples;
    for (const ProfileEntry &entry : profile.entries)
      if (isExchange(entry) && entry.groupSize <= machine.nvlinkDomain)
        if (double ns = linkNsOf(entry); ns > 0)
          samples.push_back({trafficOf(entry).nvlinkBytes, ns});
    return fitRate(samples, machine.nvlinkBytesPerSecond, "nvlink.efficiency",
                   machine.nvlinkEfficiency, "nvlink.latency_ns",
                   machine.nvlinkLatencyNs);
  }

  Status fitNetwork() {
    std::vector<Sample> samples;
    double nvlink = machine.nvlinkBytesPerSecond * machine.nvlinkEfficiency;
    for (const ProfileEntry &entry : profile.entries) {
      if (!isExchange(entry) || entry.groupSize <= machine.nvlinkDomain)
        continue;
      Traffic traffic = trafficOf(entry);
      // Bound by the network even if that reached its peak.
      if (traffic.networkBytes / machine.networkBytesPerSecond <
          traffic.nvlinkBytes / nvlink)
        continue;
      if (double ns = linkNsOf(entry); ns > 0)
        samples.push_back({traffic.networkBytes, ns});
    }
    return fitRate(samples, machine.networkBytesPerSecond, "network.efficiency",
                   machine.networkEfficiency, "network.latency_ns",
                   machine.networkLatencyNs);
  }

  void fitHostLink(ProfileEntry::Kind kind, const std::string &path,
                   double &bytesPerSecond) {
    std::vector<Sample> samples;
    for (const ProfileEntry &entry : profile.entries)
      if (entry.kind == kind)
        samples.push_back({static_cast<double>(entry.work.bytes),
                           static_cast<double>(entry.ns)});
    std::optional<double> nsPerByte;
    if (std::optional<Line> line = fitLine(samples))
      nsPerByte = line->nsPerByte;
    else
      nsPerByte = slopeOf(samples, machine.kernelLatencyNs);
    if (!nsPerByte)
      return;
    bytesPerSecond = kNsPerSecond / *nsPerByte;
    note(path + "_bytes_per_second", samples.size());
    // Both directions together are no faster than each alone.
    double sum =
        machine.hostToDeviceBytesPerSecond + machine.deviceToHostBytesPerSecond;
    if (machine.hostCombinedBytesPerSecond > sum) {
      machine.hostCombinedBytesPerSecond = sum;
      machine.sources["host_link.combined_bytes_per_second"] =
          "sum of the directions as calibrated from " + profile.source;
    }
  }

  /// Writes efficiency and, if the samples determine it, latency.
  Status fitRate(const std::vector<Sample> &samples, double peak,
                 const std::string &efficiencyPath, double &efficiency,
                 const std::string &latencyPath, int64_t &latencyNs) {
    std::optional<Line> line = fitLine(samples);
    std::optional<double> nsPerByte =
        line ? line->nsPerByte : slopeOf(samples, latencyNs);
    if (!nsPerByte)
      return {};
    double share = kNsPerSecond / *nsPerByte / peak;
    // Rounding of whole nanoseconds; more is a contradiction.
    constexpr double rounding = 1.001;
    if (share > rounding)
      return Error{profile.source + ": profile: " + efficiencyPath +
                   " comes out as " + print(share) +
                   ", above 1: times grow "
                   "less with the bytes than the peak of " +
                   machine.name +
                   " allows; check bytes and times of these entries"};
    efficiency = std::min(share, 1.0);
    note(efficiencyPath, samples.size());
    if (line) {
      latencyNs = std::llround(line->latencyNs);
      note(latencyPath, samples.size());
    }
    return {};
  }

  /// Nanoseconds a byte when the latency is known.
  static std::optional<double> slopeOf(const std::vector<Sample> &samples,
                                       int64_t latencyNs) {
    std::vector<double> slopes;
    for (const Sample &sample : samples) {
      double ns = sample.ns - static_cast<double>(latencyNs);
      if (ns > 0 && sample.bytes > 0)
        slopes.push_back(ns / sample.bytes);
    }
    if (slopes.empty())
      return std::nullopt;
    return median(std::move(slopes));
  }

  static bool isExchange(const ProfileEntry &entry) {
    return entry.kind == ProfileEntry::Kind::op &&
           entry.work.opClass == OpClass::exchange;
  }
  double peakOf(const OpWork &work) const {
    return machine.peakFlops(arithmeticType(work));
  }
  Traffic trafficOf(const ProfileEntry &entry) const {
    return trafficOfWork(machine, entry.work, entry.groupSize);
  }
  double memoryNsOf(const OpWork &work) const {
    return static_cast<double>(work.bytes) * kNsPerSecond /
           (machine.hbmBytesPerSecond * machine.hbmEfficiency);
  }
  /// What is left of an exchange for its links.
  double linkNsOf(const ProfileEntry &entry) const {
    return static_cast<double>(entry.ns - machine.kernelLatencyNs) -
           memoryNsOf(entry.work);
  }

  void note(const std::string &path, size_t entries) {
    machine.sources[path] = "calibrated from " + profile.source + ", " +
                            std::to_string(entries) +
                            (entries == 1 ? " entry" : " entries");
    ++found;
  }

  Machine machine;
  const Profile &profile;
  size_t found = 0; ///< figures that were replaced
};

} // namespace

Result<Machine> calibrate(const Machine &machine, const Profile &profile) {
  return Calibration(machine, profile).run();
}

} // namespace moe::cost
