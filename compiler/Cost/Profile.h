//===- Profile.h - measured times of ops ------------------------*- C++ -*-===//
//
// A user's measurements, from which a machine description is calibrated:
// docs/cost-model.md says how to take them and what is made of them.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Cost/Cost.h"

namespace moe::cost {

/// One measurement. The time is that of the op alone, from the moment it could
/// begin until it was done, with nothing else running.
struct ProfileEntry {
  enum class Kind : uint8_t { op, to_device, to_host };
  Kind kind = Kind::op;
  /// What was done. `imbalance` is 1: measure with balanced routing. Copies
  /// between host and device use `bytes` only.
  OpWork work = {};
  int64_t groupSize = 1; ///< of an exchange
  int64_t ns = 0;        ///< > 0
  bool operator==(const ProfileEntry &) const = default;
};

struct Profile {
  std::string source;  ///< for messages and sources of figures, e.g. a path
  std::string machine; ///< name of the description that it belongs to
  std::vector<ProfileEntry> entries; ///< at least one
  bool operator==(const Profile &) const = default;
};

/// The class of a kind of op of the plan ("grouped_linear" -> grouped_gemm).
std::optional<OpClass> classOfKind(std::string_view kind);

/// Reads a profile; `source` becomes Profile::source. Strict: a missing,
/// unknown, repeated or out-of-range field is an error that names it, e.g.
/// "entries[3].ns: must be positive and in range".
Result<Profile> parseProfile(std::string_view json, std::string source);
/// Reads the file `path`; errors begin with it.
Result<Profile> readProfile(const std::string &path);
/// The file that parseProfile reads back to an equal value.
std::string printProfile(const Profile &profile);

/// `machine` with those figures replaced that the profile determines, each with
/// the source "calibrated from SOURCE, N entries":
///
///   - elementwise entries that move much and compute little: a line through
///     (bytes, ns) gives the kernel latency and the efficiency of device
///     memory;
///   - gemm, grouped_gemm, attention, elementwise: the median share of the peak
///     for each doubling of the size, from entries that memory does not bound;
///     sizes beyond those keep the shape that the description had;
///   - exchange: a line through (bytes, ns) gives latency and efficiency of
///     NVLink from groups within a domain, of the network from larger ones;
///   - to_device, to_host: the rate of that direction.
///
/// Lines are robust (medians of slopes and of what remains); with fewer than
/// three sizes, or sizes less than a factor of four apart, latencies stay as
/// they are and the efficiency is the median of the entries'.
///
/// An error names the entry when a measurement is faster than a peak of the
/// description, when the entries of a class were measured in several types, or
/// when the profile belongs to another machine.
Result<Machine> calibrate(const Machine &machine, const Profile &profile);

} // namespace moe::cost
