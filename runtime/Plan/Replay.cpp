//===- Replay.cpp - what a schedule does to an arena ----------------------===//

#include "runtime/Plan/Replay.h"
#include "runtime/Plan/ProgramReplay.h"

#include <set>
#include <tuple>

namespace moe::plan {
namespace {

/// Walks the steps of one rank.
class Walker {
public:
  Walker(const Plan &plan, int64_t rankIndex)
      : plan(plan), rankIndex(rankIndex), rank(plan.ranks[rankIndex]) {}

  Result<Replay> run() {
    std::vector<PersistentBuffer> buffers;
    for (int64_t stage : rank.stages)
      appendPersistentBuffers(plan, stage, buffers);
    for (const PersistentBuffer &buffer : buffers)
      live[buffer.memoryClass] += buffer.end - buffer.begin;
    result.persistent = live;
    result.peak = live;
    result.stepLive.reserve(rank.steps.size());
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      result.stepLive.push_back(live);
      MOE_RETURN_IF_ERROR(walk(static_cast<int64_t>(i)));
    }
    MOE_RETURN_IF_ERROR(checkEnd());
    return std::move(result);
  }

private:
  /// A program with its account and, per slot, the bytes that it allocates.
  struct Known {
    int64_t program;
    ProgramAccount account;
    std::map<int64_t, std::vector<Extent>> extents;
    int64_t runs = 0;
  };

  Error fail(int64_t step, std::string_view key,
             const std::string &reason) const {
    std::string path = element(element("$.ranks", rankIndex) + ".steps", step);
    if (!key.empty())
      path += "." + std::string(key);
    return errorAt(path, reason);
  }

  std::string describe(const Instance &instance) const {
    const Stage &stage = plan.stages[instance.stage];
    return "value " + quoted(stage.values[instance.value].name) + " of stage " +
           quoted(stage.name) + ", microbatch " +
           std::to_string(instance.microbatch);
  }

  void notePeak(const ByteCounts &moment, int64_t step, int64_t stage,
                int64_t program, int64_t op) {
    int64_t total = moment.total();
    if (result.peakStep != -1 && total <= peakTotal)
      return;
    peakTotal = total;
    result.peak = moment;
    result.peakStep = step;
    result.peakOp =
        op == -1 ? "" : plan.stages[stage].programs[program].ops[op].name;
  }

  Status walk(int64_t index) {
    const Step &step = rank.steps[index];
    if (step.kind != StepKind::load && step.kind != StepKind::receive)
      notePeak(live, index, -1, -1, -1);
    if (step.slot != -1) {
      // One place for each instance: it cannot live twice.
      auto [known, isNew] =
          slots.emplace(std::pair{step.stage, step.microbatch}, step.slot);
      if (!isNew && known->second != step.slot)
        return fail(index, "slot",
                    "is " + std::to_string(step.slot) + ", but microbatch " +
                        std::to_string(step.microbatch) + " of stage " +
                        quoted(plan.stages[step.stage].name) + " is in slot " +
                        std::to_string(known->second));
    }
    switch (step.kind) {
    case StepKind::load:
    case StepKind::receive:
      return allocate(index, step);
    case StepKind::run:
      return runProgram(index, step);
    case StepKind::send:
      return post(index, step);
    case StepKind::wait_send:
      if (sent.erase(key(step)) == 0)
        return fail(index, "value",
                    describe(instanceOf(step)) +
                        " was not sent to that peer before");
      return free(index, step);
    case StepKind::collect_loss:
      return free(index, step);
    case StepKind::reduce_gradients:
      if (isReduced || isUpdated)
        return fail(index, "kind",
                    "gradients are reduced once, and before the update");
      isReduced = true;
      return {};
    case StepKind::update:
      if (isUpdated)
        return fail(index, "kind", "there is already an update");
      isUpdated = true;
      return {};
    }
    return fail(index, "kind", "unknown kind");
  }

  static Instance instanceOf(const Step &step) {
    return {step.stage, step.value, step.microbatch};
  }

  using SendKey = std::tuple<int64_t, int64_t, int64_t, int64_t>;
  static SendKey key(const Step &step) {
    return {step.stage, step.value, step.microbatch, step.peer};
  }

