// Schedules with two stages a rank, placed down the ranks and up again.
#include "compiler/Schedule/GeneratorSupport.h"
#include "compiler/Schedule/ListScheduling.h"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>
#include <utility>

namespace moe::schedule {

namespace {

/// The passes of a microbatch on one rank, in their order in time: F0 and B0
/// are of the stage on the way down, F1 and B1 of that on the way up.
enum Pass : uint8_t { F0, F1, B1, B0 };
constexpr size_t kPassCount = 4;

/// When microbatch 0 runs each pass; every other one an interval later.
using Pattern = std::array<int64_t, kPassCount>;

/// One microbatch every interval takes each of the four passes once.
constexpr int64_t kInterval = 6;

Entry entryOf(const ScheduleProblem &problem, int64_t rank, size_t pass) {
  bool up = pass == F1 || pass == B1;
  return {up ? 2 * problem.ranks - 1 - rank : rank,
          pass == F0 || pass == F1 ? Phase::forward : Phase::backward_input};
}

/// The order of actions when every rank repeats its pattern, the times of which
/// are those of the `turns` of its stages.
Sequence repeat(const ListProblem &list, bool withWeightGrads) {
  const ScheduleProblem &problem = list.problem;
  Sequence order(static_cast<size_t>(problem.ranks));
  struct Due {
    int64_t time, microbatch;
    Entry entry;
  };
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    std::vector<Due> due;
    for (int64_t stage : {rank, 2 * problem.ranks - 1 - rank}) {
      const StageTurns &turns = list.turns[static_cast<size_t>(stage)];
      for (int64_t m = 0; m < problem.microbatches; ++m) {
        int64_t later = m * list.interval;
        due.push_back({turns.forward + later, m, {stage, Phase::forward}});
        due.push_back(
            {turns.backward + later, m, {stage, Phase::backward_input}});
        if (withWeightGrads)
          due.push_back(
              {turns.weightGrad + later, m, {stage, Phase::weight_grad}});
      }
    }
    std::sort(due.begin(), due.end(), [](const Due &a, const Due &b) {
      size_t stageOfA = a.entry.stage(), stageOfB = b.entry.stage();
      return std::tie(a.time, stageOfA, a.microbatch, a.entry.code) <
             std::tie(b.time, stageOfB, b.microbatch, b.entry.code);
    });
    auto &entries = order[static_cast<size_t>(rank)];
    entries.reserve(due.size());
    for (const Due &one : due)
      entries.push_back(one.entry);
  }
  return order;
}

/// What a rank that repeats its pattern does with weight gradients, and how
/// many microbatches of a stage it holds at most: of the stage on the way down,
/// of that on the way up, and of both together.
struct Held {
  int64_t downWeightGrad = 0, upWeightGrad = 0; ///< when they run
  int64_t down = 0, up = 0, both = 0;
};

/// Weight gradients, of one unit, run at the first that the pattern leaves
/// free.
Held heldBy(const Pattern &pattern) {
  std::array<bool, kInterval> busy{};
  for (int64_t time : pattern)
    busy[static_cast<size_t>(time % kInterval)] = true;
  auto takeFrom = [&](int64_t time) {
    while (busy[static_cast<size_t>(time % kInterval)])
      ++time;
    busy[static_cast<size_t>(time % kInterval)] = true;
    return time;
  };
  Held held;
  held.upWeightGrad = takeFrom(pattern[B1] + 1);
  held.downWeightGrad = takeFrom(pattern[B0] + 1);
  for (int64_t time = 0; time < kInterval; ++time) {
    // Of the intervals that began before, those held at this time of each.
    auto count = [&](int64_t begin, int64_t last) {
      int64_t first =
          begin + ((time - begin) % kInterval + kInterval) % kInterval;
      return first <= last ? (last - first) / kInterval + 1 : 0;
    };
    int64_t down = count(pattern[F0], held.downWeightGrad);
    int64_t up = count(pattern[F1], held.upWeightGrad);
    held.down = std::max(held.down, down);
    held.up = std::max(held.up, up);
    held.both = std::max(held.both, down + up);
  }
  return held;
}

/// How many actions may be run to improve the best order (about 10 ms), and how
/// often the order at most.
constexpr int64_t kImprovementEffort = 400'000;
constexpr int64_t kImprovementRuns = 400;

/// The shortest of: the pattern's order, with weight gradients where they fill
/// most; list schedules in the pattern's turn that hold no more of each stage
/// than the pattern, or one more, with weight gradients moved to where they
/// fill most; improved by local changes. No rank holds more than the one that
/// holds most in the pattern. The pattern is made for passes of equal length;
/// where they differ, the others win.
Result<Schedule> fromPattern(std::string_view name,
                             const ScheduleProblem &problem,
                             const GeneratorOptions &options,
                             const std::vector<Pattern> &patterns) {
  Result<Costs> costs = costsOf(problem, options);
  if (!costs)
    return costs.error();
  ListProblem list{problem, *costs, kInterval, {}, {}, {}};
  list.turns.resize(static_cast<size_t>(problem.stages()));
  int64_t most = 0; // on any rank
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    const Pattern &pattern = patterns[static_cast<size_t>(rank)];
    Held held = heldBy(pattern);
    list.turns[static_cast<size_t>(rank)] = {pattern[F0], pattern[B0],
                                             held.downWeightGrad};
    list.turns[static_cast<size_t>(2 * problem.ranks - 1 - rank)] = {
        pattern[F1], pattern[B1], held.upWeightGrad};
    most = std::max(most, held.both);
  }
  list.rankLimits.assign(static_cast<size_t>(problem.ranks), most);
  std::vector<Sequence> orders = {repeat(list, false), repeat(list, true)};
  int64_t shortestNs = std::numeric_limits<int64_t>::max();
  for (int64_t more : {0, 1}) {
    list.stageLimits.resize(static_cast<size_t>(problem.stages()));
    for (int64_t rank = 0; rank < problem.ranks; ++rank) {
      Held held = heldBy(patterns[static_cast<size_t>(rank)]);
      list.stageLimits[static_cast<size_t>(rank)] =
          std::min(held.down + more, most - 1);
      list.stageLimits[static_cast<size_t>(2 * problem.ranks - 1 - rank)] =
          std::min(held.up + more, most);
    }
    for (Sequence &order : listSchedules(list, shortestNs)) {
      orders.push_back(withoutWeightGrads(order));
      orders.push_back(std::move(order));
    }
  }
  return fillWithWeightGrads(
      name, problem, orders, *costs, countingRoom(problem, list.rankLimits),
      Aim::makespan, options.mostPending,
      std::min(kImprovementEffort,
               kImprovementRuns * 3 * problem.stages() * problem.microbatches));
}

