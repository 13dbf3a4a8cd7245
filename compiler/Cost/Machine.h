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

/// Rates are peaks, per device; one direction where a link is meant. A rate
/// that work is assumed to reach is peak times efficiency.
struct Machine {
  std::string name;
  std::string description;

  int64_t memoryBytes = 0;
  /// Taken outside the plan: context, libraries, communicators' own buffers.
  int64_t reserveBytes = 0;

  /// Dense FLOP/s, a multiply-add counted as two.
  double bf16FlopsPerSecond = 0;
  double f32FlopsPerSecond = 0;
  double f64FlopsPerSecond = 0;
  /// Share of the peak, in (0, 1], indexed by the compute classes of OpClass.
  std::array<double, kComputeClassCount> efficiency{};

  double hbmBytesPerSecond = 0;
  double hbmEfficiency = 0;

  int64_t nvlinkDomain = 1; ///< devices that reach each other over NVLink
  double nvlinkBytesPerSecond = 0;
  double nvlinkEfficiency = 0;
  double networkBytesPerSecond = 0; ///< of one device's share of the NICs
  double networkEfficiency = 0;

  double hostToDeviceBytesPerSecond = 0;
  double deviceToHostBytesPerSecond = 0;
  double hostCombinedBytesPerSecond = 0; ///< sum while both directions run

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
