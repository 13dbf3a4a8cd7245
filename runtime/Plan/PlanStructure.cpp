//===- PlanStructure.cpp - checks of single fields and references ---------===//

#include "runtime/Plan/Fields.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace moe::plan {
namespace {

/// Refuses names that were seen before.
class UniqueNames {
public:
  Status add(std::string_view name, const std::string &path) {
    auto [entry, isNew] = seen.emplace(name, path);
    if (isNew)
      return {};
    return errorAt(path + ".name",
                   quoted(name) + " is already the name of " + entry->second);
  }

private:
  std::map<std::string_view, std::string> seen;
};

bool isPersistent(MemoryClass memoryClass) {
  return memoryClass == MemoryClass::parameters ||
         memoryClass == MemoryClass::gradients ||
         memoryClass == MemoryClass::optimizer;
}

Status checkHeader(const Plan &plan) {
  Fields document("$");
  MOE_RETURN_IF_ERROR(document.text("generator", plan.generator));
  MOE_RETURN_IF_ERROR(document.name("schedule", plan.schedule));
  if (plan.dtype == DType::i32)
    return document.fail("dtype", R"(expected "bf16", "f32" or "f64")");
  MOE_RETURN_IF_ERROR(
      document.real("capacity_factor", plan.capacityFactor, 0, kLargestReal));
  MOE_RETURN_IF_ERROR(
      document.real("imbalance", plan.imbalance, 0, kLargestReal));
  for (size_t i = 0; i < plan.assumptions.size(); ++i) {
    const Assumption &assumption = plan.assumptions[i];
    Fields fields("$.assumptions", static_cast<int64_t>(i));
    MOE_RETURN_IF_ERROR(fields.name("name", assumption.name));
    MOE_RETURN_IF_ERROR(fields.text("value", assumption.value));
    MOE_RETURN_IF_ERROR(fields.text("source", assumption.source));
  }

  Fields model("$.model");
  MOE_RETURN_IF_ERROR(model.text("name", plan.model.name));
  MOE_RETURN_IF_ERROR(model.text("architecture", plan.model.architecture));
  for (size_t i = 0; i < plan.model.reductions.size(); ++i)
    MOE_RETURN_IF_ERROR(
        model.name(element("reductions", i), plan.model.reductions[i]));
  MOE_RETURN_IF_ERROR(model.range("layers", plan.model.layers, 0, kLargest));
  MOE_RETURN_IF_ERROR(model.range("hidden", plan.model.hidden, 0, kLargest));
  MOE_RETURN_IF_ERROR(
      model.range("vocabulary", plan.model.vocabulary, 0, kLargest));
  MOE_RETURN_IF_ERROR(
      model.range("total_parameters", plan.model.totalParameters, 0, kLargest));
  MOE_RETURN_IF_ERROR(model.range("active_parameters",
                                  plan.model.activeParameters, 0,
                                  plan.model.totalParameters));

  Fields machine("$.machine");
  MOE_RETURN_IF_ERROR(machine.text("name", plan.machine.name));
  MOE_RETURN_IF_ERROR(
      machine.range("memory_bytes", plan.machine.memoryBytes, 0, kLargest));
  MOE_RETURN_IF_ERROR(
      machine.range("reserve_bytes", plan.machine.reserveBytes, 0, kLargest));
  MOE_RETURN_IF_ERROR(
      machine.range("budget_bytes", plan.machine.budgetBytes, 0, kLargest));
  MOE_RETURN_IF_ERROR(machine.range("link_latency_ns",
                                    plan.machine.linkLatencyNs, 0, kLargest));
  for (auto [key, rate] :
       {std::pair{"flops_per_second", plan.machine.flopsPerSecond},
        std::pair{"link_bytes_per_second", plan.machine.linkBytesPerSecond},
        std::pair{"local_bytes_per_second", plan.machine.localBytesPerSecond},
        std::pair{"to_host_bytes_per_second",
                  plan.machine.toHostBytesPerSecond},
        std::pair{"to_device_bytes_per_second",
                  plan.machine.toDeviceBytesPerSecond},
        std::pair{"host_combined_bytes_per_second",
                  plan.machine.hostCombinedBytesPerSecond}})
    MOE_RETURN_IF_ERROR(machine.real(key, rate, 0, kLargestReal));
  MOE_RETURN_IF_ERROR(machine.range("host_memory_bytes",
                                    plan.machine.hostMemoryBytes, 0, kLargest));
  MOE_RETURN_IF_ERROR(machine.range("host_link_devices",
                                    plan.machine.hostLinkDevices, 1, kLargest));

  Fields layout("$.layout");
  const Layout &l = plan.layout;
  MOE_RETURN_IF_ERROR(layout.range("pipeline", l.pipeline, 1, kLargest));
  MOE_RETURN_IF_ERROR(layout.range("expert", l.expert, 1, kLargest));
  MOE_RETURN_IF_ERROR(layout.range("data", l.data, 1, kLargest));
  MOE_RETURN_IF_ERROR(layout.range("tensor", l.tensor, 1, kLargest));
  MOE_RETURN_IF_ERROR(layout.range("context", l.context, 1, kLargest));
  MOE_RETURN_IF_ERROR(
      layout.range("microbatches", l.microbatches, 1, kLargest));
  MOE_RETURN_IF_ERROR(
      layout.range("microbatch_size", l.microbatchSize, 1, kLargest));
  MOE_RETURN_IF_ERROR(
      layout.range("sequence_length", l.sequenceLength, 1, kLargest));

  Fields prediction("$.prediction");
  MOE_RETURN_IF_ERROR(
      prediction.range("step_ns", plan.prediction.stepNs, 0, kLargest));
  MOE_RETURN_IF_ERROR(prediction.real("bubble", plan.prediction.bubble, 0, 1));
  MOE_RETURN_IF_ERROR(prediction.real("model_flops", plan.prediction.modelFlops,
                                      0, kLargestReal));
  return prediction.real("model_flops_utilization",
                         plan.prediction.modelFlopsUtilization, 0,
                         kLargestReal);
}

Status checkParameter(const Parameter &parameter, const Fields &fields,
                      int64_t arenaBytes) {
  MOE_RETURN_IF_ERROR(fields.name("name", parameter.name));
  if (parameter.dtype == DType::i32)
    return fields.fail("dtype", R"(expected "bf16", "f32" or "f64")");
  MOE_RETURN_IF_ERROR(fields.shape("shape", parameter.shape, parameter.dtype));
  DType wide = parameter.dtype == DType::f64 ? DType::f64 : DType::f32;
  MOE_RETURN_IF_ERROR(fields.shape("shape", parameter.shape, wide));
  const Initializer &initializer = parameter.initializer;
  if (initializer.kind != "normal" && initializer.kind != "zeros" &&
      initializer.kind != "ones")
    return fields.fail("initializer.kind",
                       R"(expected "normal", "zeros" or "ones", is )" +
                           quoted(initializer.kind));
  MOE_RETURN_IF_ERROR(fields.real("initializer.standard_deviation",
                                  initializer.standardDeviation, 0,
                                  kLargestReal));

  struct {
    std::string_view key;
    int64_t offset;
    DType dtype;
    bool wanted;
  } buffers[] = {
      {"weight_offset", parameter.weightOffset, parameter.dtype, true},
      {"gradient_offset", parameter.gradientOffset, wide, parameter.trainable},
      {"master_offset", parameter.masterOffset, DType::f32,
       parameter.trainable && parameter.dtype == DType::bf16},
      {"first_moment_offset", parameter.firstMomentOffset, wide,
       parameter.trainable},
      {"second_moment_offset", parameter.secondMomentOffset, wide,
       parameter.trainable}};
  for (const auto &buffer : buffers) {
    if (!buffer.wanted && buffer.offset != -1)
      return fields.fail(buffer.key,
                         std::string("must be -1, because ") +
                             (parameter.trainable
                                  ? "only bf16 parameters have a master copy"
                                  : "the parameter is not trainable") +
                             ", is " + std::to_string(buffer.offset));
    if (buffer.wanted)
      MOE_RETURN_IF_ERROR(fields.buffer(
          buffer.key, buffer.offset,
          alignedBytes(parameter.shape, buffer.dtype), arenaBytes));
  }
  return {};
}

/// What is overwritten comes earlier, so that there are no cycles.
Status checkOverwritten(const Stage &stage, size_t index,
                        const Fields &fields) {
  const Value &value = stage.values[index];
  if (value.overwrites == -1)
    return {};
  if (value.overwrites < 0 || value.overwrites >= static_cast<int64_t>(index))
    return fields.fail("overwrites", "must be a value before this one, " +
                                         std::to_string(index) + ", is " +
                                         std::to_string(value.overwrites));
  const Value &other = stage.values[static_cast<size_t>(value.overwrites)];
  if (std::tuple(value.bytes, value.placement, value.group, value.offset,
                 value.isOnHost()) != std::tuple(other.bytes, other.placement,
                                                 other.group, other.offset,
                                                 other.isOnHost()))
    return fields.fail("overwrites",
                       "value " + quoted(other.name) +
                           " has another size or place; what takes over bytes "
                           "takes all of them");
  return {};
}

Status checkValue(const Value &value, const Fields &fields) {
  MOE_RETURN_IF_ERROR(fields.name("name", value.name));
  MOE_RETURN_IF_ERROR(fields.shape("shape", value.shape, value.dtype));
  MOE_RETURN_IF_ERROR(fields.range("bytes", value.bytes, 1, kLargest));
  int64_t bytes = alignedBytes(value.shape, value.dtype);
  if (value.bytes % kAlignment != 0)
    return fields.fail("bytes", "must be a multiple of " +
                                    std::to_string(kAlignment) + ", is " +
                                    std::to_string(value.bytes));
  if (value.bytes != bytes)
    return fields.fail("bytes", "must be " + std::to_string(bytes) +
                                    " for this shape and dtype, is " +
                                    std::to_string(value.bytes));
  if (isPersistent(value.memoryClass))
    return fields.fail("class", quoted(name(value.memoryClass)) +
                                    " is for buffers of parameters");
  return fields.buffer("offset", value.offset, value.bytes, kLargest);
}

/// Copies read on one side and write on the other; nothing else touches the
/// host.
Status checkSides(const Stage &stage, const Op &op, const Fields &fields) {
  for (auto [key, list, mustBeOnHost] :
       {std::tuple{"inputs", &op.inputs, op.stream == Stream::copy_in},
        std::tuple{"outputs", &op.outputs, op.stream == Stream::copy_out}})
    for (size_t i = 0; i < list->size(); ++i) {
      ValueIndex index = (*list)[i];
      if (index == -1 || stage.values[index].isOnHost() == mustBeOnHost)
        continue;
      return fields.fail(element(key, i),
                         "must be a value on the " +
                             std::string(mustBeOnHost ? "host" : "device") +
                             " for an op on stream " + quoted(name(op.stream)) +
                             "; " + quoted(stage.values[index].name) +
                             " is not");
    }
  return {};
}

Status checkOp(const Stage &stage, const Op &op, const Fields &fields,
               int64_t arenaBytes) {
  MOE_RETURN_IF_ERROR(fields.name("kind", op.kind));
  MOE_RETURN_IF_ERROR(fields.name("name", op.name));
  size_t valueCount = stage.values.size();
  const char *values = "the stage's values";
  MOE_RETURN_IF_ERROR(
      fields.indices("inputs", op.inputs, valueCount, values, true));
  MOE_RETURN_IF_ERROR(
      fields.indices("outputs", op.outputs, valueCount, values, true));
  MOE_RETURN_IF_ERROR(fields.indices("parameters", op.parameters,
                                     stage.parameters.size(),
                                     "the stage's parameters", true));
  MOE_RETURN_IF_ERROR(
      fields.indices("releases", op.releases, valueCount, values));
  if (op.attributes.size() > json::kMostMembers)
    return fields.fail("attributes", "has more than " +
                                         std::to_string(json::kMostMembers) +
                                         " keys");
  for (const auto &[key, attribute] : op.attributes) {
    if (!json::isUtf8(key))
      return fields.fail("attributes", "has a key that is not UTF-8");
    std::string keyPath = "attributes." + key;
    auto inRange = [&](int64_t number) {
      return number >= -kLargest && number <= kLargest;
    };
    if (const int64_t *number = std::get_if<int64_t>(&attribute);
        number && !inRange(*number))
      return fields.fail(keyPath, "must be from -2^53 to 2^53");
    if (const double *number = std::get_if<double>(&attribute);
        number && !std::isfinite(*number))
      return fields.fail(keyPath, "must be finite");
    if (const std::string *text = std::get_if<std::string>(&attribute))
      MOE_RETURN_IF_ERROR(fields.text(keyPath, *text));
    if (const auto *list = std::get_if<std::vector<int64_t>>(&attribute))
      if (!std::all_of(list->begin(), list->end(), inRange))
        return fields.fail(keyPath, "must be from -2^53 to 2^53");
  }
  MOE_RETURN_IF_ERROR(
      fields.range("scratch_bytes", op.scratchBytes, 0, kLargest));
  if (op.scratchBytes % kAlignment != 0)
    return fields.fail("scratch_bytes",
                       "must be a multiple of " + std::to_string(kAlignment) +
                           ", is " + std::to_string(op.scratchBytes));
  if (isPersistent(op.scratchClass))
    return fields.fail("scratch_class", quoted(name(op.scratchClass)) +
                                            " is for buffers of parameters");
  if (op.scratchClass == MemoryClass::host)
    return fields.fail("scratch_class", "scratch lies on the device");
  MOE_RETURN_IF_ERROR(checkSides(stage, op, fields));
  MOE_RETURN_IF_ERROR(fields.buffer("scratch_offset", op.scratchOffset,
                                    op.scratchBytes, arenaBytes));
  return fields.range("time_ns", op.timeNs, 0, kLargest);
}

/// Waits name the last op of another stream that must be done.
Status checkWaits(const Program &program, size_t index, const Fields &fields) {
  const Op &op = program.ops[index];
  for (size_t i = 0; i < op.waits.size(); ++i) {
    std::string key = element("waits", i);
    int64_t on = op.waits[i];
    if (on < 0 || on >= static_cast<int64_t>(index))
      return fields.fail(key, "must be an op before this one, " +
                                  std::to_string(index) + ", is " +
                                  std::to_string(on));
    const Op &other = program.ops[on];
    if (other.stream == op.stream)
      return fields.fail(key, "op " + quoted(other.name) +
                                  " is on the same stream, which runs ops in "
                                  "order");
    for (size_t k = 0; k < i; ++k)
      if (program.ops[op.waits[k]].stream == other.stream)
        return fields.fail(key, "is a second op of stream " +
                                    quoted(name(other.stream)) +
                                    "; the later of them is enough");
  }
  return {};
}

Status checkProgram(const Stage &stage, const Program &program,
                    const std::string &path, int64_t arenaBytes) {
  Fields fields(path);
  for (const auto &[key, list] : {std::pair{"inputs", &program.inputs},
                                  std::pair{"outputs", &program.outputs}}) {
    MOE_RETURN_IF_ERROR(
        fields.indices(key, *list, stage.values.size(), "the stage's values"));
    std::set<ValueIndex> seen;
    for (size_t i = 0; i < list->size(); ++i)
      if (!seen.insert((*list)[i]).second)
        return fields.fail(element(key, i),
                           "value " + quoted(stage.values[(*list)[i]].name) +
                               " is already in the list");
  }
  std::string ops = path + ".ops";
  for (size_t i = 0; i < program.ops.size(); ++i) {
    Fields opFields(ops, static_cast<int64_t>(i));
    MOE_RETURN_IF_ERROR(checkOp(stage, program.ops[i], opFields, arenaBytes));
    MOE_RETURN_IF_ERROR(checkWaits(program, i, opFields));
  }
  return {};
}

Status checkStage(const Plan &plan, const Stage &stage,
                  const std::string &path) {
  Fields fields(path);
  MOE_RETURN_IF_ERROR(fields.name("name", stage.name));
  MOE_RETURN_IF_ERROR(
      fields.index("rank", stage.rank, plan.ranks.size(), "$.ranks"));
  int64_t arenaBytes = plan.ranks[stage.rank].arenaBytes;
  for (size_t i = 0; i < stage.blocks.size(); ++i)
    MOE_RETURN_IF_ERROR(fields.name(element("blocks", i), stage.blocks[i]));
  std::string parameters = path + ".parameters";
  for (size_t i = 0; i < stage.parameters.size(); ++i)
    MOE_RETURN_IF_ERROR(checkParameter(
        stage.parameters[i], Fields(parameters, static_cast<int64_t>(i)),
        arenaBytes));
  int64_t hostArenaBytes = plan.ranks[stage.rank].hostArenaBytes;
  UniqueNames valueNames;
  for (size_t i = 0; i < stage.values.size(); ++i) {
    const Value &value = stage.values[i];
    std::string valuePath = element(path + ".values", i);
    Fields valueFields(valuePath);
    MOE_RETURN_IF_ERROR(checkValue(value, valueFields));
    MOE_RETURN_IF_ERROR(valueNames.add(value.name, valuePath));
    bool isFixed = value.placement == Placement::fixed;
    // There cannot be more groups than values.
    MOE_RETURN_IF_ERROR(valueFields.range(
        "group", value.group, isFixed ? -1 : 0,
        isFixed ? -1 : static_cast<int64_t>(stage.values.size()) - 1));
    if (isFixed)
      MOE_RETURN_IF_ERROR(
          valueFields.buffer("offset", value.offset, value.bytes,
                             value.isOnHost() ? hostArenaBytes : arenaBytes));
  }
  std::vector<GroupBytes> groups = groupBytes(stage);
  for (size_t i = 0; i < stage.values.size(); ++i) {
    const Value &value = stage.values[i];
    MOE_RETURN_IF_ERROR(checkOverwritten(
        stage, i, Fields(path + ".values", static_cast<int64_t>(i))));
    if (value.placement == Placement::slot &&
        groups[static_cast<size_t>(value.group)].isOnHost != value.isOnHost())
      return Fields(path + ".values", static_cast<int64_t>(i))
          .fail("group", "has values of class \"host\" and of others; they lie "
                         "in different arenas");
  }
  for (size_t i = 0; i < stage.slots.size(); ++i) {
    const std::vector<int64_t> &bases = stage.slots[i];
    std::string slot = element("slots", i);
    if (bases.size() != groups.size())
      return fields.fail(slot, "must have a base for each of the " +
                                   std::to_string(groups.size()) +
                                   " groups of the stage's values, has " +
                                   std::to_string(bases.size()));
    for (size_t g = 0; g < bases.size(); ++g) {
      auto checkAs = [&](std::string_view key) {
        return fields.buffer(key, bases[g], groups[g].bytes,
                             groups[g].isOnHost ? hostArenaBytes : arenaBytes);
      };
      if (!checkAs(slot)) // there are many, and few are wrong
        return checkAs(element(slot, g));
    }
  }
  UniqueNames opNames;
  for (size_t p = 0; p < stage.programs.size(); ++p) {
    const Program &program = stage.programs[p];
    std::string programPath = element(path + ".programs", p);
    for (size_t q = 0; q < p; ++q)
      if (stage.programs[q].phase == program.phase)
        return errorAt(programPath + ".phase",
                       "there is already a " +
                           std::string(name(program.phase)) +
                           " program in the stage");
    MOE_RETURN_IF_ERROR(checkProgram(stage, program, programPath, arenaBytes));
    for (size_t o = 0; o < program.ops.size(); ++o)
      MOE_RETURN_IF_ERROR(
          opNames.add(program.ops[o].name, element(programPath + ".ops", o)));
  }
  return {};
}

Status checkStageAt(const Plan &plan, size_t index) {
  return checkStage(plan, plan.stages[index], element("$.stages", index));
}

/// What a stage and a rank may rely on without looking at others.
Status checkFrame(const Plan &plan) {
  MOE_RETURN_IF_ERROR(checkHeader(plan));
  if (static_cast<int64_t>(plan.ranks.size()) != plan.layout.pipeline)
    return errorAt("$.ranks", "there must be one for each of the " +
                                  std::to_string(plan.layout.pipeline) +
                                  " pipeline ranks of $.layout, there are " +
                                  std::to_string(plan.ranks.size()));
  for (size_t i = 0; i < plan.ranks.size(); ++i) {
    Fields fields("$.ranks", static_cast<int64_t>(i));
    MOE_RETURN_IF_ERROR(
        fields.buffer("arena_bytes", plan.ranks[i].arenaBytes, 0, kLargest));
    MOE_RETURN_IF_ERROR(fields.buffer(
        "host_arena_bytes", plan.ranks[i].hostArenaBytes, 0, kLargest));
  }
  return {};
}

/// Decisions name values that there are.
Status checkDecisions(const Plan &plan) {
  for (size_t i = 0; i < plan.decisions.size(); ++i) {
    const Decision &decision = plan.decisions[i];
    Fields fields("$.decisions", static_cast<int64_t>(i));
    MOE_RETURN_IF_ERROR(
        fields.index("stage", decision.stage, plan.stages.size(), "$.stages"));
    MOE_RETURN_IF_ERROR(fields.index("value", decision.value,
                                     plan.stages[decision.stage].values.size(),
                                     "the stage's values"));
    MOE_RETURN_IF_ERROR(
        fields.range("bytes", decision.bytes, -kLargest, kLargest));
    MOE_RETURN_IF_ERROR(fields.range("time_ns", decision.timeNs, 0, kLargest));
    MOE_RETURN_IF_ERROR(fields.text("reason", decision.reason));
  }
  return {};
}

/// What ties parameters of different ranks together.
Status checkTies(const Plan &plan) {
  std::map<std::string_view, std::pair<const Parameter *, size_t>> byName;
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (const Parameter &parameter : plan.stages[s].parameters)
      byName.emplace(parameter.name, std::pair(&parameter, s));
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (size_t p = 0; p < plan.stages[s].parameters.size(); ++p) {
      const Parameter &copy = plan.stages[s].parameters[p];
      if (copy.tiedTo.empty())
        continue;
      std::string path = element(element("$.stages", s) + ".parameters", p);
      Fields fields(path);
      auto found = byName.find(copy.tiedTo);
      if (found == byName.end())
        return fields.fail("tied_to",
                           "there is no parameter " + quoted(copy.tiedTo));
      const auto &[original, stage] = found->second;
      if (stage == s)
        return fields.fail("tied_to", quoted(copy.tiedTo) +
                                          " is of the same stage, which needs "
                                          "no copy");
      if (!original->tiedTo.empty())
        return fields.fail("tied_to", quoted(copy.tiedTo) + " is tied itself");
      if (copy.dtype != original->dtype || copy.shape != original->shape ||
          copy.replication != original->replication ||
          copy.trainable != original->trainable ||
          copy.decay != original->decay ||
          copy.initializer != original->initializer)
        return fields.fail("tied_to", quoted(copy.tiedTo) +
                                          " must be alike in everything but "
                                          "name and place");
    }
  return {};
}

Status checkIsListed(const Plan &plan, size_t stage) {
  int64_t rank = plan.stages[stage].rank;
  const std::vector<int64_t> &listed = plan.ranks[rank].stages;
  if (std::binary_search(listed.begin(), listed.end(),
                         static_cast<int64_t>(stage)))
    return {};
  return errorAt(element("$.stages", stage) + ".rank",
                 "rank " + std::to_string(rank) + " does not list stage " +
                     quoted(plan.stages[stage].name));
}

} // namespace

