//===- Topology.h - how ranks are numbered and grouped ----------*- C++ -*-===//
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moe::comm {

/// World ranks that act together, ascending.
using Group = std::vector<int64_t>;

/// Where a rank stands.
struct Coordinates {
  int64_t pipeline = 0, expert = 0, data = 0;
  bool operator==(const Coordinates &) const = default;
};

/// The world of PP x EP x DP ranks; world rank = (pp * EP + ep) * DP + dp.
struct Topology {
  int64_t pipeline = 1, expert = 1, data = 1;

  int64_t size() const { return pipeline * expert * data; }
  /// Ranks that hold the same dense parameters, hence see different data.
  int64_t replicas() const { return expert * data; }
  int64_t rank(const Coordinates &at) const {
    return (at.pipeline * expert + at.expert) * data + at.data;
  }
  Coordinates coordinates(int64_t rank) const {
    return {rank / (expert * data), rank / data % expert, rank % data};
  }
  /// Index of the rank's share of the data: ep * DP + dp.
  int64_t replica(const Coordinates &at) const {
    return at.expert * data + at.data;
  }

  /// Ranks among which tokens travel to their experts: same pp and dp.
  Group expertGroup(const Coordinates &at) const;
  /// Ranks that share dense parameters: same pp.
  Group denseGroup(const Coordinates &at) const;
  /// Ranks that share an expert shard: same pp and ep.
  Group expertReplicas(const Coordinates &at) const;
  Group world() const;
  /// World rank of pipeline rank `pipelineRank` with the same ep and dp.
  int64_t pipelinePeer(const Coordinates &at, int64_t pipelineRank) const {
    return rank({pipelineRank, at.expert, at.data});
  }
  /// "rank 5 (pp 1, ep 0, dp 1)", for messages.
  std::string describe(int64_t rank) const;
};

} // namespace moe::comm
