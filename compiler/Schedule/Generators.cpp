#include "compiler/Schedule/Generators.h"

#include "compiler/Schedule/GeneratorSupport.h"
#include "compiler/Schedule/OrderImprovement.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

namespace moe::schedule {

Status checkShape(std::string_view schedule, const ScheduleProblem &problem,
                  Placement placement, int64_t stagesPerRank) {
  MOE_RETURN_IF_ERROR(problem.check());
  std::string start = "schedule " + std::string(schedule) + " needs ";
  if (problem.stagesPerRank != stagesPerRank)
    return Error{start +
                 (stagesPerRank == 1
                      ? "one stage per rank"
                      : std::to_string(stagesPerRank) + " stages per rank") +
                 ", asked for " + std::to_string(problem.stagesPerRank)};
  if (problem.placement != placement)
    return Error{start + "placement " + std::string(name(placement)) +
                 ", asked for " + std::string(name(problem.placement))};
  return {};
}

Result<Costs> costsOf(const ScheduleProblem &problem,
                      const GeneratorOptions &options) {
  Costs costs = options.costs;
  if (costs.stages.empty()) {
    costs = Costs::uniform(problem);
    costs.limitBytes = options.costs.limitBytes;
  }
  MOE_RETURN_IF_ERROR(costs.check(problem));
  return costs;
}

Schedule emptySchedule(std::string_view name, const ScheduleProblem &problem) {
  Schedule schedule{std::string(name), problem, {}};
  schedule.ranks.resize(static_cast<size_t>(problem.ranks));
  return schedule;
}

Room countingRoom(const ScheduleProblem &problem, std::vector<int64_t> limits) {
  return {std::vector<ActionHolding>(static_cast<size_t>(problem.stages())),
          std::move(limits)};
}

/// How many orders are filled by all rules.
static constexpr size_t kFilledByAllRules = 2;
/// The rule by which weight gradients run whenever a rank waits.
static constexpr size_t kEarlyRule = 2;

Result<Schedule> fillWithWeightGrads(std::string_view name,
                                     const ScheduleProblem &problem,
                                     const std::vector<Sequence> &orders,
                                     const Costs &costs, Room room, Aim aim,
                                     int64_t mostPending,
                                     int64_t improvementEffort) {
  std::array<FillRules, 3> rules;
  for (FillRules &rule : rules)
    rule.mostPending = mostPending;
  rules[1].catchesUp = true;
  rules[kEarlyRule].overrun = 1;
  WeightGradFiller filler(problem, costs, std::move(room.holdings),
                          std::move(room.limits));
  int64_t mostNs = std::numeric_limits<int64_t>::max();
  struct Candidate {
    int64_t first = 0, second = 0; ///< what decides, then the other time
    size_t order = 0, rule = 0;
    auto operator<=>(const Candidate &) const = default;
  };
  auto fill = [&](size_t order, size_t rule) {
    FillRules limited = rules[rule];
    limited.mostNs = mostNs;
    return filler.run(orders[order], limited);
  };
  std::vector<Candidate> candidates;
  auto consider = [&](size_t order, size_t rule) {
    if (!fill(order, rule))
      return;
    Candidate candidate{filler.makespanNs(), filler.spanNs(), order, rule};
    if (aim == Aim::span)
      std::swap(candidate.first, candidate.second);
    candidates.insert(
        std::upper_bound(candidates.begin(), candidates.end(), candidate),
        candidate);
  };
  auto made = [&]() -> std::optional<Schedule> {
    Schedule schedule{std::string(name), problem, filler.actions()};
    if (!verify(insertTransfers(schedule)))
      return std::nullopt;
    return schedule;
  };
  auto take = [&](const Candidate &candidate) -> std::optional<Schedule> {
    if (!fill(candidate.order, candidate.rule))
      return std::nullopt;
    return made();
  };
  // The other rules gain little: on the best orders.
  for (size_t order = 0; order < orders.size(); ++order) {
    consider(order, 0);
    if (aim == Aim::makespan && candidates.size() >= kFilledByAllRules)
      mostNs = candidates[kFilledByAllRules - 1].first;
  }
  std::vector<size_t> best;
  for (size_t i = 0; i < std::min(candidates.size(), kFilledByAllRules); ++i)
    best.push_back(candidates[i].order);
  for (size_t order : best)
    for (size_t rule = 1; rule < rules.size(); ++rule)
      consider(order, rule);
  mostNs = std::numeric_limits<int64_t>::max();
  // Twice: with its weight gradients, and with all as early as may be, which
  // lets the order itself change more.
  auto improve = [&](const Candidate &candidate) -> std::optional<Schedule> {
    std::optional<Schedule> best;
    int64_t bestNs = candidate.first;
    for (bool bare : {false, true}) {
      Sequence order = orders[candidate.order];
      ImprovementOptions options;
      options.rules = rules[bare ? kEarlyRule : candidate.rule];
      options.rules.keepsToBuffers = true;
      options.effort = improvementEffort / 2;
      if (bare)
        order = withoutWeightGrads(std::move(order));
      if (!improveOrder(filler, order, options) ||
          filler.makespanNs() >= bestNs)
        continue;
      if (std::optional<Schedule> schedule = made()) {
        best = std::move(schedule);
        bestNs = filler.makespanNs();
      }
    }
    return best;
  };
  if (!candidates.empty()) {
    if (improvementEffort > 0)
      if (std::optional<Schedule> schedule = improve(candidates.front()))
        return std::move(*schedule);
    if (std::optional<Schedule> schedule = take(candidates.front()))
      return std::move(*schedule);
  }
  // Rarely: all others, of which many were given up.
  candidates.clear();
  for (size_t order = 0; order < orders.size(); ++order)
    for (size_t rule = 0; rule < rules.size(); ++rule)
      consider(order, rule);
  for (const Candidate &candidate : candidates)
    if (std::optional<Schedule> schedule = take(candidate))
      return std::move(*schedule);
  return Error{"schedule " + std::string(name) +
               " needs more buffers than stages have for messages, or ranks "
               "have room, with these microbatches and costs"};
}

Result<Schedule> gpipe(const ScheduleProblem &problem) {
  MOE_RETURN_IF_ERROR(checkShape("gpipe", problem, Placement::loop, 1));
  Schedule schedule = emptySchedule("gpipe", problem);
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    actions.reserve(static_cast<size_t>(2 * problem.microbatches));
    for (Phase phase : {Phase::forward, Phase::backward})
      for (int64_t m = 0; m < problem.microbatches; ++m)
        actions.push_back({phase, rank, m, false});
  }
  return schedule;
}

