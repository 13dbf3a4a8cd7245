//===- ProgramReplay.cpp - the account of one program ---------------------===//

#include "runtime/Plan/ProgramReplay.h"

#include <algorithm>

namespace moe::plan {
namespace {

std::string programPath(int64_t stage, int64_t program) {
  return element(element("$.stages", stage) + ".programs", program);
}

std::string opPath(int64_t stage, int64_t program, size_t op) {
  return element(programPath(stage, program) + ".ops", op);
}

/// Whether an op of the program from `first` on writes `value`.
bool isWrittenFrom(const Program &program, size_t first, ValueIndex value) {
  for (size_t i = first; i < program.ops.size(); ++i) {
    const auto &outputs = program.ops[i].outputs;
    if (std::find(outputs.begin(), outputs.end(), value) != outputs.end())
      return true;
  }
  return false;
}

enum class State : uint8_t { absent, live, released };

/// Follows the values of one program through its ops.
class Accountant {
public:
  Accountant(const Plan &plan, int64_t stageIndex, int64_t programIndex)
      : stage(plan.stages[stageIndex]), program(stage.programs[programIndex]),
        stageIndex(stageIndex), programIndex(programIndex),
        arenaBytes(plan.ranks[stage.rank].arenaBytes),
        states(stage.values.size(), State::absent) {
    account.isInput.resize(stage.values.size());
  }

  Result<ProgramAccount> run() {
    for (ValueIndex input : program.inputs) {
      states[input] = State::live;
      account.isInput[input] = true;
      MOE_RETURN_IF_ERROR(
          grow(stage.values[input].bytes,
               programPath(stageIndex, programIndex) + ".inputs"));
      noteSlot(input);
    }
    for (size_t i = 0; i < program.ops.size(); ++i)
      MOE_RETURN_IF_ERROR(runOp(i));
    MOE_RETURN_IF_ERROR(finish());
    account.change = relative;
    return std::move(account);
  }

private:
  Error failOp(size_t op, const char *key, size_t index,
               const std::string &reason) const {
    return errorAt(
        element(opPath(stageIndex, programIndex, op) + "." + key, index),
        reason);
  }

  std::string describe(ValueIndex value) const {
    return "value " + quoted(stage.values[value].name);
  }

  void noteSlot(ValueIndex value) {
    if (stage.values[value].placement == Placement::slot)
      account.usesSlot = true;
  }

  /// Counts bytes that must be in the arena together; this also keeps sums far
  /// from overflow.
  Status grow(int64_t bytes, const std::string &path) {
    total += bytes;
    if (total > arenaBytes)
      return errorAt(path, "with it " + std::to_string(total) +
                               " bytes are live, the arena has " +
                               std::to_string(arenaBytes));
    return {};
  }

  Status runOp(size_t index) {
    const Op &op = program.ops[index];
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (ValueIndex input = op.inputs[i];
          input != -1 && states[input] != State::live)
        return failOp(index, "inputs", i, whyNotLive(index, input));
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      ValueIndex output = op.outputs[i];
      if (output == -1)
        continue;
      if (states[output] != State::absent)
        return failOp(index, "outputs", i,
                      describe(output) + (account.isInput[output]
                                              ? " is an input of the program"
                                              : " is written a second time"));
      states[output] = State::live;
      noteSlot(output);
      const Value &value = stage.values[output];
      MOE_RETURN_IF_ERROR(
          grow(value.bytes, opPath(stageIndex, programIndex, index)));
      relative[value.memoryClass] += value.bytes;
    }
    MOE_RETURN_IF_ERROR(
        grow(op.scratchBytes, opPath(stageIndex, programIndex, index)));
    ByteCounts live = relative;
    live[op.scratchClass] += op.scratchBytes;
    if (account.peakOp == -1 ||
        live.total() > account.live[account.peakOp].total())
      account.peakOp = static_cast<int64_t>(index);
    account.live.push_back(live);
    total -= op.scratchBytes;

    for (size_t i = 0; i < op.releases.size(); ++i) {
      ValueIndex released = op.releases[i];
      if (states[released] != State::live)
        return failOp(index, "releases", i, whyNotLive(index, released));
      states[released] = State::released;
      const Value &value = stage.values[released];
      total -= value.bytes;
      relative[value.memoryClass] -= value.bytes;
      if (account.isInput[released])
        account.freed.push_back(released);
    }
    return {};
  }

