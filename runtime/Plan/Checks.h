//===- Checks.h - the parts of check() --------------------------*- C++ -*-===//
//
// Each part may rely on the parts before it: structure, programs, ranks,
// exchange. Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "runtime/Plan/Replay.h"

namespace moe::plan {

/// The error of the object at `path`.
inline Error errorAt(const std::string &path, const std::string &reason) {
  return Error{path + ": " + reason};
}

/// `list[index]`, as in "$.stages[2]".
inline std::string element(const std::string &list, int64_t index) {
  return list + "[" + std::to_string(index) + "]";
}

inline std::string quoted(std::string_view name) {
  return "\"" + std::string(name) + "\"";
}

/// Product of `shape` times the size of `dtype`, rounded up to kAlignment.
/// `shape` must have passed the structural checks.
int64_t alignedBytes(const std::vector<int64_t> &shape, DType dtype);

/// A buffer that lives as long as the plan runs.
struct PersistentBuffer {
  int64_t begin;
  int64_t end;
  MemoryClass memoryClass;
  int64_t stage;
  int64_t parameter;
  std::string_view field; ///< key of the offset, e.g. "weight_offset"

  /// Where its offset stands in the document.
  std::string path() const {
    return "$.stages[" + std::to_string(stage) + "].parameters[" +
           std::to_string(parameter) + "]." + std::string(field);
  }
};

/// The buffers of the parameters of `stage` that have an offset.
void appendPersistentBuffers(const Plan &plan, int64_t stage,
                             std::vector<PersistentBuffer> &buffers);

/// The part of checkStructure() for a rank and its steps; stages were checked.
Status checkRankStructure(const Plan &plan, int64_t rank);

/// The part of checkStructure() that the buffers of a rank's parameters overlap
/// neither each other nor what else has a place in the arena.
Status checkPersistentBuffers(const Plan &plan, int64_t rank);

/// One number at a time: types, ranges, references, names, sizes and
/// alignment, and that persistent buffers, slots and fixed values fit into the
/// arena beside each other.
Status checkStructure(const Plan &plan);

/// The rest of check(), behind checkStructure().
Status checkMeaning(const Plan &plan);

/// The part of checkStructure() that the replay of one rank relies on.
Status checkStructureOfRank(const Plan &plan, int64_t rank);

/// What all ranks do together. Sends and receives: each pair carries the same
/// bytes of the same microbatch, and no rank waits for ever. Losses: that of
/// each microbatch is collected once. Needs checkStructure().
Status checkExchange(const Plan &plan);

/// Places of bytes are numbered through: those of the device arena are its
/// offsets, those of the host arena lie behind all that a device arena can
/// have. So ranges of the two never meet, and each is accounted for alike.
inline constexpr int64_t kHostPlaces = int64_t{1} << 55;

/// Where the bytes of a value begin for a microbatch in this slot.
inline int64_t numberedPlaceOf(const Stage &stage, const Value &value,
                               int64_t slot) {
  return (value.isOnHost() ? kHostPlaces : 0) + placeOf(stage, value, slot);
}

/// What the values of a group need behind its base.
struct GroupBytes {
  int64_t bytes = 0;
  bool isOnHost = false;
};
/// Of all groups of a stage; those that no value names have no bytes.
std::vector<GroupBytes> groupBytes(const Stage &stage);

/// "bytes 256 to 512", of the host where that is where they lie.
inline std::string describeBytes(int64_t begin, int64_t end) {
  int64_t base = begin >= kHostPlaces ? kHostPlaces : 0;
  return std::string(base ? "host bytes " : "bytes ") +
         std::to_string(begin - base) + " to " + std::to_string(end - base);
}

/// The index of the program of a stage that has this phase: there is one.
inline int64_t programIndex(const Stage &stage, Phase phase) {
  int64_t program = 0;
  while (stage.programs[program].phase != phase)
    ++program;
  return program;
}

inline const Program &programOf(const Plan &plan, int64_t stage, Phase phase) {
  return plan.stages[stage].programs[programIndex(plan.stages[stage], phase)];
}

/// replay() without its structural checks.
Result<Replay> replayChecked(const Plan &plan, int64_t rank);

} // namespace moe::plan
