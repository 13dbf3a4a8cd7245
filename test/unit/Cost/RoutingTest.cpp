#include "compiler/Cost/Cost.h"
#include "test/unit/Cost/SimpleMachine.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

using namespace moe;
using namespace moe::cost;
using testing::DoubleNear;
using testing::HasSubstr;

namespace {

/// The experts of one token, drawn as the rule says.
std::vector<int64_t> draw(const Routing &routing, std::mt19937 &random) {
  std::vector<int64_t> groups(static_cast<size_t>(routing.groups));
  std::iota(groups.begin(), groups.end(), 0);
  std::shuffle(groups.begin(), groups.end(), random);
  std::vector<int64_t> eligible;
  int64_t size = routing.experts / routing.groups;
  for (int64_t i = 0; i < routing.topGroups; ++i)
    for (int64_t j = 0; j < size; ++j)
      eligible.push_back(groups[static_cast<size_t>(i)] * size + j);
  std::shuffle(eligible.begin(), eligible.end(), random);
  eligible.resize(static_cast<size_t>(routing.topK));
  return eligible;
}

Routing randomRouting(std::mt19937 &random) {
  Routing routing;
  int64_t size = 1 + static_cast<int64_t>(random() % 8);
  routing.groups = 1 + static_cast<int64_t>(random() % 8);
  routing.topGroups = 1 + static_cast<int64_t>(random()) % routing.groups;
  routing.experts = size * routing.groups;
  routing.topK = 1 + static_cast<int64_t>(random()) %
                         std::min<int64_t>(size * routing.topGroups, 9);
  return routing;
}

/// C(n, k) by Pascal's rule.
double choose(int64_t n, int64_t k) {
  if (k < 0 || k > n)
    return 0;
  double value = 1;
  for (int64_t i = 0; i < k; ++i)
    value = value * static_cast<double>(n - i) / static_cast<double>(i + 1);
  return value;
}

TEST(Routing, ProblemsAreNamed) {
  EXPECT_EQ(problem({8, 256, 8, 4}), "");
  EXPECT_THAT(problem({0, 256, 8, 4}), HasSubstr("must be positive"));
  EXPECT_THAT(problem({8, 256, 7, 4}), HasSubstr("groups = 7 must divide"));
  EXPECT_THAT(problem({8, 256, 8, 9}), HasSubstr("top_groups = 9 exceeds"));
  EXPECT_THAT(problem({9, 16, 8, 4}),
              HasSubstr("top_k = 9 exceeds the 8 experts"));
  EXPECT_THAT(problem({1, int64_t{1} << 40, 1, 1}), HasSubstr("at most"));
}

TEST(Routing, KnownCases) {
  // Every expert on its own rank: as many ranks as choices.
  EXPECT_NEAR(expectedParts({8, 64, 1, 1}, 64), 8, 1e-12);
  EXPECT_NEAR(expectedParts({8, 64, 8, 4}, 64), 8, 1e-12);
  EXPECT_NEAR(expectedParts({8, 64, 1, 1}, 1), 1, 1e-12);
  // One group of four, whole on one of four ranks.
  EXPECT_NEAR(expectedParts({2, 16, 4, 1}, 4), 1, 1e-12);
  // Two of four groups chosen, both choices in one group or one in each: of the
  // C(8, 2) = 28 pairs, 16 meet two ranks.
  EXPECT_NEAR(expectedParts({2, 16, 4, 2}, 4), 1 + 16.0 / 28, 1e-12);
  EXPECT_NEAR(hitProbability({2, 16, 4, 2}, 0, 16), 1, 1e-12);
  EXPECT_EQ(hitProbability({2, 16, 4, 2}, 5, 5), 0);
  EXPECT_NEAR(hitProbability({1, 10, 1, 1}, 3, 6), 0.3, 1e-12);
}

TEST(Routing, DeepSeekV3ReachesAtMostFourOfEightNodes) {
  Routing routing{8, 256, 8, 4};
  double nodes = expectedParts(routing, 8);
  // A group a node; of four chosen groups one is missed with probability
  // C(96, 8) / C(128, 8).
  EXPECT_NEAR(nodes, 4 * (1 - choose(96, 8) / choose(128, 8)), 1e-9);
  EXPECT_LE(nodes, 4);
  EXPECT_GT(nodes, 3.5);
  // Without the limit it would be more.
  EXPECT_GT(expectedParts({8, 256, 1, 1}, 8), 5.2);
}

TEST(Routing, IndependentDrawsAreClose) {
  // parts * (1 - (1 - 1 / parts)^k) is the value for draws with replacement.
  for (int64_t parts : {2, 8, 16, 64}) {
    double independent = static_cast<double>(parts) *
                         (1 - std::pow(1 - 1 / static_cast<double>(parts), 8));
    double exact = expectedParts({8, 1024, 1, 1}, parts);
    EXPECT_GE(exact, independent);
    EXPECT_NEAR(exact / independent, 1, 0.02);
  }
}

/// Counts over drawn tokens against the formula, blocks that do not fit the
/// groups included.
TEST(Routing, AgreesWithDrawnTokens) {
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    Routing routing = randomRouting(random);
    ASSERT_EQ(problem(routing), "");
    int64_t parts = 1 + static_cast<int64_t>(random()) % routing.experts;
    constexpr int kTokens = 4000;
    std::vector<double> distinct;
    for (int token = 0; token < kTokens; ++token) {
      std::set<int64_t> reached;
      for (int64_t expert : draw(routing, random))
        for (int64_t part = 0; part < parts; ++part)
          if (routing.experts * part / parts <= expert &&
              expert < routing.experts * (part + 1) / parts)
            reached.insert(part);
      distinct.push_back(static_cast<double>(reached.size()));
    }
    double mean =
        std::accumulate(distinct.begin(), distinct.end(), 0.0) / kTokens;
    double variance = 0;
    for (double value : distinct)
      variance += (value - mean) * (value - mean) / kTokens;
    // Five standard errors; exact where nothing varies.
    EXPECT_THAT(expectedParts(routing, parts),
                DoubleNear(mean, 5 * std::sqrt(variance / kTokens) + 1e-9))
        << routing.topK << " of " << routing.experts << ", "
        << routing.topGroups << " of " << routing.groups << " groups, " << parts
        << " parts";
  }
}

