// Policies and cuts against mixed-integer programs of the same problems, on
// instances that are too large to try everything.
#include "compiler/Optimize/Partition.h"

#include "test/unit/Optimize/MixedInteger.h"
#include "test/unit/Optimize/RandomCuts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace moe::optimize {
namespace {

using Entries = MixedIntegerProgram::Entries;

constexpr double kInfinite = 1e30;
constexpr int64_t kMaxNodes = 200'000;

/// Every figure is a whole number, so that half a byte more changes nothing but
/// what rounding would.
void addCapacity(MixedIntegerProgram &program, const Entries &bytes,
                 int64_t capacity) {
  program.addRow(bytes, -kInfinite, static_cast<double>(capacity) + 0.5);
}

int64_t chosen(const std::vector<double> &solution,
               const std::vector<int> &columns) {
  for (size_t i = 0; i < columns.size(); ++i)
    if (solution[static_cast<size_t>(columns[i])] > 0.5)
      return static_cast<int64_t>(i);
  return -1;
}

/// One rank: a binary for every layer and option.
class PolicyProgram {
  /// See bytesAt().
  enum class Time : uint8_t { any, late, forward };

public:
  PolicyProgram(const PolicyProblem &problem, int64_t capacity)
      : problem(problem) {
    for (const std::vector<int64_t> &stage : problem.stages) {
      auto &layers = columns.emplace_back();
      for (int64_t kind : stage) {
        std::vector<int> &options = layers.emplace_back();
        Entries one;
        for (const LayerOption &option : optionsOf(kind)) {
          options.push_back(
              program.addBinary(static_cast<double>(option.extraNs)));
          one.emplace_back(options.back(), 1);
        }
        program.addRow(one, 1, 1);
      }
    }
    for (size_t s = 0; s < columns.size(); ++s) {
      addLags(s);
      addWaits(s, &LayerOption::backward);
      addWaits(s, &LayerOption::weightGrad);
    }
    for (const Moment &moment : problem.moments)
      for (size_t row = 0;
           row < problem.stages[static_cast<size_t>(moment.running)].size();
           ++row)
        for (Time time : {Time::any, Time::late, Time::forward})
          addCapacity(program, bytesAt(moment, row, time),
                      capacity - moment.otherBytes);
  }

  /// The least extra time; -1: nothing fits.
  int64_t solve() {
    MixedIntegerProgram::Outcome outcome = program.solve(kMaxNodes);
    if (outcome.isInfeasible)
      return -1;
    EXPECT_TRUE(outcome.isOptimal);
    Choices choices;
    for (const auto &layers : columns) {
      auto &stage = choices.emplace_back();
      for (const auto &options : layers)
        stage.push_back(chosen(outcome.solution, options));
    }
    auto least = static_cast<int64_t>(std::llround(outcome.objective));
    EXPECT_EQ(evaluate(problem, choices).extraNs, least);
    return least;
  }

private:
  const std::vector<LayerOption> &optionsOf(int64_t kind) const {
    return problem.kinds[static_cast<size_t>(kind)];
  }

  /// How late the link is behind each layer; behind the last one that counts.
  void addLags(size_t stage) {
    lags.emplace_back();
    int before = -1;
    for (size_t l = 0; l < columns[stage].size(); ++l) {
      const int lag =
          program.addContinuous(l + 1 == columns[stage].size() ? 1 : 0);
      const std::vector<LayerOption> &options =
          optionsOf(problem.stages[stage][l]);
      Entries tail = {{lag, 1}}, queue = {{lag, 1}};
      for (size_t o = 0; o < options.size(); ++o) {
        tail.emplace_back(columns[stage][l][o], -options[o].tailNs);
        queue.emplace_back(columns[stage][l][o], -options[o].queueNs);
      }
      if (before != -1)
        queue.emplace_back(before, -1);
      program.addRow(tail, 0, kInfinite);
      program.addRow(queue, 0, kInfinite);
      lags.back().push_back(lag);
      before = lag;
    }
  }

