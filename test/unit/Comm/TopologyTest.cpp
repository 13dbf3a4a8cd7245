#include "runtime/Comm/Topology.h"

#include <gtest/gtest.h>

using namespace moe::comm;

TEST(Topology, NumbersRanksPipelineFirst) {
  Topology world{2, 3, 2};
  EXPECT_EQ(world.size(), 12);
  for (int64_t r = 0; r < world.size(); ++r)
    EXPECT_EQ(world.rank(world.coordinates(r)), r);
  EXPECT_EQ(world.coordinates(9), (Coordinates{1, 1, 1}));
  EXPECT_EQ(world.describe(9), "rank 9 (pp 1, ep 1, dp 1)");
}

TEST(Topology, GroupsOfOneRank) {
  Topology world{2, 3, 2};
  Coordinates at{1, 1, 1};
  EXPECT_EQ(world.expertGroup(at), (Group{7, 9, 11}));
  EXPECT_EQ(world.denseGroup(at), (Group{6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(world.expertReplicas(at), (Group{8, 9}));
  EXPECT_EQ(world.pipelinePeer(at, 0), 3);
  EXPECT_EQ(world.replica(at), 3);
}
