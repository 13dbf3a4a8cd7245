#include "runtime/Comm/Topology.h"

namespace moe::comm {

Group Topology::expertGroup(const Coordinates &at) const {
  Group group;
  for (int64_t ep = 0; ep < expert; ++ep)
    group.push_back(rank({at.pipeline, ep, at.data}));
  return group;
}

Group Topology::denseGroup(const Coordinates &at) const {
  Group group;
  for (int64_t ep = 0; ep < expert; ++ep)
    for (int64_t dp = 0; dp < data; ++dp)
      group.push_back(rank({at.pipeline, ep, dp}));
  return group;
}

Group Topology::expertReplicas(const Coordinates &at) const {
  Group group;
  for (int64_t dp = 0; dp < data; ++dp)
    group.push_back(rank({at.pipeline, at.expert, dp}));
  return group;
}

Group Topology::world() const {
  Group group;
  for (int64_t r = 0; r < size(); ++r)
    group.push_back(r);
  return group;
}

std::string Topology::describe(int64_t rank) const {
  Coordinates at = coordinates(rank);
  return "rank " + std::to_string(rank) + " (pp " +
         std::to_string(at.pipeline) + ", ep " + std::to_string(at.expert) +
         ", dp " + std::to_string(at.data) + ")";
}

} // namespace moe::comm
