#include "compiler/Optimize/PackAround.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

using namespace moe;
using namespace moe::optimize;

namespace {

template <typename First, typename Second>
bool meet(const First &a, const Second &b) {
  return a.begin < b.end && b.begin < a.end;
}

std::vector<TimedBuffer> randomBuffers(std::mt19937 &random, size_t count,
                                       int64_t longest) {
  std::vector<TimedBuffer> buffers;
  for (size_t i = 0; i < count; ++i) {
    auto begin = static_cast<int64_t>(random() % 100);
    buffers.push_back({static_cast<int64_t>(random() % 6), begin,
                       begin + 1 + static_cast<int64_t>(random()) % longest,
                       static_cast<int64_t>(random() % 4)});
  }
  return buffers;
}

/// Boxes that share no bytes, by rising offset.
std::vector<TimedBox> randomBoxes(std::mt19937 &random, size_t count) {
  std::vector<TimedBox> boxes;
  int64_t low = 0;
  for (size_t i = 0; i < count; ++i) {
    low += static_cast<int64_t>(random() % 4);
    const auto begin = static_cast<int64_t>(random() % 80);
    const int64_t high = low + 1 + static_cast<int64_t>(random() % 5);
    boxes.push_back(
        {begin, begin + 1 + static_cast<int64_t>(random() % 60), low, high});
    low = high;
  }
  return boxes;
}

/// Each buffer, in this order, at the lowest place where it meets nothing.
std::vector<int64_t> lowestOffsets(const std::vector<TimedBuffer> &buffers,
                                   const std::vector<uint32_t> &order,
                                   const std::vector<TimedBox> &boxes) {
  std::vector<int64_t> offsets(buffers.size(), 0);
  for (size_t n = 0; n < order.size(); ++n) {
    const TimedBuffer &buffer = buffers[order[n]];
    auto isFree = [&](int64_t at) {
      auto clashes = [&](const auto &other, int64_t low, int64_t high) {
        return meet(buffer, other) && at < high && low < at + buffer.size;
      };
      return std::none_of(boxes.begin(), boxes.end(),
                          [&](const TimedBox &box) {
                            return clashes(box, box.low, box.high);
                          }) &&
             std::none_of(
                 order.begin(), order.begin() + static_cast<ptrdiff_t>(n),
                 [&](uint32_t other) {
                   return clashes(buffers[other], offsets[other],
                                  offsets[other] + buffers[other].size);
                 });
    };
    while (!isFree(offsets[order[n]]))
      ++offsets[order[n]];
  }
  return offsets;
}

int64_t reachOf(const std::vector<TimedBuffer> &buffers,
                const std::vector<uint32_t> &members,
                const std::vector<int64_t> &offsets) {
  int64_t reach = 0;
  for (uint32_t i : members)
    reach = std::max(reach, offsets[i] + buffers[i].size + buffers[i].above);
  return reach;
}

/// The members of a cluster in an order.
std::vector<uint32_t> membersBy(const TimedCluster &cluster,
                                const ClusterOrder &order) {
  std::vector<uint32_t> members;
  for (uint32_t place : order.places)
    members.push_back(cluster.members[place]);
  return members;
}

/// As low as they come to lie in their first order.
ClusterOrder once(const TimedCluster &cluster) {
  ClusterOrder order(cluster.members.size());
  order.tries = 0;
  return order;
}

TEST(PackAround, FillsWhatTheOthersLeave) {
  // 10 bytes high over [0, 10), with a gap of 3 at 4 until 6.
  const std::vector<TimedBox> boxes = {
      {0, 10, 0, 4}, {6, 10, 4, 7}, {0, 8, 7, 10}};
  const std::vector<TimedBuffer> buffers = {{3, 0, 6},  // just fits
                                            {3, 0, 7},  // does not: above
                                            {2, 8, 10}, // where one has gone
                                            {1, 8, 9}}; // beside that one
  std::vector<int64_t> offsets(4);
  size_t packed = 0;
  for (const TimedCluster &cluster : clustersOf(buffers)) {
    ClusterOrder order = once(cluster);
    packAround(buffers, cluster, order, boxes, 0, kNoLimit, offsets, packed);
  }
  EXPECT_EQ(offsets, (std::vector<int64_t>{4, 10, 7, 9}));
  EXPECT_EQ(packed, 4u);
}

TEST(PackAround, ClustersAreChainsOfCommonLives) {
  std::mt19937 random(12);
  for (int round = 0; round < 200; ++round) {
    const std::vector<TimedBuffer> buffers =
        randomBuffers(random, random() % 20, 1 + round % 12);
    // By repeated union.
    std::vector<size_t> chainOf(buffers.size());
    for (size_t i = 0; i < buffers.size(); ++i)
      chainOf[i] = i;
    for (bool isChanged = true; isChanged;) {
      isChanged = false;
      for (size_t i = 0; i < buffers.size(); ++i)
        for (size_t j = 0; j < buffers.size(); ++j)
          if (buffers[i].size > 0 && buffers[j].size > 0 &&
              meet(buffers[i], buffers[j]) && chainOf[i] != chainOf[j]) {
            chainOf[i] = chainOf[j] = std::min(chainOf[i], chainOf[j]);
            isChanged = true;
          }
    }
    std::vector<std::vector<uint32_t>> chains(buffers.size());
    for (uint32_t i = 0; i < buffers.size(); ++i)
      if (buffers[i].size > 0)
        chains[chainOf[i]].push_back(i);
    std::erase_if(chains, [](const auto &chain) { return chain.empty(); });
    std::vector<std::vector<uint32_t>> members;
    int64_t before = 0;
    for (const TimedCluster &cluster : clustersOf(buffers)) {
      EXPECT_LE(before, cluster.begin);
      before = cluster.end;
      EXPECT_TRUE(
          std::is_sorted(cluster.members.begin(), cluster.members.end(),
                         [&](uint32_t a, uint32_t b) {
                           return std::tuple(-buffers[a].size, buffers[a].begin,
                                             buffers[a].end) <
                                  std::tuple(-buffers[b].size, buffers[b].begin,
                                             buffers[b].end);
                         }));
      members.push_back(cluster.members);
      std::sort(members.back().begin(), members.back().end());
      int64_t begin = kNoLimit, end = 0;
      for (uint32_t i : cluster.members) {
        begin = std::min(begin, buffers[i].begin);
        end = std::max(end, buffers[i].end);
      }
      EXPECT_EQ(cluster.begin, begin);
      EXPECT_EQ(cluster.end, end);
    }
    std::sort(members.begin(), members.end());
    std::sort(chains.begin(), chains.end());
    EXPECT_EQ(members, chains) << "round " << round;
  }
}

// Beside the definition, written down byte by byte.
TEST(PackAround, IsTheLowestPlaceOfEach) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const std::vector<TimedBox> boxes = randomBoxes(random, random() % 12);
    const std::vector<TimedBuffer> buffers =
        randomBuffers(random, random() % 20, 1 + round % 12);
    std::vector<int64_t> offsets(buffers.size(), 0);
    size_t packed = 0;
    for (const TimedCluster &cluster : clustersOf(buffers)) {
      ClusterOrder order = once(cluster);
      const int64_t reach = packAround(buffers, cluster, order, boxes, 0,
                                       kNoLimit, offsets, packed);
      const std::vector<int64_t> lowest =
          lowestOffsets(buffers, cluster.members, boxes);
      for (uint32_t i : cluster.members)
        EXPECT_EQ(offsets[i], lowest[i]) << "round " << round;
      EXPECT_EQ(reach, reachOf(buffers, cluster.members, offsets));
    }
  }
}

