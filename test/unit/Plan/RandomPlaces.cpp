//===- RandomPlaces.cpp - places and waits of random stages ---------------===//

#include "NaiveStreams.h"
#include "RandomStages.h"

#include <algorithm>
#include <functional>

namespace moe::plan {
namespace {

/// Whether a value may share its bytes with others of the rank.
bool isShortLived(const Value &value, const Ports &port, ValueIndex index) {
  return index != port.loss && value.placement == Placement::fixed &&
         (value.memoryClass == MemoryClass::transient ||
          value.memoryClass == MemoryClass::expert_communication);
}

Program &programOf(Plan &plan, const Overlap::Member &member) {
  for (Program &program : plan.stages[member.stage].programs)
    if (program.phase == member.phase)
      return program;
  std::abort();
}

/// Places for what lives in one program or overlap only.
class ShortLivedPlacer {
public:
  ShortLivedPlacer(Plan &plan, const std::vector<Ports> &ports, int64_t begin,
                   int64_t &end)
      : plan(plan), ports(ports), begin(begin), end(end) {}

  void issue(int64_t stageIndex, Op &op) {
    Stage &stage = plan.stages[stageIndex];
    auto isShared = [&](ValueIndex value) {
      return value != -1 &&
             isShortLived(stage.values[value], ports[stageIndex], value);
    };
    for (ValueIndex value : op.outputs)
      if (isShared(value) && stage.values[value].overwrites == -1)
        stage.values[value].offset = firstFit(stage.values[value].bytes);
    if (op.scratchBytes > 0) {
      op.scratchOffset = firstFit(op.scratchBytes);
      taken.erase(op.scratchOffset);
    }
    for (ValueIndex value : op.releases)
      if (ValueIndex storage = storageOf(stage, value); isShared(storage))
        taken.erase(stage.values[storage].offset);
  }

private:
  int64_t firstFit(int64_t bytes) {
    int64_t offset = begin;
    for (auto [from, to] : taken) {
      if (offset + bytes <= from)
        break;
      offset = to;
    }
    taken[offset] = offset + bytes;
    end = std::max(end, offset + bytes);
    return offset;
  }