  /// How late copies back come to each layer of a program, from the last one
  /// down, and how long it waits for them.
  void addWaits(size_t stage, CopiesBack LayerOption::*of) {
    int late = -1, wait = -1; // of the layer above
    for (size_t l = columns[stage].size() - 1; l-- > 0;) {
      const int lateHere = program.addContinuous(0);
      const int waitHere = program.addContinuous(1);
      Entries link = {{lateHere, 1}}, own = {{waitHere, 1}, {lateHere, -1}};
      addTimes(link, stage, l, of, &CopiesBack::earlyNs, -1);
      addTimes(link, stage, l + 1, of, &CopiesBack::linkFreeNs, 1);
      addTimes(own, stage, l, of, &CopiesBack::mayWaitNs, 1);
      if (late != -1) {
        link.emplace_back(late, -1);
        link.emplace_back(wait, 1);
      }
      program.addRow(link, 0, kInfinite);
      program.addRow(own, 0, kInfinite);
      late = lateHere;
      wait = waitHere;
    }
  }
  void addTimes(Entries &row, size_t stage, size_t layer,
                CopiesBack LayerOption::*of, int64_t CopiesBack::*time,
                int64_t factor) const {
    constexpr int64_t most = 1'000'000; // longer than all of a stage
    const std::vector<LayerOption> &options =
        optionsOf(problem.stages[stage][layer]);
    for (size_t o = 0; o < options.size(); ++o)
      row.emplace_back(columns[stage][layer][o],
                       factor * std::min(most, options[o].*of.*time));
  }

  /// While the layer `row` of the running stage runs; late: what the one below
  /// it has ahead is there; forward: what the link has not copied is.
  Entries bytesAt(const Moment &moment, size_t row, Time time) const {
    const bool isLate = time == Time::late;
    Entries bytes;
    auto running = static_cast<size_t>(moment.running);
    for (size_t s = 0; s < columns.size(); ++s)
      for (size_t l = 0; l < columns[s].size(); ++l) {
        const std::vector<LayerOption> &options =
            optionsOf(problem.stages[s][l]);
        for (size_t o = 0; o < options.size(); ++o) {
          int64_t amount = moment.held[s] * options[o].keptBytes +
                           moment.pending[s] * options[o].pendingBytes;
          if (s == running && l > row)
            amount += options[o].pendingBytes;
          if (s == running && l < row)
            amount += options[o].keptBytes;
          if (s == running && l + 1 == row && isLate)
            amount += options[o].aheadBytes;
          if (s == running && l == row)
            amount += isLate                  ? options[o].latePeakBytes
                      : time == Time::forward ? options[o].forwardPeakBytes
                                              : options[o].peakBytes;
          bytes.emplace_back(columns[s][l][o], amount);
        }
      }
    if (time == Time::forward && row > 0)
      bytes.emplace_back(lags[running][row - 1], problem.hostBytesPerNs);
    return bytes;
  }

  const PolicyProblem &problem;
  MixedIntegerProgram program;
  std::vector<std::vector<std::vector<int>>> columns;
  std::vector<std::vector<int>> lags; ///< by stage and layer
};

/// The whole model: a binary for every block, stage, option, and for whether
/// the block is the last of the stage. Blocks are a path through the stages:
/// one goes on with the stage of the block before, or is the first of the next.
class PartitionProgram {
public:
  explicit PartitionProgram(const PartitionProblem &problem)
      : problem(problem), columns(problem.blocks.size()),
        slowest(program.addContinuous(
            static_cast<double>(problem.microbatches - 1))) {
    for (size_t b = 0; b < problem.blocks.size(); ++b)
      for (int64_t s = 0; s < problem.stages(); ++s)
        addColumns(b, s);
    addPath();
    for (int64_t rank = 0; rank < problem.ranks(); ++rank)
      addRank(rank);
  }

