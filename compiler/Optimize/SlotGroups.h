//===- SlotGroups.h - what lies together in a slot --------------*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <cstdint>
#include <set>
#include <vector>

namespace moe::optimize {

/// From which size on values are worth a place of their own.
struct SlotShares {
  /// Kept ones, of what their block has in slots: they go where others of their
  /// size were, and small ones fill small gaps.
  int64_t own;
  /// Those that pass, of what the stage has in slots.
  int64_t passing;
};
/// Values of a stage that have one place in every slot.
struct SlotGroup {
  int64_t bytes = 0;
  bool isOnHost = false;
  bool isPassing = false; ///< lives in one program
  /// Behind the base of the microbatch's slot; -1: it lies where it likes.
  int64_t inSlot = -1;
};

/// Whether the value needs a place in a slot.
inline bool isInSlot(const plan::Value &value) {
  return value.placement == plan::Placement::slot && value.overwrites == -1;
}

/// Whose bytes are inputs and outputs of the programs of a stage.
std::set<plan::ValueIndex> passedOn(const plan::Stage &stage);

/// Gives what microbatches keep in slots its groups and its offsets in them.
/// What lives in one program only is in no slot, whatever an earlier placement
/// has made of it.
std::vector<SlotGroup> formGroups(plan::Stage &stage, SlotShares shares);

/// Moves what programs need for themselves and is large into slots, a group
/// each, so that it can lie in what microbatches leave free meanwhile. Not what
/// is copied to the host: in a slot its bytes are free only when that is known
/// to be done, elsewhere when it is expected to be (ContextLifetimes).
void addPassing(plan::Stage &stage, std::vector<SlotGroup> &groups,
                SlotShares shares);

} // namespace moe::optimize
