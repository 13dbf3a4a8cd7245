#include "Ranks.h"

#include <gtest/gtest.h>

#include <random>

using namespace moe;
using namespace moe::comm;

namespace {

/// Splits [0, ranks) into groups at random; every rank is in one.
std::vector<Group> randomPartition(std::mt19937 &random, int64_t ranks) {
  std::vector<Group> groups(1 + random() % static_cast<uint32_t>(ranks));
  for (int64_t r = 0; r < ranks; ++r)
    groups[random() % groups.size()].push_back(r);
  return groups;
}

const Group &groupOf(const std::vector<Group> &groups, int64_t rank) {
  for (const Group &group : groups)
    for (int64_t member : group)
      if (member == rank)
        return group;
  static const Group kNone;
  return kNone;
}

template <typename T> void checkAllReduce(DType dtype, bool integers) {
  std::mt19937 random(7);
  for (int64_t ranks = 1; ranks <= 8; ++ranks)
    for (int round = 0; round < 6; ++round) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, round " << round);
      std::vector<Group> groups = randomPartition(random, ranks);
      size_t elements = random() % 40;
      std::vector<std::vector<T>> data(static_cast<size_t>(ranks));
      std::normal_distribution<double> normal;
      for (auto &array : data)
        for (size_t i = 0; i < elements; ++i)
          array.push_back(integers ? static_cast<T>(random() % 1000)
                                   : static_cast<T>(normal(random) * 1e3));
      std::vector<std::vector<T>> expected(data.size());
      for (int64_t r = 0; r < ranks; ++r) {
        const Group &group = groupOf(groups, r);
        std::vector<T> sum = data[static_cast<size_t>(group[0])];
        for (size_t g = 1; g < group.size(); ++g)
          for (size_t i = 0; i < elements; ++i)
            sum[i] += data[static_cast<size_t>(group[g])][i];
        expected[static_cast<size_t>(r)] = sum;
      }
      LoopbackWorld world(ranks);
      auto results = onEveryRank(world, ranks, [&](Transport &self) {
        auto &mine = data[static_cast<size_t>(self.rank())];
        return self.allReduceSum(groupOf(groups, self.rank()), mine.data(),
                                 static_cast<int64_t>(mine.size()), dtype,
                                 "gradient");
      });
      for (const Status &result : results)
        EXPECT_EQ(messageOf(result), "");
      EXPECT_EQ(data,
                expected); // bit for bit: the order is part of the contract
    }
}

TEST(AllReduce, SumsIntegersExactly) {
  checkAllReduce<float>(DType::f32, true);
}
TEST(AllReduce, AddsF32InRankOrder) {
  checkAllReduce<float>(DType::f32, false);
}
TEST(AllReduce, AddsF64InRankOrder) {
  checkAllReduce<double>(DType::f64, false);
}

TEST(AllReduce, RefusesOtherTypes) {
  LoopbackWorld world(1);
  int32_t value = 1;
  EXPECT_EQ(messageOf(world.transport(0).allReduceSum({0}, &value, 1,
                                                      DType::i32, "x")),
            "all_reduce of 'x': element type i32, must be f32 or f64");
}

TEST(AllGather, ConcatenatesAndSumsInRankOrder) {
  constexpr int64_t kRanks = 5;
  LoopbackWorld world(kRanks);
  auto results = onEveryRank(world, kRanks, [&](Transport &self) -> Status {
    double r = static_cast<double>(self.rank());
    std::vector<double> mine = {r, r * r};
    auto all = self.allGather(firstRanks(kRanks), mine, "losses");
    if (!all)
      return all.error();
    if (*all != std::vector<double>{0, 0, 1, 1, 2, 4, 3, 9, 4, 16})
      return Error{"wrong values"};
    auto sum = self.sum(firstRanks(kRanks), r + 0.5, "norm");
    if (!sum)
      return sum.error();
    return *sum == 12.5 ? Status() : Error{"wrong sum"};
  });
  for (const Status &result : results)
    EXPECT_EQ(messageOf(result), "");
}

