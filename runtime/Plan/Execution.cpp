//===- Execution.cpp - a program, or two interleaved ----------------------===//

#include "runtime/Plan/Execution.h"
#include "runtime/Plan/StreamOrder.h"

#include <algorithm>

namespace moe::plan {
namespace {

/// Joins extents that touch or overlap.
std::vector<Extent> coalesce(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent &a, const Extent &b) {
              return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
            });
  std::vector<Extent> joined;
  for (const Extent &extent : extents) {
    if (!joined.empty() && extent.begin <= joined.back().end)
      joined.back().end = std::max(joined.back().end, extent.end);
    else
      joined.push_back(extent);
  }
  return joined;
}

bool addsToGradients(const Op &op) {
  return std::string_view(op.kind).ends_with("_weight_grad");
}

bool intersect(const Extent &a, const Extent &b) {
  return a.begin < b.end && b.begin < a.end;
}

} // namespace

Result<Execution> Execution::ofProgram(const Plan &plan, int64_t stage,
                                       int64_t program) {
  Execution execution(plan, "");
  MOE_RETURN_IF_ERROR(execution.addMember(stage, program));
  const std::vector<Op> &ops = plan.stages[stage].programs[program].ops;
  for (size_t i = 0; i < ops.size(); ++i) {
    execution.positions.push_back({0, i});
    execution.waits.push_back(ops[i].waits);
  }
  execution.finish();
  return execution;
}

Result<Execution> Execution::ofOverlap(const Plan &plan, int64_t rank,
                                       int64_t index) {
  const Overlap &overlap = plan.ranks[rank].overlaps[index];
  Execution execution(plan,
                      element(element("$.ranks", rank) + ".overlaps", index));
  for (const Overlap::Member &member : overlap.members)
    MOE_RETURN_IF_ERROR(execution.addMember(
        member.stage, programIndex(plan.stages[member.stage], member.phase)));
  std::array<std::vector<int64_t>, 2> positionOf; // of the ops of each member
  for (size_t i = 0; i < overlap.order.size(); ++i) {
    size_t m = static_cast<size_t>(overlap.order[i]);
    size_t next = positionOf[m].size();
    positionOf[m].push_back(static_cast<int64_t>(i));
    execution.positions.push_back({m, next});
    std::vector<int64_t> waits = execution.op(i).waits;
    for (int64_t &on : waits)
      on = positionOf[m][on];
    execution.waits.push_back(std::move(waits));
  }
  for (const Overlap::Wait &wait : overlap.waits)
    execution.waits[wait.op].push_back(wait.on);
  execution.finish();
  return execution;
}

Status Execution::addMember(int64_t stage, int64_t program) {
  Result<ProgramAccount> account = accountProgram(*plan, stage, program);
  if (!account)
    return account.error();
  memberList.push_back({stage, program, std::move(*account), {}});
  return {};
}

const Op &Execution::op(int64_t position) const {
  const Position &at = positions[position];
  return programOf(memberList[at.member]).ops[at.op];
}

void Execution::finish() {
  std::vector<ByteCounts> soFar(memberList.size());
  for (const Position &at : positions) {
    const ProgramAccount &account = memberList[at.member].account;
    ByteCounts live = account.live[at.op];
    for (size_t m = 0; m < memberList.size(); ++m)
      if (m != at.member)
        live += soFar[m];
    soFar[at.member] = account.after[at.op];
    if (peak == -1 || live.total() > liveList[peak].total())
      peak = static_cast<int64_t>(liveList.size());
    hostPeak = std::max(hostPeak, live[MemoryClass::host]);
    liveList.push_back(live);
  }
  for (Member &member : memberList) {
    const Stage &stage = plan->stages[member.stage];
    std::map<int64_t, Group> groups;
    auto use = [&](ValueIndex index, bool isAllocated) {
      const Value &value = stage.values[index];
      if (value.placement == Placement::fixed) {
        int64_t begin = numberedPlaceOf(stage, value, -1);
        fixedUsed.push_back({begin, begin + value.bytes});
        if (isAllocated)
          fixedAllocated.push_back(fixedUsed.back());
        return;
      }
      Extent extent{value.offset, value.offset + value.bytes};
      Group &group =
          groups
              .try_emplace(value.group,
                           Group{value.group, value.isOnHost(), {}, extent})
              .first->second;
      group.used = {std::min(group.used.begin, extent.begin),
                    std::max(group.used.end, extent.end)};
      if (isAllocated)
        group.allocated.push_back(extent);
    };
    for (ValueIndex input : programOf(member).inputs)
      use(input, false);
    for (const Op &op : programOf(member).ops) {
      for (ValueIndex output : op.outputs)
        if (output != -1)
          use(output, true);
      if (op.scratchBytes > 0)
        fixedAllocated.push_back(
            {op.scratchOffset, op.scratchOffset + op.scratchBytes});
    }
    for (auto &[index, group] : groups) {
      group.allocated = coalesce(std::move(group.allocated));
      member.groups.push_back(std::move(group));
    }
  }
  fixedAllocated = coalesce(std::move(fixedAllocated));
  fixedUsed.insert(fixedUsed.end(), fixedAllocated.begin(),
                   fixedAllocated.end());
  fixedUsed = coalesce(std::move(fixedUsed));
}

