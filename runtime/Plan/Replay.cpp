//===- Replay.cpp - what a schedule does to an arena ----------------------===//

#include "runtime/Plan/Replay.h"
#include "runtime/Plan/Execution.h"
#include "runtime/Plan/PhaseOrder.h"

#include <algorithm>
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
  /// The microbatch that one program of a step runs for. Errors name the keys
  /// of the step that say so.
  struct Run {
    int64_t stage;
    Phase phase;
    int64_t microbatch;
    int64_t slot;
    const char *phaseKey;
    const char *slotKey;
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

  void notePeak(const ByteCounts &moment, int64_t step, const Op *op) {
    int64_t total = moment.total();
    if (result.peakStep != -1 && total <= peakTotal)
      return;
    peakTotal = total;
    result.peak = moment;
    result.peakStep = step;
    result.peakOp = op ? op->name : "";
  }

  /// A stage and microbatch keep their slot: one place for each instance, so
  /// that it cannot live twice.
  Status noteSlot(int64_t index, int64_t stage, int64_t microbatch,
                  int64_t slot, const char *key) {
    if (slot == -1)
      return {};
    auto [known, isNew] = slots.emplace(std::pair{stage, microbatch}, slot);
    if (!isNew && known->second != slot)
      return fail(index, key,
                  "is " + std::to_string(slot) + ", but microbatch " +
                      std::to_string(microbatch) + " of stage " +
                      quoted(plan.stages[stage].name) + " is in slot " +
                      std::to_string(known->second));
    return {};
  }

  Status walk(int64_t index) {
    const Step &step = rank.steps[index];
    if (step.kind != StepKind::load && step.kind != StepKind::receive)
      notePeak(live, index, nullptr);
    MOE_RETURN_IF_ERROR(
        noteSlot(index, step.stage, step.microbatch, step.slot, "slot"));
    switch (step.kind) {
    case StepKind::load:
    case StepKind::receive:
      return allocate(index, step);
    case StepKind::run:
    case StepKind::overlap:
      return execute(index, step);
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

  /// Stage, microbatch, value.
  using Arrival = std::tuple<int64_t, int64_t, ValueIndex>;
  static Arrival arrivalOf(const Step &step) {
    return {step.stage, step.microbatch, step.value};
  }

  using SendKey = std::tuple<int64_t, int64_t, int64_t, int64_t>;
  static SendKey key(const Step &step) {
    return {step.stage, step.value, step.microbatch, step.peer};
  }

  Status allocate(int64_t index, const Step &step) {
    const Stage &stage = plan.stages[step.stage];
    const Value &value = stage.values[step.value];
    int64_t begin = numberedPlaceOf(stage, value, step.slot);
    int64_t end = begin + value.bytes;
    if (const auto *other = ranges.firstOverlap(begin, end))
      return fail(index, "value", overlapReason(instanceOf(step), *other));
    ranges.insert(begin, end, instanceOf(step));
    live[value.memoryClass] += value.bytes;
    notePeak(live, index, nullptr);
    if (step.kind == StepKind::receive)
      arriving.insert(arrivalOf(step));
    return {};
  }

  /// The bytes of a receive are there when a program has begun with them.
  Status requireArrived(int64_t index, const Step &step) const {
    if (arriving.count(arrivalOf(step)) == 0)
      return {};
    return fail(index, "value",
                describe(instanceOf(step)) +
                    " is still being received: no program that has it among "
                    "its inputs has run since");
  }

  std::string overlapReason(const Instance &instance,
                            const LiveRanges::Map::value_type &other) const {
    if (other.second.owner == instance)
      return describe(instance) + " is live already";
    return (instance.value == -1 ? std::string("the program")
                                 : describe(instance)) +
           " overlaps " + describe(other.second.owner) + ", which lives at " +
           describeBytes(other.first, other.second.end);
  }

  Status requireLive(int64_t index, int64_t stageIndex, int64_t microbatch,
                     int64_t slot, ValueIndex value, std::string_view field) {
    const Stage &stage = plan.stages[stageIndex];
    Instance instance{stageIndex, value, microbatch};
    if (ranges.holds(numberedPlaceOf(stage, stage.values[value], slot),
                     instance))
      return {};
    std::string where = stage.values[value].placement == Placement::slot
                            ? " in slot " + std::to_string(slot)
                            : std::string();
    return fail(index, field, describe(instance) + " is not live" + where);
  }

  Status requireLive(int64_t index, const Step &step) {
    return requireLive(index, step.stage, step.microbatch, step.slot,
                       step.value, "value");
  }

  Status post(int64_t index, const Step &step) {
    MOE_RETURN_IF_ERROR(requireLive(index, step));
    MOE_RETURN_IF_ERROR(requireArrived(index, step));
    if (!sent.insert(key(step)).second)
      return fail(index, "value",
                  describe(instanceOf(step)) +
                      " was sent to that peer and not waited for");
    return {};
  }

  /// A value that a peer may still be reading must stay.
  Status requireUnsent(int64_t index, const Instance &instance,
                       std::string_view field) const {
    auto next = sent.lower_bound(
        {instance.stage, instance.value, instance.microbatch, 0});
    if (next == sent.end() || std::get<0>(*next) != instance.stage ||
        std::get<1>(*next) != instance.value ||
        std::get<2>(*next) != instance.microbatch)
      return {};
    return fail(index, field,
                describe(instance) +
                    " is freed while it is being sent to rank " +
                    std::to_string(std::get<3>(*next)));
  }

  Status free(int64_t index, const Step &step) {
    MOE_RETURN_IF_ERROR(requireLive(index, step));
    MOE_RETURN_IF_ERROR(requireArrived(index, step));
    MOE_RETURN_IF_ERROR(requireUnsent(index, instanceOf(step), "value"));
    const Stage &stage = plan.stages[step.stage];
    const Value &value = stage.values[step.value];
    ranges.erase(numberedPlaceOf(stage, value, step.slot));
    live[value.memoryClass] -= value.bytes;
    return {};
  }

  /// What must hold before any program of the step begins.
  Status checkRun(int64_t index, const Run &run,
                  const Execution::Member &member) {
    if (isUpdated || (isReduced && run.phase != Phase::forward))
      return fail(index, "kind",
                  isUpdated ? "nothing runs after the update"
                            : "gradients change after they were reduced");
    if (std::optional<std::string> reason =
            phases.whyNot(run.stage, run.phase, run.microbatch))
      return fail(index, run.phaseKey, *reason);
    if (member.account.usesSlot && run.slot == -1)
      return fail(index, run.slotKey,
                  "must not be -1, because the program uses values that lie "
                  "in a slot");
    for (ValueIndex input : member.account.inputs)
      MOE_RETURN_IF_ERROR(requireLive(index, run.stage, run.microbatch,
                                      run.slot, input, run.phaseKey));
    for (ValueIndex freed : member.account.freed)
      MOE_RETURN_IF_ERROR(requireUnsent(
          index, {run.stage, freed, run.microbatch}, run.phaseKey));
    return {};
  }

  Status execute(int64_t index, const Step &step) {
    std::vector<Run> runs = {
        {step.stage, step.phase, step.microbatch, step.slot, "phase", "slot"}};
    Execution *execution = nullptr;
    if (step.kind == StepKind::overlap) {
      const Overlap::Member &second = rank.overlaps[step.overlap].members[1];
      runs.push_back({second.stage, second.phase, step.secondMicrobatch,
                      step.secondSlot, "overlap", "second_slot"});
      if (second.stage == step.stage &&
          step.secondMicrobatch == step.microbatch)
        return fail(index, "second_microbatch",
                    "programs of one stage overlap for different microbatches "
                    "only");
      MOE_RETURN_IF_ERROR(noteSlot(index, second.stage, step.secondMicrobatch,
                                   step.secondSlot, "second_slot"));
    }
    MOE_RETURN_IF_ERROR(lookup(step, execution));
    for (size_t m = 0; m < runs.size(); ++m)
      MOE_RETURN_IF_ERROR(checkRun(index, runs[m], execution->members()[m]));
    MOE_RETURN_IF_ERROR(execution->place({step.slot, step.secondSlot}));
    MOE_RETURN_IF_ERROR(checkFree(index, step, runs, *execution));
    if (int64_t at = execution->peakPosition(); at != -1) {
      ByteCounts moment = live;
      moment += execution->live()[at];
      notePeak(moment, index, &execution->op(at));
      result.hostPeakBytes =
          std::max(result.hostPeakBytes,
                   live[MemoryClass::host] + execution->hostPeakBytes());
    }
    for (size_t m = 0; m < runs.size(); ++m)
      for (ValueIndex freed : execution->members()[m].account.freed)
        ranges.erase(beginOf(runs[m], freed));
    for (size_t m = 0; m < runs.size(); ++m)
      finishRun(runs[m], execution->members()[m].account);
    return {};
  }

  int64_t beginOf(const Run &run, ValueIndex value) const {
    const Stage &stage = plan.stages[run.stage];
    return numberedPlaceOf(stage, stage.values[value], run.slot);
  }

  /// Inputs were placed together with what the programs allocate; all else
  /// that is live must keep out of its way.
  Status checkFree(int64_t index, const Step &step,
                   const std::vector<Run> &runs,
                   const Execution &execution) const {
    auto isInput = [&](const Instance &owner) {
      for (size_t m = 0; m < runs.size(); ++m)
        if (owner.stage == runs[m].stage &&
            owner.microbatch == runs[m].microbatch &&
            execution.members()[m].account.isInput[owner.value])
          return true;
      return false;
    };
    for (const Extent &extent :
         execution.allocated({step.slot, step.secondSlot}))
      for (int64_t begin = extent.begin; begin < extent.end;) {
        const auto *other = ranges.firstOverlap(begin, extent.end);
        if (!other)
          break;
        if (!isInput(other->second.owner))
          return fail(index, runs[0].phaseKey,
                      overlapReason({runs[0].stage, -1, -1}, *other));
        begin = other->second.end;
      }
    return {};
  }

  void finishRun(const Run &run, const ProgramAccount &account) {
    for (ValueIndex made : account.made) {
      int64_t begin = beginOf(run, made);
      ranges.insert(begin, begin + plan.stages[run.stage].values[made].bytes,
                    {run.stage, made, run.microbatch});
    }
    live += account.change;
    phases.run(run.stage, run.phase, run.microbatch);
    auto next = arriving.lower_bound({run.stage, run.microbatch, 0});
    while (next != arriving.end() && std::get<0>(*next) == run.stage &&
           std::get<1>(*next) == run.microbatch)
      next = account.isInput[std::get<2>(*next)] ? arriving.erase(next)
                                                 : std::next(next);
  }

  Status lookup(const Step &step, Execution *&execution) {
    bool isOverlap = step.kind == StepKind::overlap;
    // Stages are not negative: overlaps have keys of their own.
    std::pair<int64_t, int64_t> key =
        isOverlap ? std::pair(int64_t(-1), step.overlap)
                  : std::pair(step.stage, static_cast<int64_t>(step.phase));
    auto found = executions.find(key);
    if (found == executions.end()) {
      Result<Execution> made =
          isOverlap ? Execution::ofOverlap(plan, rankIndex, step.overlap)
                    : Execution::ofProgram(
                          plan, step.stage,
                          programIndex(plan.stages[step.stage], step.phase));
      if (!made)
        return made.error();
      found = executions.emplace(key, std::move(*made)).first;
    }
    execution = &found->second;
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
    for (int64_t stage : rank.stages)
      if (std::optional<std::string> reason =
              phases.whyIncomplete(plan.stages[stage], stage))
        return errorAt(steps, *reason);
    return {};
  }

  const Plan &plan;
  int64_t rankIndex;
  const Rank &rank;
  Replay result;
  ByteCounts live;
  int64_t peakTotal = 0;
  LiveRanges ranges;
  std::map<std::pair<int64_t, int64_t>, Execution> executions;
  std::map<std::pair<int64_t, int64_t>, int64_t> slots; ///< of microbatches
  PhaseOrder phases;
  std::set<SendKey> sent;     ///< posted and not waited for
  std::set<Arrival> arriving; ///< received and not yet used
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
  Result<Execution> execution = Execution::ofProgram(plan, stage, program);
  if (!execution)
    return execution.error();
  return execution->live();
}

Result<std::vector<ByteCounts>> replayOverlap(const Plan &plan, int64_t rank,
                                              int64_t overlap) {
  MOE_RETURN_IF_ERROR(checkStructureOfRank(plan, rank));
  if (overlap < 0 ||
      overlap >= static_cast<int64_t>(plan.ranks[rank].overlaps.size()))
    return Error{"rank " + std::to_string(rank) + " has no overlap " +
                 std::to_string(overlap)};
  Result<Execution> execution = Execution::ofOverlap(plan, rank, overlap);
  if (!execution)
    return execution.error();
  return execution->live();
}

} // namespace moe::plan
