//===- Machine.h - description of a training machine ------------*- C++ -*-===//
//
// One accelerator, the links it has to its peers and to its host, and what
// share of each peak rate real work gets. Descriptions are data files
// (machines/*.json, docs/machines.md); every figure in them names its source.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/DType.h"
#include "support/Result.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::cost {

/// Kinds of work that reach different shares of the peak. `exchange` is the
/// all-to-all of dispatch and combine; it has no floating-point efficiency.
enum class OpClass : uint8_t {
  gemm,
  grouped_gemm,
  attention,
  elementwise,
  exchange
};
inline constexpr size_t kComputeClassCount = 4; ///< all but exchange
std::string_view name(OpClass opClass);
std::optional<OpClass> parseOpClass(std::string_view text);

/// What share of a peak rate work of a given size reaches. The size of work is
/// the floating-point operations of one of its equal parts: of the product of
/// one expert, of one head and sequence of attention.
///
/// Between two points the share is a power of the size (a straight line when
/// both are drawn logarithmically), which holds exactly where small work takes
/// as long as slightly larger work; outside it is that of the nearest point.
struct Efficiency {
  struct Point {
    double size = 1;  ///< floating-point operations, > 0
    double share = 0; ///< in (0, 1]
    bool operator==(const Point &) const = default;
  };
  std::vector<Point> points; ///< rising by size

  Efficiency() = default;
  /// The same share for every size.
  Efficiency(double share) : points{{1, share}} {}
  explicit Efficiency(std::vector<Point> points) : points(std::move(points)) {}

  /// The share at `size`; at least one point is needed.
  double at(double size) const;
  /// Empty, or what is wrong: sizes that do not rise, shares outside (0, 1], or
  /// a share that grows faster than the size, with which more work would take
  /// less time.
  std::string problem() const;
  bool operator==(const Efficiency &) const = default;
};

/// How often a row crosses a link in an exchange.
enum class Copies : uint8_t {
  choice, ///< once for each of a token's experts: a plain all-to-all
  rank,   ///< once for each rank that owns one of them
  /// Once over the network for each NVLink domain that owns one of them, then
  /// over NVLink to the ranks there; sums travel back the same way.
  node,
};
std::string_view name(Copies copies);
std::optional<Copies> parseCopies(std::string_view text);

/// Rates are peaks, per device; one direction where a link is meant. A rate
/// that work is assumed to reach is peak times efficiency.
struct Machine {
  std::string name;
  std::string description;

  int64_t memoryBytes = 0;
  /// Taken outside the plan: context, libraries, communicators' own buffers.
  int64_t reserveBytes = 0;
  int64_t hostMemoryBytes = 0; ///< of the host, for one device

  /// Dense FLOP/s, a multiply-add counted as two.
  double bf16FlopsPerSecond = 0;
  double f32FlopsPerSecond = 0;
  double f64FlopsPerSecond = 0;
  /// Share of the peak by size, indexed by the compute classes of OpClass.
  std::array<Efficiency, kComputeClassCount> efficiency{};

  double hbmBytesPerSecond = 0;
  double hbmEfficiency = 0;

  int64_t nvlinkDomain = 1; ///< devices that reach each other over NVLink
  double nvlinkBytesPerSecond = 0;
  double nvlinkEfficiency = 0;
  double networkBytesPerSecond = 0; ///< of one device's share of the NICs
  double networkEfficiency = 0;
  Copies copies = Copies::choice; ///< what the exchange library sends

  double hostToDeviceBytesPerSecond = 0;
  double deviceToHostBytesPerSecond = 0;
  double hostCombinedBytesPerSecond = 0; ///< sum while both directions run
  /// That share these rates: they copy at the same time, since they do the same
  /// steps.
  int64_t hostLinkDevices = 1;

  int64_t kernelLatencyNs = 0;  ///< start of one kernel
  int64_t nvlinkLatencyNs = 0;  ///< start of one message or exchange
  int64_t networkLatencyNs = 0; ///< start of one message or exchange

  /// Where each figure comes from: path in the file ("hbm.efficiency") -> text.
  std::map<std::string, std::string> sources;

  /// Peak dense FLOP/s for arithmetic on `type`; i32 counts as f32.
  double peakFlops(DType type) const;
  bool operator==(const Machine &) const = default;
};

/// Reads a description. Strict: a missing, unknown, repeated or out-of-range
/// field is an error that names it, e.g. "hbm.efficiency: must be in (0, 1],
/// is 1.2".
Result<Machine> parseMachine(std::string_view json);

/// The description as a file that parseMachine reads back to an equal value. A
/// figure without a source gets "not stated".
std::string printMachine(const Machine &machine);

/// Reads `nameOrPath`: a path when it contains '/' or ends in ".json",
/// otherwise the name of a file NAME.json in the first of `directories` that
/// has it. The error for an unknown name lists the names that exist.
Result<Machine> loadMachine(const std::string &nameOrPath,
                            const std::vector<std::string> &directories);

/// Where the descriptions are looked for, in order: the directories of the
/// environment variable MOE_MACHINES (separated by ':'), ../machines and
/// ../share/moe/machines beside the executable, and the source tree that the
/// program was built from.
std::vector<std::string> machineDirectories();

} // namespace moe::cost