/// Sends every row of every rank and counts what crosses the links of each.
struct Counted {
  double nvlink = 0, network = 0;
};
Counted send(const Machine &machine, const Fanout &fanout, int64_t ranks,
             std::mt19937 &random) {
  int64_t domain = std::min(ranks, machine.nvlinkDomain);
  std::vector<double> nvlink(static_cast<size_t>(ranks)),
      network(static_cast<size_t>(ranks));
  auto hop = [&](int64_t from, int64_t to) {
    if (from == to)
      return;
    (from / domain == to / domain ? nvlink
                                  : network)[static_cast<size_t>(to)] +=
        static_cast<double>(fanout.rowBytes);
  };
  int64_t local = fanout.routing.experts / ranks;
  for (int64_t source = 0; source < ranks; ++source)
    for (int64_t token = 0; token < fanout.tokens; ++token) {
      std::set<int64_t> targets, entries;
      for (int64_t expert : draw(fanout.routing, random)) {
        int64_t target = expert / local;
        if (machine.copies == Copies::choice)
          hop(source, target);
        else
          targets.insert(target);
      }
      for (int64_t target : targets) {
        if (machine.copies == Copies::rank) {
          hop(source, target);
          continue;
        }
        int64_t entry = target / domain * domain + source % domain;
        if (entries.insert(entry).second)
          hop(source, entry);
        hop(entry, target);
      }
    }
  auto mean = [&](const std::vector<double> &bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), 0.0) /
           static_cast<double>(ranks);
  };
  return {mean(nvlink), mean(network)};
}

