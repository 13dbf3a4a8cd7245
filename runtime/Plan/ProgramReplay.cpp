//===- ProgramReplay.cpp - the account of one program ---------------------===//

#include "runtime/Plan/ProgramReplay.h"

#include <algorithm>
#include <tuple>

namespace moe::plan {
namespace {

/// Whether an op of the program from `first` on writes `value`.
bool isWrittenFrom(const Program &program, size_t first, ValueIndex value) {
  for (size_t i = first; i < program.ops.size(); ++i) {
    const auto &outputs = program.ops[i].outputs;
    if (std::find(outputs.begin(), outputs.end(), value) != outputs.end())
      return true;
  }
  return false;
}

enum class State : uint8_t { absent, live, released, overwritten };

/// Follows the values of one program through its ops.
class Accountant {
public:
  Accountant(const Plan &plan, int64_t stageIndex, int64_t programIndex)
      : stage(plan.stages[stageIndex]), program(stage.programs[programIndex]),
        stageIndex(stageIndex), programIndex(programIndex),
        device{plan.ranks[stage.rank].arenaBytes, "arena"},
        host{plan.ranks[stage.rank].hostArenaBytes, "host arena"},
        states(stage.values.size(), State::absent) {
    account.isInput.resize(stage.values.size());
  }

  Result<ProgramAccount> run() {
    for (ValueIndex input : program.inputs) {
      states[input] = State::live;
      account.isInput[input] = true;
      MOE_RETURN_IF_ERROR(grow(sideOf(input), stage.values[input].bytes, [&] {
        return programPath(stageIndex, programIndex) + ".inputs";
      }));
      noteSlot(input);
    }
    for (size_t i = 0; i < program.ops.size(); ++i)
      MOE_RETURN_IF_ERROR(runOp(i));
    MOE_RETURN_IF_ERROR(finish());
    account.change = relative;
    account.inputs = program.inputs;
    for (std::vector<ValueIndex> *list :
         {&account.inputs, &account.freed, &account.made})
      sortByPlace(*list);
    return std::move(account);
  }

private:
  /// By offset, so that values of one group, and fixed ones, are gone through
  /// in rising order, in each arena.
  void sortByPlace(std::vector<ValueIndex> &list) const {
    auto key = [&](ValueIndex index) {
      const Value &value = stage.values[index];
      return std::tuple(value.isOnHost(), value.placement, value.group,
                        value.offset, index);
    };
    std::sort(list.begin(), list.end(),
              [&](ValueIndex a, ValueIndex b) { return key(a) < key(b); });
  }

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

  /// One of the rank's arenas.
  struct Side {
    int64_t arenaBytes;
    const char *name;
    int64_t total = 0; ///< bytes of inputs and what the program allocated
  };
  Side &sideOf(ValueIndex value) {
    return stage.values[value].isOnHost() ? host : device;
  }

  /// Counts bytes that must be in the arena together; this also keeps sums far
  /// from overflow.
  /// `path` tells what the bytes are for.
  static Status grow(Side &side, int64_t bytes, auto path) {
    side.total += bytes;
    if (side.total > side.arenaBytes)
      return errorAt(path(), "with it " + std::to_string(side.total) +
                                 " bytes are live, the " + side.name + " has " +
                                 std::to_string(side.arenaBytes));
    return {};
  }

  Status runOp(size_t index) {
    const Op &op = program.ops[index];
    for (size_t i = 0; i < op.inputs.size(); ++i)
      if (ValueIndex input = op.inputs[i];
          input != -1 && states[input] != State::live)
        return failOp(index, "inputs", i, whyNotLive(index, input));
    auto path = [&] { return opPath(stageIndex, programIndex, index); };
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      ValueIndex output = op.outputs[i];
      if (output == -1)
        continue;
      if (states[output] != State::absent)
        return failOp(index, "outputs", i,
                      describe(output) + (account.isInput[output]
                                              ? " is an input of the program"
                                              : " is written a second time"));
      const Value &value = stage.values[output];
      if (value.overwrites != -1)
        MOE_RETURN_IF_ERROR(overwrite(index, i, value.overwrites));
      states[output] = State::live;
      noteSlot(output);
      MOE_RETURN_IF_ERROR(grow(sideOf(output), value.bytes, path));
      relative[value.memoryClass] += value.bytes;
    }
    MOE_RETURN_IF_ERROR(grow(device, op.scratchBytes, path));
    ByteCounts live = relative;
    live[op.scratchClass] += op.scratchBytes;
    account.live.push_back(live);
    device.total -= op.scratchBytes;

    for (size_t i = 0; i < op.releases.size(); ++i) {
      ValueIndex released = op.releases[i];
      if (states[released] != State::live)
        return failOp(index, "releases", i, whyNotLive(index, released));
      end(released, State::released);
    }
    account.after.push_back(relative);
    return {};
  }

  void end(ValueIndex index, State how) {
    states[index] = how;
    const Value &value = stage.values[index];
    sideOf(index).total -= value.bytes;
    relative[value.memoryClass] -= value.bytes;
    if (account.isInput[index])
      account.freed.push_back(index);
  }

  /// Ends `overwritten`, whose bytes output number `i` takes over.
  Status overwrite(size_t index, size_t i, ValueIndex overwritten) {
    const Op &op = program.ops[index];
    if (std::find(op.inputs.begin(), op.inputs.end(), overwritten) ==
        op.inputs.end())
      return failOp(index, "outputs", i,
                    describe(op.outputs[i]) + " takes over the bytes of " +
                        describe(overwritten) +
                        ", which is no input of the op");
    if (states[overwritten] != State::live)
      return failOp(index, "outputs", i, whyNotLive(index, overwritten));
    end(overwritten, State::overwritten);
    return {};
  }

  std::string whyNotLive(size_t op, ValueIndex value) const {
    if (states[value] == State::released)
      return describe(value) + " was released before";
    if (states[value] == State::overwritten)
      return describe(value) + " was overwritten before";
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
                           (states[output] == State::released ? " was released"
                            : states[output] == State::overwritten
                                ? " was overwritten"
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
  Side device;
  Side host;
  std::vector<State> states;
  ProgramAccount account;
  ByteCounts relative;
};

} // namespace

Result<ProgramAccount> accountProgram(const Plan &plan, int64_t stage,
                                      int64_t program) {
  return Accountant(plan, stage, program).run();
}

} // namespace moe::plan
