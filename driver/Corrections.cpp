//===- Corrections.cpp - what ranks may choose with, after drafts ---------===//

#include "driver/Corrections.h"

#include <algorithm>

namespace moe::driver {

/// Of a rank, before it does without copies.
static constexpr int kMostFailures = 3;
/// Of what a rank takes, what its choices have to cost for another draft.
static constexpr int64_t kWorthADraft = 50;
/// What a rank takes longer than its account says counts from this part on.
static constexpr int64_t kCountsFrom = 128;

/// What the slowest rank takes for a microbatch, by the account.
static int64_t slowestNs(const Chosen &chosen) {
  int64_t slowest = 0;
  for (const Chosen::Rank &rank : chosen.ranks)
    slowest = std::max(slowest, rank.ns + rank.extraNs);
  return slowest;
}

void correctHost(const Chosen &chosen, const Draft &draft, int64_t host,
                 std::vector<int64_t> &bytes) {
  for (size_t r = 0; r < bytes.size(); ++r) {
    int64_t needed = draft.hostArenaBytes[r];
    if (needed > host)
      bytes[r] = std::max<int64_t>(
          0, std::min(bytes[r], host - (needed - chosen.ranks[r].hostBytes)) -
                 slackOf(host));
  }
}

Corrections::Corrections(const Chooser &chooser, int64_t deviceBytes,
                         int64_t hostBytes)
    : chooser(chooser), whole(deviceBytes), host(hostBytes) {
  const size_t ranks = chooser.rankCount();
  current.device.assign(ranks, kUnlimited);
  current.host.assign(ranks, host);
  limits.resize(ranks);
  misses.assign(ranks, 0);
}

void Corrections::limit() {
  std::fill(current.device.begin(), current.device.end(), whole);
}

bool Corrections::correct(const Chosen &chosen, const Draft &draft) {
  if (counts != chosen.counts)
    limits.assign(limits.size(), {});
  counts = chosen.counts;
  correctHost(chosen, draft, host, current.host);
  const bool isRaised = correctBytes(chosen, draft);
  return correctCopies(chosen, draft) || isRaised;
}

bool Corrections::correctBytes(const Chosen &chosen, const Draft &draft) {
  const int64_t slowest = slowestNs(chosen);
  bool isRaised = false;
  for (size_t r = 0; r < limits.size(); ++r) {
    const Chosen::Rank &rank = chosen.ranks[r];
    const int64_t needed = draft.bytesWithoutWaits[r];
    if (needed > whole)
      lower(r, rank, needed);
    else if (current.device[r] == kUnlimited)
      current.device[r] =
          std::max<int64_t>(0, whole - (needed - rank.peakBytes));
    else if (raise(r, rank, needed))
      isRaised |= rank.ns + rank.extraNs >= slowest - slowest / kCountsFrom;
  }
  return isRaised;
}

/// A rank that does not fit gets as much less as it is beyond, but no less than
/// it is known to fit with. Where its account stays wrong, it does without
/// copies.
void Corrections::lower(size_t rank, const Chosen::Rank &chosen,
                        int64_t needed) {
  int64_t &capacity = current.device[rank];
  Limits &limit = limits[rank];
  limit.fails = std::min(limit.fails, capacity);
  if (++limit.failures > kMostFailures && limit.fits < 0 &&
      chosen.movedBytes > 0) {
    current.host[rank] = 0;
    capacity = whole;
    limit = {};
    return;
  }
  // Other choices may be wrong by more, again and again.
  const int64_t beyond = ++misses[rank] * (needed - whole);
  int64_t less =
      std::min(whole - (needed - chosen.peakBytes), capacity - beyond) -
      slackOf(whole);
  capacity = std::max({int64_t{0}, limit.fits, less});
}

/// A rank that fits and pays for memory gets what its draft leaves of it, but
/// less than it is known not to fit with. Says whether it does.
bool Corrections::raise(size_t rank, const Chosen::Rank &chosen,
                        int64_t needed) {
  int64_t &capacity = current.device[rank];
  Limits &limit = limits[rank];
  limit.fits = std::max(limit.fits, capacity);
  const int64_t left = whole - needed;
  if (left <= slackOf(whole) || chosen.extraNs < chosen.ns / kWorthADraft)
    return false;
  // Where it has chosen less than it might, more room alone changes nothing.
  int64_t more =
      std::min(capacity + left, whole - (needed - chosen.peakBytes)) -
      slackOf(whole) / 2;
  if (more >= limit.fails)
    more = limit.fits + (limit.fails - limit.fits) / 2;
  if (more < capacity + slackOf(whole) / 2)
    return false;
  capacity = more;
  return true;
}

/// Where copies of a rank hold each other up, such that it becomes the slowest,
/// it may have as much less on the host as the link would copy in the time that
/// is lost. Says whether that was so.
bool Corrections::correctCopies(const Chosen &chosen, const Draft &draft) {
  const int64_t slowest = slowestNs(chosen);
  const std::vector<int64_t> takes = chooser.rankNs(draft.stages);
  bool isChanged = false;
  for (size_t r = 0; r < limits.size(); ++r) {
    const Chosen::Rank &rank = chosen.ranks[r];
    const int64_t excess = takes[r] - slowest;
    // With too little memory it waits for more than copies.
    if (draft.bytesWithoutWaits[r] > whole || rank.movedBytes == 0 ||
        excess < slowest / kCountsFrom)
      continue;
    const double share = static_cast<double>(excess) *
                         chooser.hostBytesPerNs() /
                         static_cast<double>(rank.movedBytes);
    current.host[r] =
        std::min(current.host[r],
                 static_cast<int64_t>(static_cast<double>(rank.hostBytes) *
                                      std::max(0.0, 1 - share)));
    limits[r] = {};
    isChanged = true;
  }
  return isChanged;
}

} // namespace moe::driver