  Plan &plan;
  const std::vector<Ports> &ports;
  int64_t begin;
  int64_t &end;
  std::map<int64_t, int64_t> taken; ///< begin to end
};

template <typename Take>
void placeParameter(Rank &rank, Parameter &parameter, Take &&take) {
  int64_t elements = parameter.shape[0] * parameter.shape[1];
  int64_t wide = parameter.dtype == DType::f64 ? 8 : 4;
  auto place = [&](int64_t &offset, int64_t bytes, MemoryClass memoryClass) {
    offset = take(bytes);
    rank.persistent[memoryClass] += alignUp(bytes);
  };
  place(parameter.weightOffset, elements * byteSize(parameter.dtype),
        MemoryClass::parameters);
  if (!parameter.trainable)
    return;
  place(parameter.gradientOffset, elements * wide, MemoryClass::gradients);
  if (parameter.dtype == DType::bf16)
    place(parameter.masterOffset, elements * 4, MemoryClass::optimizer);
  place(parameter.firstMomentOffset, elements * wide, MemoryClass::optimizer);
  place(parameter.secondMomentOffset, elements * wide, MemoryClass::optimizer);
}

using MayWait = std::function<bool(size_t, size_t)>;
using AddWait = std::function<void(size_t, size_t)>;

/// Lets each op wait, on each other stream, for the last op that it must come
/// after, or for a later one, or needlessly for any.
void addWaits(std::vector<IssuedOp> ops, Dice &dice, const MayWait &mayWait,
              const AddWait &addWait) {
  for (size_t i = 0; i < ops.size(); ++i) {
    std::vector<size_t> waits;
    for (size_t s = 0; s < kStreamCount; ++s) {
      auto stream = static_cast<Stream>(s);
      std::vector<bool> done = doneBefore(ops)[i];
      std::vector<size_t> candidates;
      for (size_t j = 0; j < i; ++j) {
        if (ops[j].stream != stream || stream == ops[i].stream ||
            !mayWait(i, j))
          continue;
        if (!done[j] && mustWait(ops[i], ops[j]))
          candidates.clear();
        candidates.push_back(j);
      }
      if (candidates.empty())
        continue;
      bool isNeeded =
          !done[candidates[0]] && mustWait(ops[i], ops[candidates[0]]);
      if (!isNeeded && dice.draw(12) != 0)
        continue;
      size_t on =
          candidates[dice.draw(4) == 0 ? dice.draw(candidates.size()) : 0];
      ops[i].waits.push_back(static_cast<int64_t>(on));
      waits.push_back(on);
    }
    std::sort(waits.begin(), waits.end());
    for (size_t on : waits)
      addWait(i, on);
  }
}

} // namespace

void placeRandomStages(Plan &plan, const std::vector<Ports> &ports,
                       Dice &dice) {
  for (Rank &rank : plan.ranks) {
    int64_t next = 0;
    auto take = [&](int64_t bytes) {
      next += kAlignment * dice.draw(2);
      int64_t offset = next;
      next += alignUp(bytes);
      return offset;
    };
    for (int64_t s : rank.stages) {
      Stage &stage = plan.stages[s];
      for (Parameter &parameter : stage.parameters)
        placeParameter(rank, parameter, take);
      // The groups on the device, and the one on the host.
      constexpr int64_t onDevice = 3;
      std::vector<int64_t> groupBytes;
      for (size_t i = 0; i < stage.values.size(); ++i) {
        Value &value = stage.values[i];
        if (value.overwrites != -1)
          continue;
        if (value.placement == Placement::slot) {
          value.group = value.isOnHost() ? onDevice : dice.draw(onDevice);
          auto group = static_cast<size_t>(value.group);
          groupBytes.resize(std::max(groupBytes.size(), group + 1));
          value.offset = groupBytes[group];
          groupBytes[group] += value.bytes;
        } else if (!isShortLived(value, ports[s], i)) {
          value.offset = take(value.bytes);
        }
      }
      for (int64_t i = 0; i < plan.layout.microbatches; ++i) {
        std::vector<int64_t> &bases = stage.slots.emplace_back();
        for (size_t group = 0; group < groupBytes.size(); ++group) {
          if (group < onDevice) {
            bases.push_back(take(groupBytes[group]));
            continue;
          }
          bases.push_back(rank.hostArenaBytes);
          rank.hostArenaBytes += groupBytes[group] + kAlignment * dice.draw(2);
        }
      }
    }
    int64_t end = next;
    std::vector<const Program *> placed;
    for (const Overlap &overlap : rank.overlaps) {
      ShortLivedPlacer placer(plan, ports, next, end);
      std::array<size_t, 2> issued{};
      for (int64_t m : overlap.order)
        placer.issue(overlap.members[m].stage,
                     programOf(plan, overlap.members[m]).ops[issued[m]++]);
      for (const Overlap::Member &member : overlap.members)
        placed.push_back(&programOf(plan, member));
    }
    for (int64_t s : rank.stages)
      for (Program &program : plan.stages[s].programs) {
        if (std::find(placed.begin(), placed.end(), &program) != placed.end())
          continue;
        ShortLivedPlacer placer(plan, ports, next, end);
        for (Op &op : program.ops)
          placer.issue(s, op);
      }
    rank.arenaBytes = end + kAlignment * dice.draw(3);
    for (int64_t s : rank.stages)
      for (Value &value : plan.stages[s].values)
        if (value.overwrites != -1) {
          const Value &other = plan.stages[s].values[value.overwrites];
          value.group = other.group;
          value.offset = other.offset;
        }
  }
}

void addRandomWaits(Plan &plan, Dice &dice) {
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (Program &program : plan.stages[s].programs)
      addWaits(
          issueProgram(plan, s, program, 0), dice,
          [](size_t, size_t) { return true; },
          [&](size_t i, size_t on) {
            program.ops[i].waits.push_back(int64_t(on));
          });
  for (Rank &rank : plan.ranks)
    for (Overlap &overlap : rank.overlaps) {
      bool isOneStage = overlap.members[0].stage == overlap.members[1].stage;
      int64_t secondSlot = isOneStage && plan.layout.microbatches > 1 ? 1 : 0;
      addWaits(
          issueOverlap(plan, overlap, 0, secondSlot), dice,
          [&](size_t i, size_t on) {
            return overlap.order[i] != overlap.order[on];
          },
          [&](size_t i, size_t on) {
            overlap.waits.push_back({int64_t(i), int64_t(on)});
          });
    }
}

} // namespace moe::plan
