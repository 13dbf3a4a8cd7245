#include "compiler/Schedule/Interleave.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

using namespace moe;
using namespace moe::schedule;

namespace {

constexpr auto kCompute = plan::Stream::compute;
constexpr auto kExchange = plan::Stream::expert_communication;

plan::Op op(plan::Stream stream, int64_t ns, std::vector<int64_t> waits = {}) {
  plan::Op made;
  made.stream = stream;
  made.timeNs = ns;
  made.waits = std::move(waits);
  return made;
}

/// Each op waits for the one before where that is on another stream.
plan::Program chain(const std::vector<std::pair<plan::Stream, int64_t>> &ops) {
  plan::Program program;
  for (auto [stream, ns] : ops) {
    int64_t index = static_cast<int64_t>(program.ops.size());
    bool crosses = index > 0 && program.ops.back().stream != stream;
    program.ops.push_back(op(
        stream, ns, crosses ? std::vector{index - 1} : std::vector<int64_t>{}));
  }
  return program;
}

plan::Program randomProgram(std::mt19937 &random, size_t count) {
  plan::Program program;
  for (size_t i = 0; i < count; ++i) {
    plan::Stream stream = random() % 3 == 0 ? kExchange : kCompute;
    std::vector<int64_t> waits;
    for (size_t j = i; j-- > 0 && waits.empty();)
      if (program.ops[j].stream != stream && random() % 3 != 0)
        waits.push_back(static_cast<int64_t>(j));
    program.ops.push_back(
        op(stream, static_cast<int64_t>(random() % 20), waits));
  }
  return program;
}

/// Ends of the ops of a merge, computed op by op from the rules alone.
int64_t oracleNs(const plan::Program &first, const plan::Program &second,
                 const std::vector<int64_t> &order) {
  struct Done {
    int64_t member, index, end;
    plan::Stream stream;
  };
  std::vector<Done> done;
  std::array<int64_t, 2> next{};
  int64_t last = 0;
  for (int64_t member : order) {
    int64_t index = next[member]++;
    const plan::Op &each = (member == 0 ? first : second).ops[index];
    int64_t begin = 0;
    for (const Done &other : done)
      if (other.stream == each.stream ||
          (other.member == member &&
           std::count(each.waits.begin(), each.waits.end(), other.index)))
        begin = std::max(begin, other.end);
    done.push_back({member, index, begin + each.timeNs, each.stream});
    last = std::max(last, begin + each.timeNs);
  }
  return last;
}

/// The least time of all merges.
int64_t bruteForce(const plan::Program &first, const plan::Program &second) {
  std::vector<int64_t> order(first.ops.size(), 0);
  order.resize(first.ops.size() + second.ops.size(), 1);
  int64_t best = std::numeric_limits<int64_t>::max();
  do
    best = std::min(best, oracleNs(first, second, order));
  while (std::next_permutation(order.begin(), order.end()));
  return best;
}

void expectMerge(const plan::Program &first, const plan::Program &second,
                 const Interleaving &made) {
  ASSERT_EQ(made.order.size(), first.ops.size() + second.ops.size());
  ASSERT_EQ(std::count(made.order.begin(), made.order.end(), 0),
            static_cast<ptrdiff_t>(first.ops.size()));
  ASSERT_EQ(std::count(made.order.begin(), made.order.end(), 1),
            static_cast<ptrdiff_t>(second.ops.size()));
  ASSERT_EQ(made.ns, oracleNs(first, second, made.order));
  ASSERT_EQ(made.ns, durationNs(first, second, made.order));
  ASSERT_LE(made.ns, durationNs(first) + durationNs(second));
}

int64_t onStream(const plan::Program &program, plan::Stream stream) {
  int64_t ns = 0;
  for (const plan::Op &each : program.ops)
    ns += each.stream == stream ? each.timeNs : 0;
  return ns;
}

TEST(Duration, OfOneProgram) {
  EXPECT_EQ(durationNs({}), 0);
  EXPECT_EQ(durationNs(chain({{kCompute, 5}, {kExchange, 7}, {kCompute, 2}})),
            14);
  // The shared expert computes while its layer's rows are on their way.
  plan::Program layer;
  layer.ops = {op(kCompute, 5), op(kExchange, 7, {0}), op(kCompute, 4),
               op(kCompute, 2, {1})};
  EXPECT_EQ(durationNs(layer), 14);
  layer.ops[2].timeNs = 9;
  EXPECT_EQ(durationNs(layer), 16);
  EXPECT_EQ(endsNs(layer), (std::vector<int64_t>{5, 12, 14, 16}));
  EXPECT_TRUE(endsNs({}).empty());
}

TEST(Interleave, EmptyPrograms) {
  plan::Program some = chain({{kCompute, 5}, {kExchange, 7}, {kCompute, 2}});
  EXPECT_EQ(interleave({}, {}), (Interleaving{{}, 0}));
  EXPECT_EQ(interleave(some, {}), (Interleaving{{0, 0, 0}, 14}));
  EXPECT_EQ(interleave({}, some), (Interleaving{{1, 1, 1}, 14}));
}

TEST(Interleave, EachComputesWhileTheOtherCommunicates) {
  plan::Program one = chain({{kCompute, 10}, {kExchange, 10}, {kCompute, 10}});
  Interleaving made = interleave(one, one);
  expectMerge(one, one, made);
  EXPECT_EQ(made.ns, 40);
}

TEST(Interleave, ShortOpGoesIntoALongStretchOfTheOther) {
  // One program only computes; the other has an exchange behind a short op.
  plan::Program computes = chain({{kCompute, 10}, {kCompute, 10}});
  plan::Program exchanges =
      chain({{kCompute, 1}, {kExchange, 20}, {kCompute, 1}});
  EXPECT_EQ(interleave(computes, exchanges).ns, 22);
  EXPECT_EQ(interleave(exchanges, computes).ns, 22);
}

TEST(Interleave, OpsStandInTheOrderInWhichTheyBegin) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    plan::Program one = randomProgram(random, 12);
    plan::Program other = randomProgram(random, 12);
    Interleaving made = interleave(one, other);
    // An exchange that could begin when a compute op before it did, and is
    // neither behind it on a stream nor in its program, stands before it.
    std::array<std::vector<int64_t>, 2> ends;
    std::array<int64_t, 2> free{};
    int64_t before = -1, beforeMember = -1;
    bool beforeComputes = false;
    for (int64_t member : made.order) {
      const plan::Op &each =
          (member == 0 ? one : other).ops[ends[member].size()];
      int64_t begin = free[static_cast<size_t>(each.stream)];
      for (int64_t wait : each.waits)
        begin = std::max(begin, ends[member][wait]);
      free[static_cast<size_t>(each.stream)] = begin + each.timeNs;
      ends[member].push_back(begin + each.timeNs);
      if (beforeComputes && each.stream == kExchange && member != beforeMember)
        ASSERT_GT(begin, before);
      before = begin;
      beforeMember = member;
      beforeComputes = each.stream == kCompute;
    }
  }
}