// Whatever the moment at which they begin.
TEST(PackAround, EqualClustersHaveOneShape) {
  std::mt19937 random(14);
  int equal = 0;
  for (int round = 0; round < 100; ++round) {
    // Few sizes and lives, so that some are equal by chance.
    std::vector<TimedBuffer> buffers;
    for (int64_t at = 0; at < 40; ++at)
      for (size_t i = 0, count = random() % 3; i < count; ++i)
        buffers.push_back({1 + static_cast<int64_t>(random() % 2), 4 * at,
                           4 * at + 1 + static_cast<int64_t>(random() % 5),
                           static_cast<int64_t>(random() % 9)});
    std::shuffle(buffers.begin(), buffers.end(), random);
    using Lives = std::vector<std::tuple<int64_t, int64_t, int64_t>>;
    std::map<size_t, Lives> livesOf;
    std::set<Lives> all;
    for (const TimedCluster &cluster : clustersOf(buffers)) {
      Lives lives;
      for (uint32_t i : cluster.members)
        lives.push_back({buffers[i].size, buffers[i].begin - cluster.begin,
                         buffers[i].end - cluster.begin});
      equal += !all.insert(lives).second;
      EXPECT_EQ(livesOf.try_emplace(cluster.shape, lives).first->second, lives);
    }
    EXPECT_EQ(livesOf.size(), all.size());
    EXPECT_EQ(livesOf.rbegin()->first + 1, all.size());
  }
  EXPECT_GT(equal, 100);
}