/// The pattern of 1f1b-v: every weight gradient right after its input gradient,
/// so that both take two units. Passes are placed one after the other along the
/// V, each at the first time that is free on its rank in every interval and
/// leaves room for the next.
std::vector<Pattern> fusedPatterns(int64_t ranks) {
  std::vector<Pattern> patterns(static_cast<size_t>(ranks));
  std::vector<std::array<bool, kInterval>> busy(static_cast<size_t>(ranks));
  auto isFree = [](const std::array<bool, kInterval> &taken, int64_t time,
                   int64_t length) {
    for (int64_t i = 0; i < length; ++i)
      if (taken[static_cast<size_t>((time + i) % kInterval)])
        return false;
    return true;
  };
  auto take = [](std::array<bool, kInterval> taken, int64_t time,
                 int64_t length) {
    for (int64_t i = 0; i < length; ++i)
      taken[static_cast<size_t>((time + i) % kInterval)] = true;
    return taken;
  };
  auto hasRoomForBackward = [&](const std::array<bool, kInterval> &taken) {
    for (int64_t time = 0; time < kInterval; ++time)
      if (isFree(taken, time, 2))
        return true;
    return false;
  };
  int64_t time = 0;
  for (size_t pass = 0; pass < kPassCount; ++pass) {
    int64_t length = pass == F0 || pass == F1 ? 1 : 2;
    for (int64_t i = 0; i < ranks; ++i) {
      bool down = pass == F0 || pass == B1;
      auto rank = static_cast<size_t>(down ? i : ranks - 1 - i);
      while (
          !isFree(busy[rank], time, length) ||
          (pass != B0 && !hasRoomForBackward(take(busy[rank], time, length))))
        ++time;
      busy[rank] = take(busy[rank], time, length);
      patterns[rank][pass] = time;
      time += length;
    }
  }
  return patterns;
}

} // namespace

