//===- RankStructure.cpp - fields and references of ranks and steps -------===//

#include "runtime/Plan/Fields.h"
#include "support/TokenRole.h"

namespace moe::plan {
namespace {

const Program *findProgram(const Stage &stage, Phase phase) {
  for (const Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

/// Fields that a kind of step has no use for keep their defaults, because they
/// are not written.
Status checkUnused(const Step &step, const Fields &fields) {
  auto unused = [&](const char *key) {
    return fields.fail(key, "means nothing for a step of kind " +
                                quoted(name(step.kind)));
  };
  if (!isOfMicrobatch(step.kind)) {
    if (step.stage != -1)
      return unused("stage");
    if (step.microbatch != -1)
      return unused("microbatch");
    if (step.slot != -1)
      return unused("slot");
    if (step.phase != Phase::forward)
      return unused("phase");
  }
  if (step.kind != StepKind::overlap) {
    if (step.overlap != -1)
      return unused("overlap");
    if (step.secondMicrobatch != -1)
      return unused("second_microbatch");
    if (step.secondSlot != -1)
      return unused("second_slot");
  }
  if (!hasValue(step.kind) && step.value != -1)
    return unused("value");
  if (!hasPeer(step.kind) && step.peer != -1)
    return unused("peer");
  if (step.kind != StepKind::load && !step.role.empty())
    return unused("role");
  return {};
}

Status checkStageOfRank(const Plan &plan, int64_t rank, int64_t index,
                        const Fields &fields) {
  MOE_RETURN_IF_ERROR(
      fields.index("stage", index, plan.stages.size(), "$.stages"));
  const Stage &stage = plan.stages[index];
  if (stage.rank != rank)
    return fields.fail("stage", "stage " + quoted(stage.name) + " is on rank " +
                                    std::to_string(stage.rank) + ", not " +
                                    std::to_string(rank));
  return {};
}

Status checkPhase(const Stage &stage, Phase phase, const Fields &fields) {
  if (findProgram(stage, phase))
    return {};
  return fields.fail("phase", "stage " + quoted(stage.name) + " has no " +
                                  std::string(name(phase)) + " program");
}

/// Issue order and waits of an overlap whose members were checked.
Status checkOrder(const Plan &plan, const Overlap &overlap,
                  const Fields &fields) {
  struct Position {
    int64_t member;
    Stream stream;
  };
  std::vector<Position> positions;
  std::array<const Program *, 2> programs;
  for (size_t m = 0; m < 2; ++m)
    programs[m] = findProgram(plan.stages[overlap.members[m].stage],
                              overlap.members[m].phase);
  std::array<size_t, 2> issued{};
  for (size_t i = 0; i < overlap.order.size(); ++i) {
    int64_t member = overlap.order[i];
    if (member != 0 && member != 1)
      return fields.range(element("order", i), member, 0, 1);
    if (issued[member] == programs[member]->ops.size())
      return fields.fail(element("order", i),
                         "the program of member " + std::to_string(member) +
                             " has only " + std::to_string(issued[member]) +
                             " ops");
    positions.push_back(
        {member, programs[member]->ops[issued[member]++].stream});
  }
  for (size_t m = 0; m < 2; ++m)
    if (issued[m] != programs[m]->ops.size())
      return fields.fail(
          "order", "names member " + std::to_string(m) + " " +
                       std::to_string(issued[m]) + " times, its program has " +
                       std::to_string(programs[m]->ops.size()) + " ops");
  for (size_t i = 0; i < overlap.waits.size(); ++i) {
    const Overlap::Wait &wait = overlap.waits[i];
    std::string key = element("waits", i);
    MOE_RETURN_IF_ERROR(
        fields.index(key + ".op", wait.op, positions.size(), "order"));
    if (wait.on < 0 || wait.on >= wait.op)
      return fields.fail(key + ".on", "must be an earlier position than " +
                                          std::to_string(wait.op) + ", is " +
                                          std::to_string(wait.on));
    if (positions[wait.op].member == positions[wait.on].member)
      return fields.fail(key + ".on", "is an op of the same member: its own "
                                      "waits are those of the op");
    if (positions[wait.op].stream == positions[wait.on].stream)
      return fields.fail(key + ".on",
                         "is on the same stream, which runs ops in order");
    if (i > 0 && std::pair(overlap.waits[i - 1].op, overlap.waits[i - 1].on) >=
                     std::pair(wait.op, wait.on))
      return fields.fail(key, "waits must rise by op, then by on");
  }
  return {};
}

Status checkOverlap(const Plan &plan, int64_t rank, const Overlap &overlap,
                    const std::string &path) {
  for (size_t m = 0; m < 2; ++m) {
    const Overlap::Member &member = overlap.members[m];
    std::string members = path + ".members";
    Fields fields(members, static_cast<int64_t>(m));
    MOE_RETURN_IF_ERROR(checkStageOfRank(plan, rank, member.stage, fields));
    MOE_RETURN_IF_ERROR(
        checkPhase(plan.stages[member.stage], member.phase, fields));
  }
  if (overlap.members[0] == overlap.members[1])
    return errorAt(path + ".members", "must be two different programs");
  return checkOrder(plan, overlap, Fields(path));
}

/// Where a step runs a microbatch of a stage.
Status checkInstance(const Plan &plan, int64_t stage, int64_t microbatch,
                     int64_t slot, const char *microbatchKey,
                     const char *slotKey, const Fields &fields) {
  MOE_RETURN_IF_ERROR(
      fields.range(microbatchKey, microbatch, 0, plan.layout.microbatches - 1));
  return fields.index(slotKey, slot, plan.stages[stage].slots.size(),
                      "the stage's slots", true);
}

/// The part of checkStep() for an overlap.
Status checkOverlapStep(const Plan &plan, const Rank &rank, const Step &step,
                        const Fields &fields) {
  MOE_RETURN_IF_ERROR(fields.index(
      "overlap", step.overlap, rank.overlaps.size(), "the rank's overlaps"));
  const auto &[first, second] = rank.overlaps[step.overlap].members;
  if (step.stage != first.stage)
    return fields.fail("stage", "must be that of the first member of the "
                                "overlap, " +
                                    std::to_string(first.stage) + ", is " +
                                    std::to_string(step.stage));
  if (step.phase != first.phase)
    return fields.fail("phase", "must be that of the first member of the "
                                "overlap, " +
                                    quoted(name(first.phase)) + ", is " +
                                    quoted(name(step.phase)));
  return checkInstance(plan, second.stage, step.secondMicrobatch,
                       step.secondSlot, "second_microbatch", "second_slot",
                       fields);
}

Status checkStep(const Plan &plan, int64_t rank, const Step &step,
                 const Fields &fields) {
  MOE_RETURN_IF_ERROR(checkUnused(step, fields));
  if (!isOfMicrobatch(step.kind))
    return {};
  MOE_RETURN_IF_ERROR(checkStageOfRank(plan, rank, step.stage, fields));
  const Stage &stage = plan.stages[step.stage];
  MOE_RETURN_IF_ERROR(checkInstance(plan, step.stage, step.microbatch,
                                    step.slot, "microbatch", "slot", fields));
  if (step.kind == StepKind::run)
    return checkPhase(stage, step.phase, fields);
  if (step.kind == StepKind::overlap)
    return checkOverlapStep(plan, plan.ranks[rank], step, fields);
  if (step.phase != Phase::forward && step.phase != Phase::backward)
    return fields.fail("phase", "must be \"forward\" or \"backward\", the "
                                "direction, for a step of kind " +
                                    quoted(name(step.kind)) + ", is " +
                                    quoted(name(step.phase)));
  MOE_RETURN_IF_ERROR(fields.index("value", step.value, stage.values.size(),
                                   "the stage's values"));
  const Value &value = stage.values[step.value];
  if (value.isOnHost())
    return fields.fail("value", "must lie on the device; " +
                                    quoted(value.name) + " is on the host");
  if (value.placement == Placement::slot && step.slot == -1)
    return fields.fail("slot", "must not be -1, because value " +
                                   quoted(value.name) + " lies in a slot");
  if (hasPeer(step.kind))
    MOE_RETURN_IF_ERROR(
        fields.index("peer", step.peer, plan.ranks.size(), "$.ranks"));
  if (step.kind == StepKind::load) {
    if (!parseTokenRole(step.role))
      return fields.fail(
          "role", R"(expected "tokens", "labels", "labels_2", ... or ")" +
                      tokenRole(kMostTokenShift) + R"(", is )" +
                      quoted(step.role));
    if (value.dtype != DType::i32)
      return fields.fail("value", "must have dtype i32, because token numbers "
                                  "are loaded; " +
                                      quoted(value.name) + " has " +
                                      std::string(name(value.dtype)));
  }
  if (step.kind == StepKind::collect_loss &&
      (value.bytes != kAlignment || value.dtype == DType::i32 ||
       value.shape != std::vector<int64_t>(value.shape.size(), 1)))
    return fields.fail("value", "must be a scalar of a real dtype; " +
                                    quoted(value.name) + " is not");
  return {};
}

} // namespace

Status checkRankStructure(const Plan &plan, int64_t index) {
  const Rank &rank = plan.ranks[index];
  std::string path = element("$.ranks", index);
  Fields fields(path);
  if (rank.rank != index)
    return fields.fail("rank", "must be its index " + std::to_string(index) +
                                   ", is " + std::to_string(rank.rank));
  for (size_t i = 0; i < rank.stages.size(); ++i) {
    std::string key = element("stages", i);
    MOE_RETURN_IF_ERROR(
        fields.index(key, rank.stages[i], plan.stages.size(), "$.stages"));
    if (i > 0 && rank.stages[i] <= rank.stages[i - 1])
      return fields.fail(key, "stages must be in rising order");
    const Stage &stage = plan.stages[rank.stages[i]];
    if (stage.rank != index)
      return fields.fail(key, "stage " + quoted(stage.name) +
                                  " says that it is on rank " +
                                  std::to_string(stage.rank));
  }
  MOE_RETURN_IF_ERROR(fields.text("peak_op", rank.peakOp));
  MOE_RETURN_IF_ERROR(
      fields.range("reduce_gradients_ns", rank.reduceGradientsNs, 0, kLargest));
  MOE_RETURN_IF_ERROR(fields.range("update_ns", rank.updateNs, 0, kLargest));
  MOE_RETURN_IF_ERROR(fields.range("busy_ns", rank.busyNs, 0, kLargest));
  MOE_RETURN_IF_ERROR(fields.range(
      "exposed_communication_ns", rank.exposedCommunicationNs, 0, rank.busyNs));
  MOE_RETURN_IF_ERROR(fields.range("exposed_copy_ns", rank.exposedCopyNs, 0,
                                   rank.busyNs - rank.exposedCommunicationNs));
  for (size_t i = 0; i < rank.overlaps.size(); ++i)
    MOE_RETURN_IF_ERROR(checkOverlap(plan, index, rank.overlaps[i],
                                     element(path + ".overlaps", i)));
  std::string steps = path + ".steps";
  for (size_t i = 0; i < rank.steps.size(); ++i)
    MOE_RETURN_IF_ERROR(checkStep(plan, index, rank.steps[i],
                                  Fields(steps, static_cast<int64_t>(i))));
  return {};
}

} // namespace moe::plan