Result<Schedule> oneForwardOneBackward(const ScheduleProblem &problem) {
  MOE_RETURN_IF_ERROR(checkShape("1f1b", problem, Placement::loop, 1));
  Schedule schedule = emptySchedule("1f1b", problem);
  for (int64_t rank = 0; rank < problem.ranks; ++rank) {
    auto &actions = schedule.ranks[static_cast<size_t>(rank)];
    actions.reserve(static_cast<size_t>(2 * problem.microbatches));
    int64_t warmUp = std::min(problem.microbatches, problem.ranks - rank - 1);
    for (int64_t m = 0; m < warmUp; ++m)
      actions.push_back({Phase::forward, rank, m, false});
    for (int64_t m = 0; m < problem.microbatches; ++m) {
      if (warmUp + m < problem.microbatches)
        actions.push_back({Phase::forward, rank, warmUp + m, false});
      actions.push_back({Phase::backward, rank, m, false});
    }
  }
  return schedule;
}

namespace {

using Generator = Result<Schedule> (*)(const ScheduleProblem &,
                                       const GeneratorOptions &);

struct Known {
  GeneratorInfo info;
  Generator make;
};

Result<Schedule> makeGpipe(const ScheduleProblem &problem,
                           const GeneratorOptions &) {
  return gpipe(problem);
}
Result<Schedule> make1f1b(const ScheduleProblem &problem,
                          const GeneratorOptions &) {
  return oneForwardOneBackward(problem);
}

constexpr std::array<Known, 14> kEntries = {{
    {{"gpipe", "all forwards, then all backwards", "arXiv 1811.06965",
      Placement::loop, 1},
     makeGpipe},
    {{"1f1b", "one forward, one backward after a warm-up (PipeDream-Flush)",
      "arXiv 2006.09503", Placement::loop, 1},
     make1f1b},
    {{"interleaved", "1f1b with several stages a rank", "arXiv 2104.04473",
      Placement::loop, 2},
     interleaved},
    {{"grouped-interleaved",
      "interleaved with fewer microbatches in flight, backward split",
      "arXiv 2503.01328", Placement::loop, 2, true},
     groupedInterleaved},
    {{"zb-h1", "zero bubble, handcrafted, the memory of 1f1b",
      "arXiv 2401.10241", Placement::loop, 1},
     zeroBubbleH1},
    {{"zb-h2", "zero bubble, handcrafted, twice the memory of 1f1b",
      "arXiv 2401.10241", Placement::loop, 1},
     zeroBubbleH2},
    {{"zb-1p", "zero bubble from costs, the memory of 1f1b", "arXiv 2401.10241",
      Placement::loop, 1, true},
     zeroBubble1p},
    {{"zb-2p", "zero bubble from costs, twice the memory of 1f1b",
      "arXiv 2401.10241", Placement::loop, 1, true},
     zeroBubble2p},
    {{"zb-v", "zero bubble on stages in a V, the memory of 1f1b",
      "arXiv 2401.10241", Placement::v, 2, true},
     zeroBubbleV},
    {{"1f1b-v", "1f1b on stages in a V, two thirds of the memory",
      "arXiv 2405.15362", Placement::v, 2, true},
     oneForwardOneBackwardV},
    {{"v-half", "stages in a V, half the memory of 1f1b", "arXiv 2405.15362",
      Placement::v, 2, true},
     vHalf},
    {{"v-min", "stages in a V, a third of the memory of 1f1b",
      "arXiv 2405.15362", Placement::v, 2, true},
     vMin},
    {{"dualpipe", "two copies of the model in opposite directions, overlapped",
      "arXiv 2412.19437", Placement::bidirectional, 2},
     dualPipe},
    {{"dualpipe-v", "dualpipe cut in half: one copy in a V, overlapped",
      "Sea AI Lab 2025 (cut-in-half), DeepSeek DualPipe", Placement::v, 2},
     dualPipeV},
}};

constexpr auto kInfos = [] {
  std::array<GeneratorInfo, kEntries.size()> infos;
  for (size_t i = 0; i < infos.size(); ++i)
    infos[i] = kEntries[i].info;
  return infos;
}();

} // namespace

std::span<const GeneratorInfo> generators() { return kInfos; }

bool usesCosts(std::string_view name) {
  return std::any_of(kInfos.begin(), kInfos.end(),
                     [&](const GeneratorInfo &info) {
                       return info.name == name && info.usesCosts;
                     });
}

Result<Schedule> generate(std::string_view name, const ScheduleProblem &problem,
                          const GeneratorOptions &options) {
  std::string names;
  for (const Known &entry : kEntries) {
    if (entry.info.name == name)
      return entry.make(problem, entry.info.usesCosts
                                     ? options
                                     : GeneratorOptions{{}, options.groupSize});
    names += (names.empty() ? "" : ", ") + std::string(entry.info.name);
  }
  return Error{"unknown schedule '" + std::string(name) + "'; known: " + names};
}

} // namespace moe::schedule