TEST(Interleave, SmallProgramsAgainstAllMerges) {
  std::mt19937 random(7);
  int optimal = 0, rounds = 0;
  for (; rounds < 400; ++rounds) {
    plan::Program one = randomProgram(random, random() % 8);
    plan::Program other = randomProgram(random, random() % 8);
    Interleaving made = interleave(one, other);
    expectMerge(one, other, made);
    int64_t best = bruteForce(one, other);
    ASSERT_LE(best, made.ns);
    optimal += made.ns == best;
    ASSERT_EQ(interleave(one, other), made);
  }
  // The search keeps all states of programs as small as these.
  EXPECT_EQ(optimal, rounds);
}

// Copies between device and host are on streams of their own.
TEST(Interleave, SmallProgramsOnAllStreamsAgainstAllMerges) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    auto spread = [&](plan::Program program) {
      for (plan::Op &each : program.ops) {
        if (random() % 3 == 0)
          each.stream =
              random() % 2 ? plan::Stream::copy_out : plan::Stream::copy_in;
        std::erase_if(each.waits, [&](int64_t wait) {
          return program.ops[wait].stream == each.stream;
        });
      }
      return program;
    };
    plan::Program one = spread(randomProgram(random, random() % 8));
    plan::Program other = spread(randomProgram(random, random() % 8));
    Interleaving made = interleave(one, other);
    expectMerge(one, other, made);
    ASSERT_EQ(made.ns, bruteForce(one, other));
  }
}