  struct Answer {
    bool isProven = false;
    int64_t objectiveNs = -1; ///< -1: nothing fits
    std::vector<int64_t> counts;
  };
  Answer solve() {
    MixedIntegerProgram::Outcome outcome = program.solve(kMaxNodes);
    Answer answer;
    answer.isProven = outcome.isOptimal || outcome.isInfeasible;
    if (outcome.solution.empty())
      return answer;
    answer.objectiveNs = std::llround(outcome.objective);
    answer.counts.assign(static_cast<size_t>(problem.stages()), 0);
    for (const auto &stages : columns)
      for (const auto &[stage, own] : stages)
        for (const auto *list : {&own.inside, &own.last})
          answer.counts[static_cast<size_t>(stage)] +=
              chosen(outcome.solution, *list) >= 0;
    return answer;
  }

private:
  struct Columns {
    std::vector<int> inside, last; ///< by option
  };
  using AmountOf = int64_t (*)(const LayerOption &);

  const BlockKind &kindOf(size_t block) const {
    return problem.kinds[static_cast<size_t>(problem.blocks[block])];
  }
  static const std::vector<LayerOption> &lastOptions(const BlockKind &kind) {
    return kind.lastOptions.empty() ? kind.options : kind.lastOptions;
  }

  void addColumns(size_t block, int64_t stage) {
    const BlockKind &kind = kindOf(block);
    Columns &own = columns[block][stage];
    auto work = static_cast<double>(kind.forwardNs + kind.backwardNs);
    for (const LayerOption &option : kind.options)
      own.inside.push_back(
          program.addBinary(work + static_cast<double>(option.extraNs)));
    for (const LayerOption &option : lastOptions(kind))
      own.last.push_back(
          program.addBinary(work + static_cast<double>(option.extraNs)));
  }

  /// `amount` where the block lies on the stage.
  void addPresence(Entries &entries, size_t block, int64_t stage,
                   int64_t amount) const {
    const Columns &own = columns[block].at(stage);
    for (const auto *list : {&own.inside, &own.last})
      for (int column : *list)
        entries.emplace_back(column, static_cast<double>(amount));
  }
  void addEnd(Entries &entries, size_t block, int64_t stage,
              double factor) const {
    for (int column : columns[block].at(stage).last)
      entries.emplace_back(column, factor);
  }
  void addAmounts(Entries &entries, size_t block, int64_t stage, int64_t times,
                  AmountOf amount) const {
    const BlockKind &kind = kindOf(block);
    const Columns &own = columns[block].at(stage);
    for (size_t o = 0; o < kind.options.size(); ++o) {
      entries.emplace_back(own.inside[o], times * amount(kind.options[o]));
      entries.emplace_back(own.last[o], times * amount(lastOptions(kind)[o]));
    }
  }

  void addPath() {
    size_t blocks = problem.blocks.size();
    int64_t stages = problem.stages();
    for (size_t b = 0; b < blocks; ++b) {
      Entries one;
      for (int64_t s = 0; s < stages; ++s) {
        addPresence(one, b, s, 1);
        if (b + 1 == blocks)
          continue;
        Entries next;
        addPresence(next, b + 1, s, 1);
        addPresence(next, b, s, -1);
        addEnd(next, b, s, 1);
        if (s > 0)
          addEnd(next, b, s - 1, -1);
        program.addRow(next, 0, 0);
      }
      program.addRow(one, 1, 1);
      if (!problem.pins.empty() && problem.pins[b] >= 0) {
        Entries pinned;
        addPresence(pinned, b, problem.pins[b], 1);
        program.addRow(pinned, 1, 1);
      }
    }
    Entries first, last;
    addPresence(first, 0, 0, 1);
    program.addRow(first, 1, 1);
    addEnd(last, blocks - 1, stages - 1, 1);
    program.addRow(last, 1, 1);
    for (int64_t s = 0; s < stages; ++s) {
      Entries layers;
      for (size_t b = 0; b < blocks; ++b)
        if (kindOf(b).isLayer)
          addPresence(layers, b, s, 1);
      program.addRow(layers, 1, kInfinite);
    }
  }