Result<Schedule> zeroBubbleV(const ScheduleProblem &problem,
                             const GeneratorOptions &options) {
  MOE_RETURN_IF_ERROR(checkShape("zb-v", problem, Placement::v, 2));
  Result<Costs> costs = costsOf(problem, options);
  if (!costs)
    return costs.error();
  Sequence order(static_cast<size_t>(problem.ranks));
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &entries = order[static_cast<size_t>(rank)];
    entries.reserve(kPassCount * static_cast<size_t>(problem.microbatches));
    std::array<int64_t, kPassCount> next{};
    auto push = [&](Pass pass) {
      if (next[pass]++ < problem.microbatches)
        entries.push_back(entryOf(problem, rank, pass));
    };
    int64_t outer = problem.ranks - rank;
    for (int64_t i = 0; i < 2 * outer - 1; ++i)
      push(F0);
    for (int64_t i = 0; i < rank; ++i) {
      push(F1);
      push(F0);
    }
    for (int64_t i = 0; i < outer; ++i) {
      push(F1);
      push(B1);
    }
    while (next[B0] < problem.microbatches) {
      push(F0);
      push(B0);
      push(F1);
      push(B1);
    }
  }
  std::vector<int64_t> limits(static_cast<size_t>(problem.ranks),
                              2 * problem.ranks);
  return fillWithWeightGrads("zb-v", problem, {order}, *costs,
                             countingRoom(problem, std::move(limits)),
                             Aim::makespan, options.mostPending);
}

Result<Schedule> oneForwardOneBackwardV(const ScheduleProblem &problem,
                                        const GeneratorOptions &options) {
  MOE_RETURN_IF_ERROR(checkShape("1f1b-v", problem, Placement::v, 2));
  return fromPattern("1f1b-v", problem, options, fusedPatterns(problem.ranks));
}

Result<Schedule> vHalf(const ScheduleProblem &problem,
                       const GeneratorOptions &options) {
  MOE_RETURN_IF_ERROR(checkShape("v-half", problem, Placement::v, 2));
  std::vector<Pattern> patterns;
  int64_t ranks = problem.ranks, pause = ranks % 2 == 0 ? 3 : 0;
  for (int64_t rank = 0; rank < ranks; ++rank)
    patterns.push_back({2 * rank, 3 * ranks - rank - 2,
                        3 * ranks + pause + 2 * rank - 1,
                        6 * ranks + pause - rank - 2});
  return fromPattern("v-half", problem, options, patterns);
}

Result<Schedule> vMin(const ScheduleProblem &problem,
                      const GeneratorOptions &options) {
  MOE_RETURN_IF_ERROR(checkShape("v-min", problem, Placement::v, 2));
  std::vector<Pattern> patterns;
  int64_t ranks = problem.ranks, pause = ranks % 3 == 0 ? 2 : 0;
  for (int64_t rank = 0; rank < ranks; ++rank)
    patterns.push_back({rank, 2 * ranks - rank - 1, 2 * ranks + pause + rank,
                        4 * ranks + pause - rank - 1});
  return fromPattern("v-min", problem, options, patterns);
}

} // namespace moe::schedule