Status checkStructure(const Plan &plan) {
  MOE_RETURN_IF_ERROR(checkFrame(plan));
  UniqueNames stageNames;
  UniqueNames parameterNames;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const Stage &stage = plan.stages[i];
    std::string path = element("$.stages", i);
    MOE_RETURN_IF_ERROR(checkStageAt(plan, i));
    MOE_RETURN_IF_ERROR(stageNames.add(stage.name, path));
    for (size_t p = 0; p < stage.parameters.size(); ++p)
      MOE_RETURN_IF_ERROR(parameterNames.add(stage.parameters[p].name,
                                             element(path + ".parameters", p)));
  }
  MOE_RETURN_IF_ERROR(checkTies(plan));
  MOE_RETURN_IF_ERROR(checkDecisions(plan));
  for (size_t i = 0; i < plan.ranks.size(); ++i)
    MOE_RETURN_IF_ERROR(checkRankStructure(plan, i));
  for (size_t i = 0; i < plan.stages.size(); ++i)
    MOE_RETURN_IF_ERROR(checkIsListed(plan, i));
  for (size_t i = 0; i < plan.ranks.size(); ++i)
    MOE_RETURN_IF_ERROR(checkPersistentBuffers(plan, i));
  return {};
}

Status checkStructureOfRank(const Plan &plan, int64_t rank) {
  MOE_RETURN_IF_ERROR(checkFrame(plan));
  if (rank < 0 || rank >= static_cast<int64_t>(plan.ranks.size()))
    return Error{"the plan has no rank " + std::to_string(rank)};
  for (size_t i = 0; i < plan.stages.size(); ++i)
    if (plan.stages[i].rank == rank)
      MOE_RETURN_IF_ERROR(checkStageAt(plan, i));
  MOE_RETURN_IF_ERROR(checkRankStructure(plan, rank));
  for (size_t i = 0; i < plan.stages.size(); ++i)
    if (plan.stages[i].rank == rank)
      MOE_RETURN_IF_ERROR(checkIsListed(plan, i));
  return checkPersistentBuffers(plan, rank);
}

std::vector<GroupBytes> groupBytes(const Stage &stage) {
  std::vector<GroupBytes> groups;
  for (const Value &value : stage.values) {
    if (value.placement != Placement::slot)
      continue;
    auto index = static_cast<size_t>(value.group);
    groups.resize(std::max(groups.size(), index + 1));
    GroupBytes &group = groups[index];
    group.bytes = std::max(group.bytes, value.offset + value.bytes);
    group.isOnHost |= value.isOnHost();
  }
  return groups;
}

} // namespace moe::plan