  void addRank(int64_t rank) {
    std::vector<int64_t> own;
    for (int64_t s = 0; s < problem.stages(); ++s)
      if (problem.rankOf[static_cast<size_t>(s)] == rank)
        own.push_back(s);
    Entries time;
    for (int64_t s : own)
      for (size_t b = 0; b < problem.blocks.size(); ++b) {
        addPresence(time, b, s, kindOf(b).forwardNs + kindOf(b).backwardNs);
        addAmounts(time, b, s, 1,
                   [](const LayerOption &option) { return option.extraNs; });
      }
    for (int64_t s : own)
      time.emplace_back(addLag(s), 1);
    time.emplace_back(slowest, -1);
    program.addRow(time, -kInfinite, 0);
    for (const RankMoment &moment : problem.moments[static_cast<size_t>(rank)])
      addMoment(rank, own, moment);
  }

  /// How late the link is behind the stage. Blocks that lie elsewhere hand on
  /// what was before them.
  int addLag(int64_t stage) {
    int before = -1;
    for (size_t b = 0; b < problem.blocks.size(); ++b) {
      const int lag =
          program.addContinuous(b + 1 == problem.blocks.size() ? 1 : 0);
      Entries tail = {{lag, 1}}, queue = {{lag, 1}};
      addAmounts(tail, b, stage, -1,
                 [](const LayerOption &option) { return option.tailNs; });
      addAmounts(queue, b, stage, -1,
                 [](const LayerOption &option) { return option.queueNs; });
      if (before != -1)
        queue.emplace_back(before, -1);
      program.addRow(tail, 0, kInfinite);
      program.addRow(queue, 0, kInfinite);
      before = lag;
    }
    return before;
  }

  void addMoment(int64_t rank, const std::vector<int64_t> &own,
                 const RankMoment &moment) {
    Entries bytes;
    for (size_t i = 0; i < own.size(); ++i)
      for (size_t b = 0; b < problem.blocks.size(); ++b) {
        addPresence(bytes, b, own[i], kindOf(b).persistentBytes);
        addAmounts(
            bytes, b, own[i], moment.pending[i],
            [](const LayerOption &option) { return option.pendingBytes; });
        addAmounts(bytes, b, own[i], moment.held[i],
                   [](const LayerOption &option) { return option.keptBytes; });
      }
    if (moment.overlapped >= 0)
      addOverlapped(bytes, own[static_cast<size_t>(moment.overlapped)]);
    int64_t running = own[static_cast<size_t>(moment.running)];
    int64_t capacity = problem.capacityBytes[static_cast<size_t>(rank)] -
                       problem.otherBytes[static_cast<size_t>(rank)];
    // Where a block does not lie on the stage, this asks for less than the row
    // of the last block that does.
    for (size_t row = 0; row < problem.blocks.size(); ++row) {
      Entries at = bytes;
      for (size_t b = 0; b < row; ++b)
        addAmounts(at, b, running, 1,
                   [](const LayerOption &option) { return option.keptBytes; });
      addAmounts(at, row, running, 1,
                 [](const LayerOption &option) { return option.peakBytes; });
      for (size_t b = row + 1; b < problem.blocks.size(); ++b)
        addAmounts(at, b, running, 1, [](const LayerOption &option) {
          return option.pendingBytes;
        });
      addCapacity(program, at, capacity);
    }
  }

  /// The most that one of the stage's blocks keeps, and the most that one has
  /// live besides.
  void addOverlapped(Entries &bytes, int64_t stage) {
    int kept = program.addContinuous(0), transient = program.addContinuous(0);
    bytes.emplace_back(kept, 1);
    bytes.emplace_back(transient, 1);
    for (size_t b = 0; b < problem.blocks.size(); ++b) {
      const LayerOption &all = kindOf(b).options.front();
      for (auto [column, amount] :
           {std::pair(kept, all.keptBytes),
            std::pair(transient, all.peakBytes - all.keptBytes)}) {
        Entries least;
        addPresence(least, b, stage, -amount);
        least.emplace_back(column, 1);
        program.addRow(least, 0, kInfinite);
      }
    }
  }

