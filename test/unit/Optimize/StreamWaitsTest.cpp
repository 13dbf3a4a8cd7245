#include "compiler/Optimize/StreamWaits.h"

#include "RandomRank.h"
#include "compiler/Optimize/Placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

using namespace moe;
using namespace moe::optimize;
using namespace moe::test;

namespace {

using Pairs = std::set<std::pair<int64_t, int64_t>>; ///< earlier, later

/// Which op is done before which begins: every chain of stream orders and
/// waits.
std::vector<std::vector<bool>> orderOf(const std::vector<IssuedOp> &issued) {
  std::vector<std::vector<bool>> before(issued.size(),
                                        std::vector<bool>(issued.size()));
  for (size_t b = 0; b < issued.size(); ++b)
    for (size_t a = 0; a < b; ++a) {
      bool direct = issued[a].op->stream == issued[b].op->stream ||
                    std::count(issued[b].waits.begin(), issued[b].waits.end(),
                               static_cast<int64_t>(a));
      if (!direct)
        continue;
      before[a][b] = true;
      for (size_t c = 0; c < a; ++c)
        if (before[c][a])
          before[c][b] = true;
    }
  return before;
}

struct Bytes {
  int64_t space, begin, end;
  bool meets(const Bytes &other) const {
    return space == other.space && begin < other.end && other.begin < end;
  }
};

/// The pairs of ops on different streams whose order matters, found by
/// comparing all with all.
Pairs needed(const std::vector<IssuedOp> &issued, bool isPlaced) {
  auto bytesOf = [](const IssuedOp &each, plan::ValueIndex index) -> Bytes {
    const plan::Value &value = each.stage->values[index];
    // Values in slots have places of their own, as far as waits go.
    return {value.placement == plan::Placement::slot ? 2 * index + each.member
                                                     : -1,
            value.offset, value.offset + value.bytes};
  };
  auto has = [](const std::vector<plan::ValueIndex> &list,
                plan::ValueIndex value) {
    return std::count(list.begin(), list.end(), value) > 0;
  };
  Pairs pairs;
  for (size_t b = 0; b < issued.size(); ++b)
    for (size_t a = 0; a < b; ++a) {
      const plan::Op &early = *issued[a].op, &late = *issued[b].op;
      if (early.stream == late.stream)
        continue;
      bool matters = false;
      if (issued[a].member == issued[b].member)
        for (plan::ValueIndex value : early.outputs)
          matters |= has(late.inputs, value);
      std::vector<Bytes> used, written;
      for (const auto *list : {&early.inputs, &early.outputs})
        for (plan::ValueIndex value : *list) {
          used.push_back(bytesOf(issued[a], value));
          matters |=
              issued[a].member == issued[b].member && has(late.releases, value);
        }
      if (early.scratchBytes)
        used.push_back({-1, early.scratchOffset,
                        early.scratchOffset + early.scratchBytes});
      for (plan::ValueIndex value : late.outputs)
        written.push_back(bytesOf(issued[b], value));
      if (late.scratchBytes)
        written.push_back(
            {-1, late.scratchOffset, late.scratchOffset + late.scratchBytes});
      if (isPlaced)
        for (const Bytes &one : used)
          for (const Bytes &other : written)
            matters |= one.meets(other);
      if (matters)
        pairs.insert({a, b});
    }
  // Exchanges for weight gradients keep their place behind computing.
  for (size_t b = 0; b < issued.size(); ++b)
    if (issued[b].isForWeights &&
        issued[b].op->stream == plan::Stream::expert_communication)
      for (size_t a = b; a-- > 0;)
        if (issued[a].op->stream == plan::Stream::compute) {
          pairs.insert({a, b});
          break;
        }
  return pairs;
}

bool isOrdered(const std::vector<IssuedOp> &issued, const Pairs &pairs) {
  auto before = orderOf(issued);
  return std::all_of(pairs.begin(), pairs.end(), [&](auto pair) {
    return before[pair.first][pair.second];
  });
}

/// All needed pairs are ordered; a wait is on an earlier op of another stream,
/// one a stream; and none of the `droppable` ones can be left out.
void expectWaits(const std::vector<IssuedOp> &issued, const Pairs &pairs,
                 const Pairs &droppable) {
  ASSERT_TRUE(isOrdered(issued, pairs));
  for (size_t i = 0; i < issued.size(); ++i)
    for (int64_t wait : issued[i].waits) {
      ASSERT_LT(wait, static_cast<int64_t>(i));
      ASSERT_NE(issued[wait].op->stream, issued[i].op->stream);
    }
  for (auto [on, op] : droppable) {
    std::vector<IssuedOp> without = issued;
    std::erase(without[op].waits, on);
    ASSERT_FALSE(isOrdered(without, pairs)) << op << " waits for " << on;
  }
}

Pairs allWaits(const std::vector<IssuedOp> &issued) {
  Pairs pairs;
  for (size_t i = 0; i < issued.size(); ++i)
    for (int64_t wait : issued[i].waits)
      pairs.insert({wait, i});
  return pairs;
}

plan::Op op(plan::Stream stream, std::vector<plan::ValueIndex> inputs,
            std::vector<plan::ValueIndex> outputs,
            std::vector<plan::ValueIndex> releases = {}) {
  plan::Op made;
  made.stream = stream;
  made.inputs = std::move(inputs);
  made.outputs = std::move(outputs);
  made.releases = std::move(releases);
  return made;
}

constexpr auto kCompute = plan::Stream::compute;
constexpr auto kExchange = plan::Stream::expert_communication;

TEST(StreamWaits, DataReleaseAndReuse) {
  plan::Stage stage;
  for (int64_t i = 0; i < 5; ++i) {
    plan::Value value;
    value.bytes = 256;
    value.offset = 256 * i;
    stage.values.push_back(value);
  }
  plan::Program program;
  program.ops = {
      op(kCompute, {}, {0}),       // 0 makes rows
      op(kExchange, {0}, {1}),     // 1 sends them
      op(kCompute, {}, {2}),       // 2 computes meanwhile
      op(kCompute, {2}, {}, {0}),  // 3 gives back what op 1 reads
      op(kCompute, {1}, {3}, {1}), // 4 takes what op 1 made
      op(kExchange, {}, {4}),      // 5 has nothing to do with it
  };
  setDataWaits(stage, program);
  auto waits = [&] {
    std::vector<std::vector<int64_t>> list;
    for (const plan::Op &each : program.ops)
      list.push_back(each.waits);
    return list;
  };
  using List = std::vector<std::vector<int64_t>>;
  // Op 4 follows from op 3 on its stream.
  EXPECT_EQ(waits(), (List{{}, {0}, {}, {1}, {}, {}}));
  // Where its bytes are those of a value that op 4 still reads, it waits.
  stage.values[4].offset = stage.values[1].offset;
  setDataWaits(stage, program);
  EXPECT_EQ(waits(), (List{{}, {0}, {}, {1}, {}, {}}));
  setWaits(stage, program);
  EXPECT_EQ(waits(), (List{{}, {0}, {}, {1}, {}, {4}}));
}

// By hand: where all slots have one layout, two values of a microbatch share
// bytes in all of them or in none, and the later one waits; where places are
// chosen one by one, they were chosen such that nothing has to.
TEST(StreamWaits, InSlotsOfOneLayout) {
  plan::Stage stage;
  for (int64_t group : {0, 1, 2}) {
    plan::Value value;
    value.bytes = 256;
    value.placement = plan::Placement::slot;
    value.group = group;
    stage.values.push_back(value);
  }
  stage.programs.resize(2);
  plan::Program &program = stage.programs.front();
  program.ops = {
      op(kCompute, {}, {0}),
      op(plan::Stream::copy_out, {0}, {}, {0}), // 1 is all that reads value 0
      op(kCompute, {}, {1}),                    // 2 lies elsewhere
      op(kCompute, {}, {2}),                    // 3 lies where value 0 was
  };
  auto waitsOfLast = [&](std::vector<std::vector<int64_t>> slots) {
    stage.slots = std::move(slots);
    setWaits(stage, program);
    EXPECT_TRUE(program.ops[2].waits.empty());
    return program.ops[3].waits;
  };
  EXPECT_EQ(waitsOfLast({{0, 256, 0}, {1024, 1280, 1024}}),
            std::vector<int64_t>{1});
  EXPECT_EQ(waitsOfLast({{0, 256, 0}, {1024, 1280, 2048}}),
            std::vector<int64_t>());
  // Others have a layout of their own, as on the host, and there are more.
  EXPECT_EQ(waitsOfLast({{0, 256, 0, 9000, 9256, 9512, 9768},
                         {1024, 1280, 1024, 9000, 9256, 9512, 9768}}),
            std::vector<int64_t>{1});
}

TEST(StreamWaits, ThatDataNeedsAreEnoughAndFewest) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    plan::Stage stage = randomStage(random, {true});
    for (const plan::Program &program : stage.programs) {
      std::vector<IssuedOp> issued = issueProgram(stage, program);
      expectWaits(issued, needed(issued, false), allWaits(issued));
    }
  }
}

