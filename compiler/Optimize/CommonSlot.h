//===- CommonSlot.h - slots of one layout for all microbatches --*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Contexts.h"
#include "compiler/Optimize/SlotGroups.h"
#include "compiler/Optimize/SlotProfile.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace moe::optimize {

/// Small groups are of no use where all slots have one layout.
inline constexpr SlotShares kCommonShares = {16, 256};

/// The slot of every microbatch of a rank whose microbatches come and go as a
/// whole: one stage, of which a forward fills a slot and a whole backward
/// empties it.
class CommonSlot {
public:
  static bool isOf(const plan::Plan &plan, const plan::Rank &rank,
                   const Contexts &contexts);

  /// Lays out the slot of such a rank, whose groups have been formed: gives
  /// groups their places in it (SlotStack.h), and moves what programs need for
  /// themselves into it where that is large and finds room, a group each.
  /// Keeps references to all of these.
  CommonSlot(plan::Stage &stage, const plan::Rank &rank,
             const Contexts &contexts, std::vector<SlotGroup> &groups);

  int64_t bytes() const { return slotBytes; }
  /// Whether the group lives in one program only.
  bool isPassing(size_t group) const { return group >= firstPassing; }

  /// Takes those of groups that come and go with the programs alone out of the
  /// events of both contexts: profile() has them from now on.
  void takeProfiled(std::array<std::vector<GroupEvent> *, 2> events);
  bool isProfiled(size_t group) const {
    return group < profiled.size() && profiled[group];
  }
  const SlotProfile &profile() const { return ofPrograms; }

  /// Adds what the microbatch that runs has in its slot. `bases`: by
  /// microbatch, above that of `heights`.
  void addTo(SlotHeights &heights,
             const std::map<int64_t, int64_t> &bases) const;

private:
  void move(const std::vector<size_t> &candidates,
            const std::vector<int64_t> &offsets);
  void addPassing(SlotHeights &heights) const;

  plan::Stage &stage;
  const plan::Rank &rank;
  const Contexts &contexts;
  std::vector<SlotGroup> &groups;
  int64_t slotBytes = 0;
  size_t firstPassing = 0;
  SlotProfile ofPrograms;
  std::vector<bool> profiled; ///< by group
};

} // namespace moe::optimize