  const PartitionProblem &problem;
  MixedIntegerProgram program;
  std::vector<std::map<int64_t, Columns>> columns; ///< by block and stage
  int slowest;
};

/// What plans look like: each further option keeps less and takes longer.
std::vector<LayerOption> randomOptions(Random &random, int64_t count,
                                       int64_t workNs) {
  std::vector<LayerOption> options;
  int64_t kept = random(400, 1000);
  options.push_back({0, kept, kept + random(50, 200)});
  for (int64_t i = 1; i < count; ++i) {
    kept = std::max<int64_t>(10, kept * random(50, 90) / 100);
    options.push_back({options.back().extraNs + random(1, workNs / 10), kept,
                       kept + random(50, 300)});
    addLags(options.back(), random, workNs / 10);
  }
  return options;
}

class RanksAgainstProgram : public testing::TestWithParam<int> {};

// Ranks of one stage or two with 8 to 11 layers in all and 4 to 8 options, at
// four budgets each.
TEST_P(RanksAgainstProgram, ExactIsTheOptimumAndFastIsNear) {
  if (!hasMixedIntegerSolver())
    GTEST_SKIP() << "this build is without COIN-OR CBC";
  Random random(static_cast<uint64_t>(GetParam()) + 1000);
  PolicyProblem problem;
  constexpr int64_t workNs = 3000; // of a layer, both ways
  for (int kind = 0; kind < 2; ++kind) {
    problem.kinds.push_back(randomOptions(random, random(4, 8), workNs));
    for (LayerOption &option : problem.kinds.back()) {
      option.latePeakBytes = random(0, option.peakBytes);
      option.aheadBytes = random(0, 1) * random(0, 300);
      option.pendingBytes = random(0, option.keptBytes / 4);
    }
  }
  problem.hostBytesPerNs = static_cast<double>(random(0, 1));
  int64_t stages = 1 + GetParam() % 2, layers = random(8, 11) / stages;
  for (int64_t s = 0; s < stages; ++s) {
    auto &stage = problem.stages.emplace_back();
    for (int64_t l = 0; l < layers; ++l)
      stage.push_back(l < layers / 3 ? 0 : 1);
  }
  for (int64_t s = 0; s < stages; ++s) {
    Moment &moment = problem.moments.emplace_back();
    for (int64_t other = 0; other < stages; ++other)
      moment.held.push_back(random(1, 6));
    for (int64_t other = 0; other < stages; ++other)
      moment.pending.push_back(random(0, 2));
    moment.running = s;
    moment.otherBytes = random(0, 5000);
  }
  ASSERT_TRUE(problem.check().ok());
  PolicyFront exact(problem, Effort::exact), fast(problem, Effort::fast);
  int64_t least = exact.points().front().peakBytes;
  int64_t most = exact.points().back().peakBytes;
  EXPECT_EQ(PolicyProgram(problem, least - 1).solve(), -1);
  for (int64_t eighths : {0, 2, 4, 6}) {
    int64_t capacity = least + (most - least) * eighths / 8;
    int64_t optimum = PolicyProgram(problem, capacity).solve();
    const PolicyFront::Point *found = exact.within(capacity);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->extraNs, optimum);
    EXPECT_TRUE(exact.isExact());
    EXPECT_LE(leastExtraNs(problem, capacity), optimum);
    const PolicyFront::Point *near = fast.within(capacity);
    if (!near) { // what just fits may be left out
      EXPECT_EQ(eighths, 0);
      continue;
    }
    auto work = static_cast<double>(stages * layers * workNs);
    EXPECT_LE(work + static_cast<double>(near->extraNs),
              1.02 * (work + static_cast<double>(optimum)));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RanksAgainstProgram, testing::Range(0, 20));

/// An embedding, layers of two kinds, a head, on ranks with a stage each or, in
/// a V, two. Memory is between what the even cut needs at least and all of it.
PartitionProblem randomModel(Random &random, bool isV) {
  PartitionProblem problem;
  for (int kind = 0; kind < 4; ++kind) {
    BlockKind &made = problem.kinds.emplace_back();
    made.isLayer = kind == 1 || kind == 2;
    made.forwardNs = made.isLayer ? random(500, 1000) : random(0, 700);
    made.backwardNs = 2 * made.forwardNs;
    made.persistentBytes = random(500, 3000);
    made.options = made.isLayer
                       ? randomOptions(random, random(4, isV ? 5 : 6),
                                       made.forwardNs + made.backwardNs)
                       : std::vector<LayerOption>{{0, 100, 300}};
    for (LayerOption &option : made.options) {
      option.pendingBytes = isV ? random(0, 100) : 0;
      // Who waits for copies back depends on where the stages end: all cuts of
      // PartitionTest have these.
      option = amongAlike(option);
    }
    if (kind == 2) {
      made.lastOptions = made.options;
      for (LayerOption &option : made.lastOptions)
        option.extraNs += option.extraNs / 2;
    }
  }
  int64_t ranks = isV ? random(2, 3) : random(3, 5);
  int64_t layers = isV ? random(2 * ranks + 2, 10) : random(2 * ranks, 14);
  problem.blocks.push_back(0);
  for (int64_t l = 0; l < layers; ++l)
    problem.blocks.push_back(l < layers / 4 ? 1 : 2);
  problem.blocks.push_back(3);
  problem.microbatches = random(ranks, 32);
  addRanks(problem, ranks, isV);
  problem.capacityBytes.assign(static_cast<size_t>(ranks),
                               std::numeric_limits<int64_t>::max() / 4);
  std::vector<int64_t> even = uniformCounts(problem);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    PolicyFront front(rankProblem(problem, even, rank), Effort::fast);
    int64_t least = front.points().front().peakBytes;
    int64_t most = front.points().back().peakBytes;
    problem.capacityBytes[static_cast<size_t>(rank)] =
        least + (most - least) * random(10, 90) / 100;
  }
  return problem;
}