Execution::Pattern Execution::patternOf(const Slots &slots) const {
  struct Region {
    Extent extent;
    int64_t number;
  };
  std::vector<Region> regions;
  int64_t count = 0;
  for (size_t m = 0; m < memberList.size(); ++m)
    for (const Group &group : memberList[m].groups) {
      int64_t base = group.base(plan->stages[memberList[m].stage], slots[m]);
      regions.push_back(
          {{base + group.used.begin, base + group.used.end}, count++});
    }
  std::sort(regions.begin(), regions.end(),
            [](const Region &a, const Region &b) {
              return std::pair(a.extent.begin, a.number) <
                     std::pair(b.extent.begin, b.number);
            });
  // Pairs in one order, whatever the places: by number.
  std::vector<std::array<int64_t, 3>> pairs;
  for (size_t i = 0; i < regions.size(); ++i) {
    const Region &region = regions[i];
    auto next = std::lower_bound(
        fixedUsed.begin(), fixedUsed.end(), region.extent.begin,
        [](const Extent &extent, int64_t at) { return extent.end <= at; });
    if (next != fixedUsed.end() && intersect(*next, region.extent))
      pairs.push_back({region.number, -1, region.extent.begin});
    for (size_t k = i + 1;
         k < regions.size() && regions[k].extent.begin < region.extent.end;
         ++k) {
      int64_t distance = regions[k].extent.begin - region.extent.begin;
      if (region.number < regions[k].number)
        pairs.push_back({region.number, regions[k].number, distance});
      else
        pairs.push_back({regions[k].number, region.number, -distance});
    }
  }
  std::sort(pairs.begin(), pairs.end());
  Pattern pattern;
  for (const std::array<int64_t, 3> &pair : pairs)
    pattern.insert(pattern.end(), pair.begin(), pair.end());
  return pattern;
}

/// Walks through the ops in issue order for given slots.
class Execution::Placer {
public:
  Placer(const Execution &execution, const Slots &slots)
      : execution(execution), slots(slots) {}

  Status run() {
    for (size_t m = 0; m < execution.memberList.size(); ++m) {
      const std::vector<ValueIndex> &inputs =
          execution.programOf(execution.memberList[m]).inputs;
      for (size_t i = 0; i < inputs.size(); ++i) {
        Extent extent = extentOf(m, inputs[i]);
        if (const auto *other = allocate(extent, m, inputs[i]))
          return errorAt(inputPath(m, i),
                         overlapReason(extent, m, inputs[i], *other));
        order.addInput(extent.begin, extent.end);
      }
    }
    for (size_t i = 0; i < execution.positions.size(); ++i)
      MOE_RETURN_IF_ERROR(issue(static_cast<int64_t>(i)));
    return {};
  }

private:
  const Stage &stageOf(size_t m) const {
    return execution.plan->stages[execution.memberList[m].stage];
  }

  Extent extentOf(size_t m, ValueIndex index) const {
    const Value &value = stageOf(m).values[index];
    int64_t begin = numberedPlaceOf(stageOf(m), value, slots[m]);
    return {begin, begin + value.bytes};
  }

  std::string describe(size_t m, ValueIndex value) const {
    if (value == -1)
      return "the scratch of the op";
    std::string text = "value " + quoted(stageOf(m).values[value].name);
    if (!execution.path.empty())
      text += " of stage " + quoted(stageOf(m).name);
    return text;
  }

  std::string inputPath(size_t m, size_t input) const {
    const Member &member = execution.memberList[m];
    if (execution.path.empty())
      return element(programPath(member.stage, member.program) + ".inputs",
                     input);
    return element(execution.path + ".members", m);
  }

  /// Where a field of the op at `position` stands in the document; of an
  /// overlap, where the op stands in its order.
  std::string pathOf(int64_t position, std::string_view key,
                     int64_t index) const {
    const Position &at = execution.positions[position];
    const Member &member = execution.memberList[at.member];
    if (!execution.path.empty())
      return element(execution.path + ".order", position);
    std::string path =
        opPath(member.stage, member.program, at.op) + "." + std::string(key);
    return index == -1 ? path : element(path, index);
  }

  /// What lives in these bytes already; null when they were free and are now
  /// taken. The member stands in place of a microbatch.
  const LiveRanges::Map::value_type *allocate(const Extent &extent, size_t m,
                                              ValueIndex value) {
    if (const auto *other = live.firstOverlap(extent.begin, extent.end))
      return other;
    live.insert(
        extent.begin, extent.end,
        {execution.memberList[m].stage, value, static_cast<int64_t>(m)});
    return nullptr;
  }