// Beside all orders: where one of them keeps the limit, so does it, mostly.
TEST(PackAround, TriesOtherOrdersForALimit) {
  std::mt19937 random(13);
  int missedAtFirst = 0, missed = 0, tight = 0;
  for (int round = 0; round < 300; ++round) {
    const std::vector<TimedBox> boxes = randomBoxes(random, random() % 6);
    std::vector<TimedBuffer> buffers = randomBuffers(random, 6, 60);
    for (const TimedCluster &cluster : clustersOf(buffers)) {
      std::vector<uint32_t> all = cluster.members;
      int64_t best = kNoLimit;
      std::sort(all.begin(), all.end());
      do
        best = std::min(
            best, reachOf(buffers, all, lowestOffsets(buffers, all, boxes)));
      while (std::next_permutation(all.begin(), all.end()));
      missedAtFirst +=
          reachOf(buffers, cluster.members,
                  lowestOffsets(buffers, cluster.members, boxes)) > best;
      const std::vector<int64_t> untouched(buffers.size(), -1);
      std::vector<int64_t> offsets = untouched;
      ClusterOrder order(cluster.members.size());
      size_t packed = 0;
      // Nothing is lower than the best of all orders.
      EXPECT_EQ(packAround(buffers, cluster, order, boxes, 0, best - 1, offsets,
                           packed),
                kNoLimit);
      EXPECT_EQ(offsets, untouched);
      EXPECT_EQ(order.tries, ClusterOrder::kMostTries / 2);
      order = ClusterOrder(cluster.members.size());
      packed = 0;
      const int64_t reach = packAround(buffers, cluster, order, boxes, best,
                                       best, offsets, packed);
      ++tight;
      EXPECT_LE(packed,
                cluster.members.size() * (ClusterOrder::kMostTries + 1));
      if (reach > best) {
        EXPECT_EQ(reach, kNoLimit);
        ++missed;
        continue;
      }
      EXPECT_EQ(reach, best);
      EXPECT_EQ(order.tries, ClusterOrder::kMostTries);
      const std::vector<int64_t> lowest =
          lowestOffsets(buffers, membersBy(cluster, order), boxes);
      for (uint32_t i : cluster.members)
        EXPECT_EQ(offsets[i], lowest[i]);
    }
  }
  EXPECT_GE(missedAtFirst, 30);
  EXPECT_LE(missed * 8, missedAtFirst) << "of " << tight;
}

// As low as it can get, and where nothing else is said, no better than asked.
TEST(PackAround, GoesOnUntilTheGoal) {
  std::mt19937 random(15);
  int lower = 0;
  for (int round = 0; round < 300; ++round) {
    const std::vector<TimedBox> boxes = randomBoxes(random, random() % 6);
    const std::vector<TimedBuffer> buffers = randomBuffers(random, 12, 60);
    for (const TimedCluster &cluster : clustersOf(buffers)) {
      std::vector<int64_t> offsets(buffers.size(), 0);
      ClusterOrder first = once(cluster), order(cluster.members.size());
      size_t packed = 0, packedAgain = 0;
      const int64_t reach = packAround(buffers, cluster, first, boxes, 0,
                                       kNoLimit, offsets, packed);
      const int64_t best = packAround(buffers, cluster, order, boxes, 0,
                                      kNoLimit, offsets, packed);
      EXPECT_LE(best, reach);
      EXPECT_EQ(best, reachOf(buffers, cluster.members, offsets));
      lower += best < reach;
      // The order that did it does it again, at once.
      EXPECT_EQ(packAround(buffers, cluster, order, boxes, best, kNoLimit,
                           offsets, packedAgain),
                best);
      EXPECT_EQ(packedAgain, cluster.members.size());
    }
  }
  EXPECT_GT(lower, 100);
}

} // namespace