  std::string whyNotLive(size_t op, ValueIndex value) const {
    if (states[value] == State::released)
      return describe(value) + " was released before";
    if (isWrittenFrom(program, op, value))
      return describe(value) +
             " is used before it is written: the ops are out of order or "
             "cyclic";
    return describe(value) +
           " is neither an input of the program nor written by it";
  }

  Status finish() {
    std::string path = programPath(stageIndex, programIndex) + ".outputs";
    std::vector<bool> announced(stage.values.size());
    for (size_t i = 0; i < program.outputs.size(); ++i) {
      ValueIndex output = program.outputs[i];
      announced[output] = true;
      if (states[output] != State::live)
        return errorAt(element(path, i),
                       describe(output) +
                           (states[output] == State::released
                                ? " was released"
                                : " is not written") +
                           ", so it is not live at the end of the program");
    }
    for (size_t value = 0; value < states.size(); ++value) {
      if (states[value] != State::live || account.isInput[value])
        continue;
      if (!announced[value])
        return errorAt(path, "leak: " + describe(value) +
                                 " is live at the end of the program; release "
                                 "it or list it");
      account.made.push_back(static_cast<ValueIndex>(value));
    }
    return {};
  }

  const Stage &stage;
  const Program &program;
  int64_t stageIndex;
  int64_t programIndex;
  int64_t arenaBytes;
  std::vector<State> states;
  ProgramAccount account;
  ByteCounts relative;
  int64_t total = 0; ///< bytes of inputs and what the program allocated
};

/// Joins extents that touch or overlap.
std::vector<Extent> coalesce(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent &a, const Extent &b) { return a.begin < b.begin; });
  std::vector<Extent> joined;
  for (const Extent &extent : extents) {
    if (!joined.empty() && extent.begin <= joined.back().end)
      joined.back().end = std::max(joined.back().end, extent.end);
    else
      joined.push_back(extent);
  }
  return joined;
}

} // namespace

Result<ProgramAccount> accountProgram(const Plan &plan, int64_t stage,
                                      int64_t program) {
  return Accountant(plan, stage, program).run();
}

Result<std::vector<Extent>> placeProgram(const Plan &plan, int64_t stageIndex,
                                         int64_t programIndex, int64_t slot) {
  const Stage &stage = plan.stages[stageIndex];
  const Program &program = stage.programs[programIndex];
  LiveRanges live;
  std::vector<Extent> extents;

  auto describe = [&](ValueIndex value) {
    return value == -1 ? std::string("the scratch of the op")
                       : "value " + quoted(stage.values[value].name);
  };
  auto allocate = [&](int64_t begin, int64_t bytes, ValueIndex value,
                      const std::string &path) -> Status {
    int64_t end = begin + bytes;
    if (const auto *other = live.firstOverlap(begin, end))
      return errorAt(path,
                     describe(value) + " at bytes " + std::to_string(begin) +
                         " to " + std::to_string(end) + " overlaps " +
                         describe(other->second.owner.value) + " at bytes " +
                         std::to_string(other->first) + " to " +
                         std::to_string(other->second.end) +
                         (slot == -1 ? std::string()
                                     : " (slot " + std::to_string(slot) + ")"));
    live.insert(begin, end, {stageIndex, value, -1});
    return {};
  };

  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const Value &value = stage.values[program.inputs[i]];
    MOE_RETURN_IF_ERROR(allocate(
        placeOf(stage, value, slot), value.bytes, program.inputs[i],
        element(programPath(stageIndex, programIndex) + ".inputs", i)));
  }
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op &op = program.ops[i];
    std::string path = opPath(stageIndex, programIndex, i);
    for (size_t k = 0; k < op.outputs.size(); ++k) {
      if (op.outputs[k] == -1)
        continue;
      const Value &value = stage.values[op.outputs[k]];
      int64_t begin = placeOf(stage, value, slot);
      MOE_RETURN_IF_ERROR(allocate(begin, value.bytes, op.outputs[k],
                                   element(path + ".outputs", k)));
      extents.push_back({begin, begin + value.bytes});
    }
    if (op.scratchBytes > 0) {
      MOE_RETURN_IF_ERROR(allocate(op.scratchOffset, op.scratchBytes, -1,
                                   path + ".scratch_offset"));
      extents.push_back({op.scratchOffset, op.scratchOffset + op.scratchBytes});
      live.erase(op.scratchOffset);
    }
    for (ValueIndex released : op.releases)
      live.erase(placeOf(stage, stage.values[released], slot));
  }
  return coalesce(std::move(extents));
}

} // namespace moe::plan