TEST(StreamWaits, ThatReuseNeedsAreEnoughAndFewest) {
  std::mt19937 random(2);
  size_t forReuse = 0, inOverlaps = 0;
  for (int round = 0; round < 200; ++round) {
    plan::Plan plan = randomRank(random);
    ASSERT_TRUE(placeRank(plan, 0, Reuse::inIssueOrder));
    for (plan::Stage &stage : plan.stages)
      for (plan::Program &program : stage.programs) {
        size_t before = allWaits(issueProgram(stage, program)).size();
        setWaits(stage, program);
        std::vector<IssuedOp> issued = issueProgram(stage, program);
        expectWaits(issued, needed(issued, true), allWaits(issued));
        forReuse += allWaits(issued).size() > before ? 1 : 0;
        for (const plan::Op &each : program.ops)
          ASSERT_LE(each.waits.size(), 1u);
      }
    for (plan::Overlap &overlap : plan.ranks[0].overlaps) {
      overlap.waits = overlapWaits(plan, overlap);
      std::vector<IssuedOp> issued = issueOverlap(plan, overlap);
      Pairs own;
      for (const plan::Overlap::Wait &wait : overlap.waits) {
        own.insert({wait.on, wait.op});
        ASSERT_NE(issued[wait.on].member, issued[wait.op].member);
      }
      ASSERT_EQ(own.size(), overlap.waits.size());
      ASSERT_TRUE(std::is_sorted(overlap.waits.begin(), overlap.waits.end(),
                                 [](const auto &a, const auto &b) {
                                   return std::pair{a.op, a.on} <
                                          std::pair{b.op, b.on};
                                 }));
      expectWaits(issued, needed(issued, true), own);
      inOverlaps += own.size();
      // What it has already is not taken into account.
      ASSERT_EQ(overlapWaits(plan, overlap), overlap.waits);
    }
  }
  EXPECT_GT(forReuse, 100u);
  EXPECT_GT(inOverlaps, 100u);
}