class CutsAgainstProgram : public testing::TestWithParam<int> {};

TEST_P(CutsAgainstProgram, FoundIsNearTheOptimum) {
  if (!hasMixedIntegerSolver())
    GTEST_SKIP() << "this build is without COIN-OR CBC";
  bool isV = GetParam() % 3 == 2;
  Random random(static_cast<uint64_t>(GetParam()) + 2000);
  PartitionProblem problem = randomModel(random, isV);
  if (GetParam() % 4 == 3) { // a pin, where the even cut has the layer
    problem.pins.assign(problem.blocks.size(), -1);
    int64_t first = uniformCounts(problem).front();
    problem.pins[static_cast<size_t>(first - 1)] = 0;
  }
  ASSERT_TRUE(problem.check().ok());
  PartitionProgram::Answer optimum = PartitionProgram(problem).solve();
  ASSERT_TRUE(optimum.isProven);
  ASSERT_GE(optimum.objectiveNs, 0);
  // The program and the definition agree on what its cut comes to.
  EXPECT_TRUE(isLegal(problem, optimum.counts));
  std::optional<Partition> fast = partition(problem);
  ASSERT_TRUE(fast.has_value());
  EXPECT_EQ(fast->excessBytes, 0);
  EXPECT_GE(fast->objectiveNs, optimum.objectiveNs);
  EXPECT_LE(static_cast<double>(fast->objectiveNs),
            1.02 * static_cast<double>(optimum.objectiveNs));
  std::optional<Partition> exact = partition(problem, Effort::exact);
  ASSERT_TRUE(exact.has_value());
  EXPECT_EQ(exact->excessBytes, 0);
  EXPECT_EQ(exact->objectiveNs, optimum.objectiveNs);
  EXPECT_TRUE(exact->isOptimal);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CutsAgainstProgram, testing::Range(0, 21));

} // namespace
} // namespace moe::optimize