  std::string overlapReason(const Extent &extent, size_t m, ValueIndex value,
                            const LiveRanges::Map::value_type &other) const {
    const Instance &owner = other.second.owner;
    std::string reason =
        describe(m, value) + " at " + describeBytes(extent.begin, extent.end) +
        " overlaps " +
        describe(static_cast<size_t>(owner.microbatch), owner.value) + " at " +
        describeBytes(other.first, other.second.end);
    if (slots[m] != -1)
      reason += " (slot " + std::to_string(slots[m]) + ")";
    return reason;
  }

  /// The reason why an op comes too early.
  std::string earlyReason(int64_t position, const std::string &action,
                          int64_t blocker, const char *use) const {
    const Op &other = execution.op(blocker);
    return "op " + quoted(execution.op(position).name) + " " + action +
           " while op " + quoted(other.name) + " on stream " +
           quoted(name(other.stream)) + " may still be " + use +
           "; a wait for it is missing";
  }

  Status issue(int64_t position) {
    size_t m = execution.positions[position].member;
    const Op &op = execution.op(position);
    order.issue(op.stream, execution.waits[position]);
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      if (op.inputs[i] == -1)
        continue;
      Extent extent = extentOf(m, op.inputs[i]);
      if (int64_t blocker = order.read(extent.begin, extent.end); blocker != -1)
        return errorAt(pathOf(position, "inputs", i),
                       earlyReason(position,
                                   "reads " + describe(m, op.inputs[i]),
                                   blocker, "writing it"));
    }
    for (size_t i = 0; i < op.outputs.size(); ++i)
      if (op.outputs[i] != -1)
        MOE_RETURN_IF_ERROR(write(position, m, extentOf(m, op.outputs[i]),
                                  op.outputs[i], "outputs", i));
    if (op.scratchBytes > 0) {
      Extent scratch{op.scratchOffset, op.scratchOffset + op.scratchBytes};
      MOE_RETURN_IF_ERROR(
          write(position, m, scratch, -1, "scratch_offset", -1));
      live.erase(op.scratchOffset);
    }
    if (addsToGradients(op))
      MOE_RETURN_IF_ERROR(addToGradients(position, m, op));
    for (size_t i = 0; i < op.releases.size(); ++i) {
      Extent extent = extentOf(m, op.releases[i]);
      live.erase(extent.begin);
      if (int64_t blocker = order.release(extent.begin, extent.end);
          blocker != -1)
        return errorAt(pathOf(position, "releases", i),
                       earlyReason(position,
                                   "releases " + describe(m, op.releases[i]),
                                   blocker, "using it"));
    }
    return {};
  }

  /// Gradients are read, added to and written back.
  Status addToGradients(int64_t position, size_t m, const Op &op) {
    for (size_t i = 0; i < op.parameters.size(); ++i) {
      if (op.parameters[i] == -1)
        continue;
      auto [last, isFirst] = lastAddition.emplace(
          std::pair(execution.memberList[m].stage, op.parameters[i]), position);
      if (!isFirst && last->second != position && !order.isDone(last->second))
        return errorAt(
            pathOf(position, "parameters", i),
            earlyReason(
                position,
                "adds to the gradient of " +
                    quoted(stageOf(m).parameters[op.parameters[i]].name),
                last->second, "adding to it"));
      last->second = position;
    }
    return {};
  }

  Status write(int64_t position, size_t m, const Extent &extent,
               ValueIndex value, std::string_view key, int64_t index) {
    if (value != -1 && stageOf(m).values[value].overwrites != -1)
      live.erase(extent.begin);
    if (const auto *other = allocate(extent, m, value))
      return errorAt(pathOf(position, key, index),
                     overlapReason(extent, m, value, *other));
    if (int64_t blocker = order.write(extent.begin, extent.end); blocker != -1)
      return errorAt(pathOf(position, key, index),
                     earlyReason(position,
                                 "writes " + describe(m, value) + " at " +
                                     describeBytes(extent.begin, extent.end),
                                 blocker, "using them"));
    return {};
  }

  const Execution &execution;
  const Slots &slots;
  LiveRanges live;
  StreamOrder order;
  /// By stage and parameter.
  std::map<std::pair<int64_t, ParameterIndex>, int64_t> lastAddition;
};

std::vector<Extent> Execution::allocatedIn(const Slots &slots) const {
  std::vector<Extent> allocated = fixedAllocated;
  for (size_t m = 0; m < memberList.size(); ++m) {
    if (slots[m] == -1)
      continue;
    for (const Group &group : memberList[m].groups) {
      int64_t base = group.base(plan->stages[memberList[m].stage], slots[m]);
      for (const Extent &extent : group.allocated)
        allocated.push_back({base + extent.begin, base + extent.end});
    }
  }
  return coalesce(std::move(allocated));
}

Status Execution::place(const Slots &slots) {
  if (placedSlots.contains(slots))
    return {};
  Pattern pattern = patternOf(slots);
  if (!placed.contains(pattern)) {
    MOE_RETURN_IF_ERROR(Placer(*this, slots).run());
    placed.insert(std::move(pattern));
  }
  placedSlots.emplace(slots, allocatedIn(slots));
  return {};
}

} // namespace moe::plan