TEST(Traffic, AgreesWithSentRows) {
  std::mt19937 random(12);
  Machine machine = simpleMachine();
  for (int round = 0; round < 60; ++round) {
    machine.copies = static_cast<Copies>(round % 3);
    machine.nvlinkDomain = int64_t{1} << (random() % 4);
    int64_t ranks = int64_t{1} << (1 + random() % 5);
    Fanout fanout;
    constexpr int64_t kTokens = 6000; // of all ranks
    fanout.tokens = kTokens / ranks;
    fanout.rowBytes = 64;
    do
      fanout.routing = randomRouting(random);
    while (fanout.routing.experts % ranks != 0);
    Counted counted = send(machine, fanout, ranks, random);
    Traffic traffic = exchangeTraffic(machine, fanout, 1, ranks);
    // Five standard errors; a token makes between 0 and topK copies, so that
    // their deviation is at most topK / 2.
    double tolerance = 5 * static_cast<double>(fanout.routing.topK) / 2 /
                       std::sqrt(static_cast<double>(kTokens));
    double scale = static_cast<double>(fanout.tokens * fanout.rowBytes);
    EXPECT_NEAR(traffic.nvlinkBytes / scale, counted.nvlink / scale, tolerance);
    EXPECT_NEAR(traffic.networkBytes / scale, counted.network / scale,
                tolerance);
  }
}

TEST(Traffic, FewerCopiesAreNeverMoreBytes) {
  std::mt19937 random(13);
  Machine machine = simpleMachine();
  for (int round = 0; round < 300; ++round) {
    machine.nvlinkDomain = int64_t{1} << (random() % 5);
    int64_t ranks = int64_t{1} << (random() % 7);
    Fanout fanout{100, 1000, {}};
    do
      fanout.routing = randomRouting(random);
    while (fanout.routing.experts % ranks != 0 && ranks > 1);
    auto with = [&](Copies copies, double imbalance) {
      machine.copies = copies;
      return exchangeTraffic(machine, fanout, imbalance, ranks);
    };
    Traffic choice = with(Copies::choice, 1), rank = with(Copies::rank, 1),
            node = with(Copies::node, 1);
    constexpr double slack = 1e-6;
    EXPECT_LE(rank.nvlinkBytes + rank.networkBytes,
              choice.nvlinkBytes + choice.networkBytes + slack);
    EXPECT_LE(node.networkBytes, rank.networkBytes + slack);
    // One domain: nothing to forward.
    if (ranks <= machine.nvlinkDomain) {
      EXPECT_EQ(node.networkBytes, 0);
      EXPECT_NEAR(node.nvlinkBytes, rank.nvlinkBytes, slack);
    }
    // A busy rank receives more, but each row once at most.
    Traffic busy = with(Copies::rank, 1.5), flooded = with(Copies::rank, 1e6);
    EXPECT_GE(busy.nvlinkBytes + slack, rank.nvlinkBytes);
    EXPECT_LE(busy.nvlinkBytes, rank.nvlinkBytes * 1.5 + slack);
    EXPECT_LE(flooded.nvlinkBytes + flooded.networkBytes,
              100'000.0 * static_cast<double>(ranks - 1) + slack);
  }
}

TEST(Traffic, EachChoiceIsTheEvenSpread) {
  // What the op itself knows as link bytes: all choices but one rank's share.
  Machine machine = simpleMachine();
  OpWork work{OpClass::exchange, DType::bf16, 0, 0, 4096 * 8 * 100 * 15 / 16};
  int64_t even = estimateNs(machine, work, 16);
  work.fanout = {4096, 100, {8, 64, 1, 1}};
  EXPECT_NEAR(static_cast<double>(estimateNs(machine, work, 16)),
              static_cast<double>(even), 1);
  machine.copies = Copies::node;
  EXPECT_LT(estimateNs(machine, work, 16), even);
  EXPECT_EQ(exchangeTraffic(machine, work.fanout, 1, 1).nvlinkBytes, 0);
}

} // namespace