/// Random row counts for every (source, destination, segment), rows that name
/// their origin, destination offsets that interleave the sources: what dispatch
/// does. Compared with a model that moves row by row.
TEST(Exchange, RandomCountsLandWhereTheReceiverSays) {
  std::mt19937 random(11);
  for (int64_t ranks = 1; ranks <= 8; ++ranks)
    for (int round = 0; round < 4; ++round) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, round " << round);
      size_t n = static_cast<size_t>(ranks), segments = 1 + random() % 3;
      // counts[source][destination][segment]
      std::vector counts(n, std::vector(n, std::vector<int64_t>(segments, 0)));
      for (auto &source : counts)
        for (auto &destination : source)
          for (int64_t &count : destination)
            count = random() % 4 == 0 ? 0 : random() % 6;
      std::vector<std::vector<int32_t>> sources(n), targets(n), expected(n);
      int32_t next = 0;
      for (size_t s = 0; s < n; ++s)
        for (size_t d = 0; d < n; ++d)
          for (int64_t count : counts[s][d])
            for (int64_t i = 0; i < count; ++i)
              sources[s].push_back(next++);
      for (size_t d = 0; d < n; ++d) // grouped by segment, then by source
        for (size_t k = 0; k < segments; ++k)
          for (size_t s = 0; s < n; ++s) {
            size_t at = 0;
            for (size_t i = 0; i < n; ++i)
              for (size_t j = 0; j < segments; ++j)
                if (i < d || (i == d && j < k))
                  at += static_cast<size_t>(counts[s][i][j]);
            for (int64_t i = 0; i < counts[s][d][k]; ++i)
              expected[d].push_back(sources[s][at + static_cast<size_t>(i)]);
          }
      for (size_t d = 0; d < n; ++d)
        targets[d].resize(expected[d].size());

      LoopbackWorld world(ranks);
      auto results = onEveryRank(world, ranks, [&](Transport &self) {
        size_t me = static_cast<size_t>(self.rank());
        std::vector<SendSegment> sends;
        const int32_t *from = sources[me].data();
        for (size_t d = 0; d < n; ++d)
          for (int64_t count : counts[me][d]) {
            sends.push_back({static_cast<int64_t>(d),
                             reinterpret_cast<const std::byte *>(from),
                             count * 4});
            from += count;
          }
        std::vector<ReceiveSegment> receives;
        int32_t *to = targets[me].data();
        for (size_t k = 0; k < segments; ++k)
          for (size_t s = 0; s < n; ++s) {
            receives.push_back({static_cast<int64_t>(s),
                                reinterpret_cast<std::byte *>(to),
                                counts[s][me][k] * 4});
            to += counts[s][me][k];
          }
        return self.exchange(firstRanks(ranks), sends, receives, "dispatch");
      });
      for (const Status &result : results)
        EXPECT_EQ(messageOf(result), "");
      EXPECT_EQ(targets, expected);
    }
}

TEST(Exchange, SizesThatDisagreeAreAnError) {
  for (int64_t expectedBytes : {0, 4, 12}) {
    LoopbackWorld world(2);
    auto results = onEveryRank(world, 2, [&](Transport &self) {
      std::array<std::byte, 16> data{};
      std::vector<SendSegment> sends;
      std::vector<ReceiveSegment> receives;
      if (self.rank() == 0)
        sends.push_back({1, data.data(), 8});
      else if (expectedBytes > 0)
        receives.push_back({0, data.data(), expectedBytes});
      return self.exchange({0, 1}, sends, receives, "dispatch");
    });
    std::string message =
        expectedBytes == 0
            ? "exchange of 'dispatch': rank 0 sends 8 bytes that nobody expects"
            : "exchange of 'dispatch': expected " +
                  std::to_string(expectedBytes) +
                  " bytes from rank 0, it sends 8";
    EXPECT_EQ(messageOf(results[1]), message);
    EXPECT_EQ(messageOf(results[0]), "rank 1 ended: " + message);
  }
}

TEST(Barrier, NobodyLeavesBeforeTheLastHasCome) {
  constexpr int64_t kRanks = 4;
  LoopbackWorld world(kRanks);
  std::vector<int> counters(kRanks, 0);
  auto results = onEveryRank(world, kRanks, [&](Transport &self) -> Status {
    for (int round = 1; round <= 50; ++round) {
      counters[static_cast<size_t>(self.rank())] = round;
      MOE_RETURN_IF_ERROR(self.barrier(firstRanks(kRanks), "in"));
      for (int counter : counters)
        if (counter != round)
          return Error{"a rank was late"};
      MOE_RETURN_IF_ERROR(self.barrier(firstRanks(kRanks), "out"));
    }
    return {};
  });
  for (const Status &result : results)
    EXPECT_EQ(messageOf(result), "");
}

} // namespace