  Status allocate(int64_t index, const Step &step) {
    const Stage &stage = plan.stages[step.stage];
    const Value &value = stage.values[step.value];
    int64_t begin = placeOf(stage, value, step.slot);
    int64_t end = begin + value.bytes;
    if (const auto *other = ranges.firstOverlap(begin, end))
      return fail(index, "value", overlapReason(instanceOf(step), *other));
    ranges.insert(begin, end, instanceOf(step));
    live[value.memoryClass] += value.bytes;
    notePeak(live, index, -1, -1, -1);
    return {};
  }

  std::string overlapReason(const Instance &instance,
                            const LiveRanges::Map::value_type &other) const {
    if (other.second.owner == instance)
      return describe(instance) + " is live already";
    return (instance.value == -1 ? std::string("the program")
                                 : describe(instance)) +
           " overlaps " + describe(other.second.owner) +
           ", which lives at bytes " + std::to_string(other.first) + " to " +
           std::to_string(other.second.end);
  }

  Status requireLive(int64_t index, const Step &step, ValueIndex value,
                     std::string_view field) const {
    const Stage &stage = plan.stages[step.stage];
    Instance instance{step.stage, value, step.microbatch};
    if (ranges.holds(placeOf(stage, stage.values[value], step.slot), instance))
      return {};
    std::string where = stage.values[value].placement == Placement::slot
                            ? " in slot " + std::to_string(step.slot)
                            : std::string();
    return fail(index, field, describe(instance) + " is not live" + where);
  }

  Status post(int64_t index, const Step &step) {
    MOE_RETURN_IF_ERROR(requireLive(index, step, step.value, "value"));
    if (!sent.insert(key(step)).second)
      return fail(index, "value",
                  describe(instanceOf(step)) +
                      " was sent to that peer and not waited for");
    return {};
  }

  /// A value that a peer may still be reading must stay.
  Status requireUnsent(int64_t index, const Step &step, ValueIndex value,
                       std::string_view field) const {
    auto next = sent.lower_bound({step.stage, value, step.microbatch, 0});
    if (next == sent.end() || std::get<0>(*next) != step.stage ||
        std::get<1>(*next) != value || std::get<2>(*next) != step.microbatch)
      return {};
    return fail(index, field,
                describe({step.stage, value, step.microbatch}) +
                    " is freed while it is being sent to rank " +
                    std::to_string(std::get<3>(*next)));
  }

  Status free(int64_t index, const Step &step) {
    MOE_RETURN_IF_ERROR(requireLive(index, step, step.value, "value"));
    MOE_RETURN_IF_ERROR(requireUnsent(index, step, step.value, "value"));
    const Stage &stage = plan.stages[step.stage];
    const Value &value = stage.values[step.value];
    ranges.erase(placeOf(stage, value, step.slot));
    live[value.memoryClass] -= value.bytes;
    return {};
  }

  Status runProgram(int64_t index, const Step &step) {
    if (isUpdated || (isReduced && step.phase != Phase::forward))
      return fail(index, "kind",
                  isUpdated ? "nothing runs after the update"
                            : "gradients change after they were reduced");
    if (!ran.insert({step.stage, step.microbatch, step.phase}).second)
      return fail(index, "phase",
                  "the " + std::string(name(step.phase)) +
                      " program has run for microbatch " +
                      std::to_string(step.microbatch) + " already");
    Known *known = nullptr;
    MOE_RETURN_IF_ERROR(lookup(step, known));
    const ProgramAccount &account = known->account;
    const Stage &stage = plan.stages[step.stage];
    if (account.usesSlot && step.slot == -1)
      return fail(index, "slot",
                  "must not be -1, because the program uses values that lie "
                  "in a slot");
    for (ValueIndex input : stage.programs[known->program].inputs)
      MOE_RETURN_IF_ERROR(requireLive(index, step, input, "phase"));

    auto extents = known->extents.find(step.slot);
    if (extents == known->extents.end()) {
      Result<std::vector<Extent>> placed =
          placeProgram(plan, step.stage, known->program, step.slot);
      if (!placed)
        return placed.error();
      extents = known->extents.emplace(step.slot, std::move(*placed)).first;
    }
    // Inputs were placed together with what the program allocates; all else
    // that is live must keep out of its way.
    for (const Extent &extent : extents->second)
      for (int64_t at = extent.begin; at < extent.end;) {
        const auto *other = ranges.firstOverlap(at, extent.end);
        if (!other)
          break;
        const Instance &owner = other->second.owner;
        if (owner.stage != step.stage || owner.microbatch != step.microbatch ||
            !account.isInput[owner.value])
          return fail(index, "phase",
                      overlapReason({step.stage, -1, step.microbatch}, *other));
        at = other->second.end;
      }

    if (account.peakOp != -1) {
      ByteCounts moment = live;
      moment += account.live[account.peakOp];
      notePeak(moment, index, step.stage, known->program, account.peakOp);
    }
    for (ValueIndex value : account.freed) {
      MOE_RETURN_IF_ERROR(requireUnsent(index, step, value, "phase"));
      ranges.erase(placeOf(stage, stage.values[value], step.slot));
    }
    for (ValueIndex made : account.made) {
      const Value &value = stage.values[made];
      int64_t begin = placeOf(stage, value, step.slot);
      ranges.insert(begin, begin + value.bytes,
                    {step.stage, made, step.microbatch});
    }
    live += account.change;
    ++known->runs;
    return {};
  }