TEST(Interleave, LongProgramsStayNearTheBusiestStream) {
  std::mt19937 random(9);
  for (int round = 0; round < 20; ++round) {
    plan::Program one = randomProgram(random, 100 + random() % 100);
    plan::Program other = randomProgram(random, 100 + random() % 100);
    Interleaving made = interleave(one, other);
    expectMerge(one, other, made);
    int64_t bound =
        std::max({durationNs(one), durationNs(other),
                  onStream(one, kCompute) + onStream(other, kCompute),
                  onStream(one, kExchange) + onStream(other, kExchange)});
    ASSERT_LE(static_cast<double>(made.ns), 1.05 * static_cast<double>(bound));
  }
}

/// The five phases of a layer, once per layer: compute before the dispatch,
/// dispatch, experts, combine, compute behind the combine.
plan::Program layers(int64_t count, std::array<int64_t, 5> ns) {
  std::vector<std::pair<plan::Stream, int64_t>> ops;
  for (int64_t layer = 0; layer < count; ++layer)
    for (size_t phase = 0; phase < 5; ++phase)
      ops.push_back({phase % 2 == 1 ? kExchange : kCompute, ns[phase]});
  return chain(ops);
}

TEST(Interleave, ChunksOfDualPipeVWithADifferentNumberOfLayers) {
  const std::array<int64_t, 5> forward = {100, 80, 60, 80, 10};
  const std::array<int64_t, 5> backward = {20, 80, 120, 80, 190};
  for (int64_t count : {1, 2, 3, 7, 15})
    for (int64_t difference : {-1, 0, 1}) {
      if (count + difference == 0)
        continue;
      plan::Program first = layers(count, forward);
      plan::Program second = layers(count + difference, backward);
      Interleaving made = interleave(first, second);
      expectMerge(first, second, made);
      // Both have 160 of exchanges a layer. Where they are paired all of it is
      // hidden but 20, since the forward has only 60 of compute between its
      // dispatch and its combine to hide one of 80; a layer that only one of
      // the programs has hides nothing.
      int64_t compute = onStream(first, kCompute) + onStream(second, kCompute);
      int64_t paired = count + std::min<int64_t>(difference, 0);
      EXPECT_LE(made.ns, compute + 20 * paired + 160 * std::abs(difference));
      EXPECT_LT(10 * made.ns, 9 * (durationNs(first) + durationNs(second)));
      if (first.ops.size() + second.ops.size() <= 20)
        EXPECT_EQ(made.ns, bruteForce(first, second));
    }
}

TEST(Interleave, WhereExchangesAreLongerTheirStreamNeverIdles) {
  plan::Program first = layers(6, {50, 100, 20, 100, 5});
  plan::Program second = layers(7, {10, 100, 40, 100, 90});
  Interleaving made = interleave(first, second);
  int64_t exchange = onStream(first, kExchange) + onStream(second, kExchange);
  // But for the compute before the first and behind the last one.
  EXPECT_LE(made.ns, exchange + 100);
}

TEST(KnownInterleavings, AreFoundOnceForProgramsOfOneKind) {
  std::mt19937 random(29);
  KnownInterleavings known;
  for (size_t round = 1; round <= 20; ++round) {
    const plan::Program first = randomProgram(random, 2 + random() % 12);
    plan::Program second = randomProgram(random, 2 + random() % 12);
    EXPECT_EQ(known.orderOf(first, second), interleave(first, second).order);
    // What does not count for the order.
    plan::Program named = first;
    named.ops.back().name = "other";
    EXPECT_EQ(known.orderOf(named, second), known.orderOf(first, second));
    EXPECT_EQ(known.size(), 2 * round - 1);
    second.ops.front().timeNs += 1;
    EXPECT_EQ(known.orderOf(first, second), interleave(first, second).order);
    EXPECT_EQ(known.size(), 2 * round);
  }
}

} // namespace
