//===- Corrections.h - what ranks may choose with, after drafts -*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Choose.h"

#include <cstdint>
#include <vector>

namespace moe::driver {

/// More than any device has, with room for sums.
inline constexpr int64_t kUnlimited = int64_t{1} << 60;

/// What is left of a rank's memory where its account was wrong: other choices
/// are wrong by another amount.
constexpr int64_t slackOf(int64_t bytes) { return bytes / 1024; }

/// Where ranks exceed a host of `host` bytes, they get that much less of it
/// than the account thought.
void correctHost(const Chosen &chosen, const Draft &draft, int64_t host,
                 std::vector<int64_t> &bytes);

/// Tells each rank by how much its account was wrong: in bytes, it has less to
/// choose with, or more; in time, it may have less on the host.
class Corrections {
public:
  /// For ranks that have to fit `deviceBytes`, reserve left out, and
  /// `hostBytes`. They begin as if the memory of devices were free.
  Corrections(const Chooser &chooser, int64_t deviceBytes, int64_t hostBytes);

  const Room &room() const { return current; }
  bool isFree() const { return current.device.front() == kUnlimited; }
  /// Ranks have no more than they have to fit.
  void limit();

  /// By the draft of what was chosen in this room. Says whether, even if all
  /// ranks fit, one of the slowest has reason to choose again.
  bool correct(const Chosen &chosen, const Draft &draft);

private:
  /// What is known of a rank's room on the device.
  struct Limits {
    int64_t fits = -1;          ///< the most that its choices fitted with
    int64_t fails = kUnlimited; ///< the least that they did not
    int failures = 0;
  };

  bool correctBytes(const Chosen &chosen, const Draft &draft);
  void lower(size_t rank, const Chosen::Rank &chosen, int64_t needed);
  bool raise(size_t rank, const Chosen::Rank &chosen, int64_t needed);
  bool correctCopies(const Chosen &chosen, const Draft &draft);

  const Chooser &chooser;
  int64_t whole, host;
  Room current;
  std::vector<Limits> limits;  ///< by rank
  std::vector<int64_t> misses; ///< of each rank, drafts that it did not fit
  std::vector<int64_t> counts; ///< the cut that they are about
};

} // namespace moe::driver
