//===- Routing.h - how many ranks a token reaches ---------------*- C++ -*-===//
//
// A token is sent to the ranks that own its experts. How many those are follows
// from the rule by which experts are chosen, if the choice is taken to be
// uniform: each set of groups that the rule admits is equally likely, and so is
// each set of experts within them. Experts lie on ranks in order.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Cost/Machine.h"

#include <cstdint>

namespace moe::cost {

/// The rule by which a token's experts are chosen: `topK` of the experts of
/// `topGroups` out of `groups` equal groups of neighbouring experts (DeepSeek's
/// group-limited routing; one group: any experts).
struct Routing {
  int64_t topK = 1;
  int64_t experts = 1;
  int64_t groups = 1;
  int64_t topGroups = 1;
  bool operator==(const Routing &) const = default;
};

/// Empty, or what is wrong with the rule: numbers below 1, groups that do not
/// divide the experts, fewer experts to choose from than are chosen.
std::string problem(const Routing &routing);

/// The probability that at least one of a token's experts lies in [begin, end).
/// Exact, by counting: with g experts a group, of which the block has all in f
/// groups and a few in at most two more, the chosen groups leave out of the
/// block n - o of n = topGroups * g experts with hypergeometric probability,
/// and then C(n - o, topK) / C(n, topK) choices miss it.
double hitProbability(const Routing &routing, int64_t begin, int64_t end);

/// Expected number of distinct ones among `parts` equal blocks of neighbouring
/// experts that a token reaches; blocks are ranks or NVLink domains. Without
/// groups this is close to parts * (1 - (1 - 1 / parts)^topK), the value for
/// independent draws.
double expectedParts(const Routing &routing, int64_t parts);

/// What each device of an expert-parallel group has to move in one exchange.
struct Fanout {
  int64_t tokens = 0; ///< of one device; 0: nothing is known
  int64_t rowBytes = 0;
  Routing routing = {};
  bool operator==(const Fanout &) const = default;
};

/// Bytes that cross the links of the busiest device, in one direction; its own
/// rows stay.
struct Traffic {
  double nvlinkBytes = 0;
  double networkBytes = 0;
};

/// The traffic of one exchange among `groupSize` neighbouring devices. With n
/// of them in a domain and T tokens a device, p_r and p_d the probabilities
/// that a token reaches a given rank and domain:
///
///   copies   NVLink                         network
///   choice   T topK / groupSize * (n - 1)   T topK / groupSize (groupSize - n)
///   rank     T p_r (n - 1)                  T p_r (groupSize - n)
///   node     T p_r (groupSize - groupSize / n)   T p_d (groupSize / n - 1)
///
/// `node` sends over the network to the device with the same place in the other
/// domain, which passes rows on (DeepEP, "NVLink and RDMA forwarding"); what
/// arrives at its destination that way needs no NVLink. `imbalance` is the
/// number of rows that the busiest device receives over the balanced number:
/// it multiplies the probabilities, up to 1 where rows are sent once a rank.
Traffic exchangeTraffic(const Machine &machine, const Fanout &fanout,
                        double imbalance, int64_t groupSize);

} // namespace moe::cost
