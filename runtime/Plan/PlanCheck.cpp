//===- PlanCheck.cpp - the claims of a plan against its replay ------------===//

#include "runtime/Plan/Execution.h"
#include "runtime/Plan/Fields.h"

#include <algorithm>

namespace moe::plan {
namespace {

/// Compares claimed counts with replayed ones, class by class.
Status compare(const std::string &path, const ByteCounts &claimed,
               const ByteCounts &replayed) {
  for (size_t i = 0; i < kMemoryClassCount; ++i)
    if (claimed.bytes[i] != replayed.bytes[i])
      return errorAt(path, "claims " + std::to_string(claimed.bytes[i]) +
                               " bytes of class " +
                               quoted(name(static_cast<MemoryClass>(i))) +
                               ", the replay has " +
                               std::to_string(replayed.bytes[i]));
  return {};
}

Status checkPrograms(const Plan &plan) {
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const std::vector<Program> &programs = plan.stages[s].programs;
    for (size_t p = 0; p < programs.size(); ++p) {
      Result<ProgramAccount> account = accountProgram(plan, s, p);
      if (!account)
        return account.error();
      std::string ops =
          element(element("$.stages", s) + ".programs", p) + ".ops";
      for (size_t o = 0; o < programs[p].ops.size(); ++o)
        if (programs[p].ops[o].live != account->live[o])
          return compare(element(ops, o) + ".live", programs[p].ops[o].live,
                         account->live[o]);
    }
  }
  return {};
}

Status checkOverlaps(const Plan &plan, int64_t rank) {
  const std::vector<Overlap> &overlaps = plan.ranks[rank].overlaps;
  for (size_t i = 0; i < overlaps.size(); ++i) {
    Result<Execution> execution = Execution::ofOverlap(plan, rank, i);
    if (!execution)
      return execution.error();
    std::string path =
        element(element("$.ranks", rank) + ".overlaps", i) + ".live";
    const std::vector<ByteCounts> &live = execution->live();
    if (overlaps[i].live.size() != live.size())
      return errorAt(path, "must have one element for each of the " +
                               std::to_string(live.size()) +
                               " ops in order, has " +
                               std::to_string(overlaps[i].live.size()));
    for (size_t p = 0; p < live.size(); ++p)
      MOE_RETURN_IF_ERROR(
          compare(element(path, p), overlaps[i].live[p], live[p]));
  }
  return {};
}

/// Replaces `largest` by `moment` when its total is larger.
void keepLarger(std::optional<ByteCounts> &largest, const ByteCounts &moment) {
  if (!largest || moment.total() > largest->total())
    largest = moment;
}

/// The bytes that live at the moment that a rank names as its peak; nothing
/// when there is no such moment. An overlap may have two ops of that name, in
/// two stages: the one with more.
std::optional<ByteCounts> liveAt(const Plan &plan, const Rank &rank,
                                 const Replay &replayed) {
  const Step &step = rank.steps[rank.peakStep];
  ByteCounts live = replayed.stepLive[rank.peakStep];
  if (rank.peakOp.empty()) {
    if (step.kind == StepKind::load || step.kind == StepKind::receive) {
      const Value &value = plan.stages[step.stage].values[step.value];
      live[value.memoryClass] += value.bytes;
    }
    return live;
  }
  // What ops and overlaps claim was compared with the replay before.
  std::optional<ByteCounts> largest;
  auto note = [&](const Op &op, const ByteCounts &relative) {
    if (op.name != rank.peakOp)
      return;
    ByteCounts moment = live;
    moment += relative;
    keepLarger(largest, moment);
  };
  if (step.kind == StepKind::run)
    for (const Op &op : programOf(plan, step.stage, step.phase).ops)
      note(op, op.live);
  if (step.kind == StepKind::overlap) {
    const Overlap &overlap = rank.overlaps[step.overlap];
    std::array<size_t, 2> next{};
    for (size_t i = 0; i < overlap.order.size(); ++i) {
      int64_t m = overlap.order[i];
      const auto &[stage, phase] = overlap.members[m];
      note(programOf(plan, stage, phase).ops[next[m]++], overlap.live[i]);
    }
  }
  return largest;
}

/// Any moment with the largest total will do as the place of the peak.
Status checkPeak(const Plan &plan, const Rank &rank, const Replay &replayed,
                 const std::string &path) {
  std::string found = "the replay has its peak of " +
                      std::to_string(replayed.peak.total()) +
                      " bytes at step " + std::to_string(replayed.peakStep) +
                      ", op " + quoted(replayed.peakOp);
  if (rank.peak.total() != replayed.peak.total())
    return errorAt(path + ".peak", "claims " +
                                       std::to_string(rank.peak.total()) +
                                       " bytes, " + found);
  if (rank.peakStep == -1) {
    if (!rank.steps.empty())
      return errorAt(path + ".peak_step",
                     "is only -1 for a rank without steps; " + found);
    if (!rank.peakOp.empty())
      return errorAt(path + ".peak_op", "must be empty without a step");
    return compare(path + ".peak", rank.peak, replayed.peak);
  }
  std::optional<ByteCounts> live = liveAt(plan, rank, replayed);
  if (!live)
    return errorAt(path + ".peak_op", "step " + std::to_string(rank.peakStep) +
                                          " has no op " + quoted(rank.peakOp) +
                                          "; " + found);
  if (live->total() != replayed.peak.total())
    return errorAt(path + ".peak_step", std::to_string(live->total()) +
                                            " bytes are live there; " + found);
  return compare(path + ".peak", rank.peak, *live);
}

/// Claims can be compared and added up: none is negative or huge.
Status checkRanges(const Rank &rank, const std::string &path) {
  Fields fields(path);
  for (auto [key, counts] : {std::pair{"persistent", &rank.persistent},
                             std::pair{"peak", &rank.peak}})
    for (size_t c = 0; c < kMemoryClassCount; ++c)
      MOE_RETURN_IF_ERROR(
          fields.range(std::string(key) + "." +
                           std::string(name(static_cast<MemoryClass>(c))),
                       counts->bytes[c], 0, kLargest));
  MOE_RETURN_IF_ERROR(fields.index(
      "peak_step", rank.peakStep, rank.steps.size(), "the rank's steps", true));
  for (size_t i = 0; i < rank.steps.size(); ++i)
    for (size_t c = 0; c < kMemoryClassCount; ++c)
      if (int64_t bytes = rank.steps[i].live.bytes[c];
          bytes < 0 || bytes > kLargest)
        return fields.range(element(element("steps", i) + ".live", c), bytes, 0,
                            kLargest);
  return {};
}

Status checkRank(const Plan &plan, int64_t index) {
  Result<Replay> replayed = replayChecked(plan, index);
  if (!replayed)
    return replayed.error();
  const Rank &rank = plan.ranks[index];
  std::string path = element("$.ranks", index);
  MOE_RETURN_IF_ERROR(
      compare(path + ".persistent", rank.persistent, replayed->persistent));
  for (size_t i = 0; i < rank.steps.size(); ++i)
    if (rank.steps[i].live != replayed->stepLive[i])
      return compare(element(path + ".steps", i) + ".live", rank.steps[i].live,
                     replayed->stepLive[i]);
  if (rank.hostPeakBytes != replayed->hostPeakBytes)
    return errorAt(path + ".host_peak_bytes",
                   "claims " + std::to_string(rank.hostPeakBytes) +
                       " bytes, the replay has " +
                       std::to_string(replayed->hostPeakBytes));
  return checkPeak(plan, rank, *replayed, path);
}

Status checkFits(const Plan &plan) {
  bool fits = true;
  for (const Rank &rank : plan.ranks)
    fits &= fitsMachine(plan.machine, rank);
  if (plan.prediction.fits == fits)
    return {};
  return errorAt("$.prediction.fits",
                 fits ? "claims false, but arena and reserve of every rank "
                        "are within the budget, and host arenas within the "
                        "host's memory"
                      : "claims true, but arena and reserve of some rank "
                        "exceed the budget, or its host arena the host's "
                        "memory");
}

} // namespace

Status check(const Plan &plan) {
  MOE_RETURN_IF_ERROR(checkStructure(plan));
  return checkMeaning(plan);
}

/// All of checkMeaning() but, unless `replays`, what replays of ranks say.
static Status checkMeaning(const Plan &plan, bool replays) {
  MOE_RETURN_IF_ERROR(checkPrograms(plan));
  for (size_t i = 0; i < plan.ranks.size(); ++i) {
    auto rank = static_cast<int64_t>(i);
    MOE_RETURN_IF_ERROR(checkOverlaps(plan, rank));
    MOE_RETURN_IF_ERROR(checkRanges(plan.ranks[i], element("$.ranks", rank)));
    if (replays)
      MOE_RETURN_IF_ERROR(checkRank(plan, rank));
  }
  MOE_RETURN_IF_ERROR(checkExchange(plan));
  return checkFits(plan);
}

Status checkMeaning(const Plan &plan) { return checkMeaning(plan, true); }

Status checkReplayed(const Plan &plan) {
  MOE_RETURN_IF_ERROR(checkStructure(plan));
  return checkMeaning(plan, false);
}

} // namespace moe::plan