TEST(StreamWaits, DoneBeforeNamesTheLastOpOfEachStream) {
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    plan::Stage stage = randomStage(random, {true});
    for (const plan::Program &program : stage.programs) {
      std::vector<IssuedOp> issued = issueProgram(stage, program);
      auto before = orderOf(issued);
      std::vector<StreamPositions> done = doneBefore(issued);
      for (size_t b = 0; b < issued.size(); ++b)
        for (size_t s = 0; s < done[b].size(); ++s) {
          int64_t last = -1;
          for (size_t a = 0; a < b; ++a)
            if (before[a][b] && static_cast<size_t>(issued[a].op->stream) == s)
              last = static_cast<int64_t>(a);
          ASSERT_EQ(done[b][s], last);
        }
    }
  }
}

// What is exchanged again for weight gradients needs nothing that its program
// makes: its place says when it begins.
TEST(StreamWaits, ExchangesForWeightGradientsKeepTheirPlace) {
  plan::Stage stage;
  stage.values.resize(3);
  for (plan::Phase phase : {plan::Phase::weight_grad, plan::Phase::backward}) {
    plan::Program program;
    program.phase = phase;
    program.ops.resize(4);
    program.ops[0].outputs = {0};
    program.ops[1].outputs = {1};
    program.ops[2].stream = plan::Stream::expert_communication;
    program.ops[2].outputs = {2};
    program.ops[3].inputs = {2};
    setDataWaits(stage, program);
    EXPECT_EQ(program.ops[2].waits, phase == plan::Phase::weight_grad
                                        ? std::vector<int64_t>{1}
                                        : std::vector<int64_t>{});
    EXPECT_EQ(program.ops[3].waits, std::vector<int64_t>{2});
  }
}

} // namespace
