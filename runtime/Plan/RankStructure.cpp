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
  if (!hasValue(step.kind) && step.value != -1)
    return unused("value");
  if (!hasPeer(step.kind) && step.peer != -1)
    return unused("peer");
  if (step.kind != StepKind::load && !step.role.empty())
    return unused("role");
  return {};
}

Status checkStep(const Plan &plan, int64_t rank, const Step &step,
                 const Fields &fields) {
  MOE_RETURN_IF_ERROR(checkUnused(step, fields));
  if (!isOfMicrobatch(step.kind))
    return {};
  MOE_RETURN_IF_ERROR(
      fields.index("stage", step.stage, plan.stages.size(), "$.stages"));
  const Stage &stage = plan.stages[step.stage];
  if (stage.rank != rank)
    return fields.fail("stage", "stage " + quoted(stage.name) + " is on rank " +
                                    std::to_string(stage.rank) + ", not " +
                                    std::to_string(rank));
  MOE_RETURN_IF_ERROR(fields.range("microbatch", step.microbatch, 0,
                                   plan.layout.microbatches - 1));
  MOE_RETURN_IF_ERROR(fields.index("slot", step.slot, stage.slots.size(),
                                   "the stage's slots", true));
  if (step.kind == StepKind::run) {
    if (!findProgram(stage, step.phase))
      return fields.fail("phase", "stage " + quoted(stage.name) + " has no " +
                                      std::string(name(step.phase)) +
                                      " program");
    return {};
  }
  MOE_RETURN_IF_ERROR(fields.index("value", step.value, stage.values.size(),
                                   "the stage's values"));
  const Value &value = stage.values[step.value];
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
  MOE_RETURN_IF_ERROR(fields.range("busy_ns", rank.busyNs, 0, kLargest));
  std::string steps = path + ".steps";
  for (size_t i = 0; i < rank.steps.size(); ++i)
    MOE_RETURN_IF_ERROR(checkStep(plan, index, rank.steps[i],
                                  Fields(steps, static_cast<int64_t>(i))));
  return {};
}

} // namespace moe::plan