  Status lookup(const Step &step, Known *&known) {
    auto found = programs.find({step.stage, step.phase});
    if (found != programs.end()) {
      known = &found->second;
      return {};
    }
    const std::vector<Program> &list = plan.stages[step.stage].programs;
    int64_t program = 0;
    while (list[program].phase != step.phase)
      ++program;
    Result<ProgramAccount> account = accountProgram(plan, step.stage, program);
    if (!account)
      return account.error();
    known = &programs
                 .emplace(std::pair{step.stage, step.phase},
                          Known{program, std::move(*account), {}})
                 .first->second;
    return {};
  }

  Status checkEnd() const {
    std::string steps = element("$.ranks", rankIndex) + ".steps";
    if (!sent.empty()) {
      auto [stage, value, microbatch, peer] = *sent.begin();
      return errorAt(steps, "leak: no wait_send for " +
                                describe({stage, value, microbatch}) +
                                ", sent to rank " + std::to_string(peer));
    }
    if (!ranges.all().empty())
      return errorAt(steps,
                     "leak: " + describe(ranges.all().begin()->second.owner) +
                         " is live after the last step");
    for (int64_t index : rank.stages) {
      const Stage &stage = plan.stages[index];
      for (const Program &program : stage.programs) {
        auto found = programs.find({index, program.phase});
        int64_t runs = found == programs.end() ? 0 : found->second.runs;
        if (runs != plan.layout.microbatches)
          return errorAt(steps, "the " + std::string(name(program.phase)) +
                                    " program of stage " + quoted(stage.name) +
                                    " runs for " + std::to_string(runs) +
                                    " of " +
                                    std::to_string(plan.layout.microbatches) +
                                    " microbatches");
      }
    }
    return {};
  }

  const Plan &plan;
  int64_t rankIndex;
  const Rank &rank;
  Replay result;
  ByteCounts live;
  int64_t peakTotal = 0;
  LiveRanges ranges;
  std::map<std::pair<int64_t, Phase>, Known> programs;
  std::map<std::pair<int64_t, int64_t>, int64_t> slots; ///< of microbatches
  std::set<SendKey> sent; ///< posted and not waited for
  std::set<std::tuple<int64_t, int64_t, Phase>> ran;
  bool isReduced = false;
  bool isUpdated = false;
};

} // namespace

Result<Replay> replayChecked(const Plan &plan, int64_t rank) {
  return Walker(plan, rank).run();
}

Result<Replay> replay(const Plan &plan, int64_t rank) {
  MOE_RETURN_IF_ERROR(checkStructureOfRank(plan, rank));
  return replayChecked(plan, rank);
}

Result<std::vector<ByteCounts>> replayProgram(const Plan &plan, int64_t stage,
                                              int64_t program) {
  if (stage < 0 || stage >= static_cast<int64_t>(plan.stages.size()) ||
      program < 0 ||
      program >= static_cast<int64_t>(plan.stages[stage].programs.size()))
    return Error{"the plan has no program " + std::to_string(program) +
                 " of stage " + std::to_string(stage)};
  MOE_RETURN_IF_ERROR(checkStructureOfRank(plan, plan.stages[stage].rank));
  Result<ProgramAccount> account = accountProgram(plan, stage, program);
  if (!account)
    return account.error();
  return std::move(account->live);
}

} // namespace moe::plan
