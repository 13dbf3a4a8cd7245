//===- Execution.h - a program, or two interleaved --------------*- C++ -*-===//
//
// What a `run` or `overlap` step executes. Byte counts are worked out once, and
// places once for all slots whose bytes lie across each other in the same way;
// executing it for a microbatch then costs only its inputs, outputs and groups,
// not its ops. Private to
// runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/LiveRanges.h"
#include "runtime/Plan/ProgramReplay.h"

#include <limits>
#include <map>
#include <set>

namespace moe::plan {

/// A range of places (Checks.h).
struct Extent {
  int64_t begin;
  int64_t end;
};

class Execution {
public:
  /// What a program does in a group of its slot, relative to the group's base.
  struct Group {
    int64_t index;
    bool isOnHost;
    /// What it allocates at any time: as few ranges as possible, rising.
    std::vector<Extent> allocated;
    Extent used; ///< all that it touches

    /// Where it begins for a microbatch in this slot.
    int64_t base(const Stage &stage, int64_t slot) const {
      return (isOnHost ? kHostPlaces : 0) + stage.slots[slot][index];
    }
  };
  struct Member {
    int64_t stage;
    int64_t program;
    ProgramAccount account;
    std::vector<Group> groups; ///< those that it touches, rising
  };
  /// Slots of the members, -1: none; the second is for overlaps.
  using Slots = std::array<int64_t, 2>;

  /// One program by itself. Needs checkStructure().
  static Result<Execution> ofProgram(const Plan &plan, int64_t stage,
                                     int64_t program);
  /// An overlap of a rank. Needs checkStructure().
  static Result<Execution> ofOverlap(const Plan &plan, int64_t rank,
                                     int64_t overlap);

  const std::vector<Member> &members() const { return memberList; }
  /// Bytes live while each op runs, in issue order, relative to the start.
  const std::vector<ByteCounts> &live() const { return liveList; }
  /// The first op, in issue order, with the largest total of live(); -1: there
  /// are no ops.
  int64_t peakPosition() const { return peak; }
  /// The op at a place of the issue order.
  const Op &op(int64_t position) const;
  /// Most bytes of the host that live during an op, relative to the start.
  int64_t hostPeakBytes() const { return hostPeak; }
  /// Checks, for microbatches in these slots, that no two buffers share bytes
  /// while both are live, in issue order; that on streams every value is read
  /// after it was written, bytes are written and freed after all else that uses
  /// them is done, and ops that add to one gradient run one after the other.
  Status place(const Slots &slots);
  /// For slots that passed place(): places that it allocates at any time, as
  /// few ranges as possible, rising.
  const std::vector<Extent> &allocated(const Slots &slots) const {
    return placedSlots.at(slots);
  }

private:
  /// Which of the regions that the members use lie across each other or across
  /// fixed bytes, and how: slots with one pattern are alike.
  using Pattern = std::vector<int64_t>;
  struct Position {
    size_t member;
    size_t op;
  };
  class Placer;

  Execution(const Plan &plan, std::string path)
      : plan(&plan), path(std::move(path)) {}
  Status addMember(int64_t stage, int64_t program);
  void finish();
  const Program &programOf(const Member &member) const {
    return plan->stages[member.stage].programs[member.program];
  }
  Pattern patternOf(const Slots &slots) const;
  std::vector<Extent> allocatedIn(const Slots &slots) const;

  const Plan *plan;
  std::string path; ///< of the overlap; empty for a program by itself
  std::vector<Member> memberList;
  std::vector<Position> positions;
  std::vector<std::vector<int64_t>> waits; ///< of each position, on positions
  std::vector<ByteCounts> liveList;
  int64_t peak = -1;
  int64_t hostPeak = std::numeric_limits<int64_t>::min();
  std::vector<Extent> fixedAllocated;
  std::vector<Extent> fixedUsed; ///< inputs as well
  /// What was checked, and what these allocate.
  std::map<Slots, std::vector<Extent>> placedSlots;
  std::set<Pattern> placed; ///< what was checked, once for slots that are alike
};

} // namespace moe::plan
