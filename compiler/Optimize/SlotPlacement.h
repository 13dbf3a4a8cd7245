//===- SlotPlacement.h - where microbatches keep what they need -*- C++ -*-===//
#pragma once

#include "compiler/Optimize/Contexts.h"

#include <functional>

namespace moe::optimize {

/// How far above their base slots reach while ...
struct SlotHeights {
  std::vector<std::vector<int64_t>> inContext; ///< ... a moment of a context
  std::vector<int64_t> atStep;                 ///< ... another step
  int64_t most = 0;
  /// The most bytes in slots that are live at a moment of a context, with those
  /// beside (BytesBeside).
  std::vector<std::vector<int64_t>> liveInContext;
};

/// Says for each moment of the steps how many bytes lie above all slots, which
/// reach, as far as is known then, as high as what lives in them. Asked once it
/// is settled which values are in slots, and not where these have one layout.
/// `begins`: the first moment of each step, and the end of the last one.
using BytesAbove = std::function<std::vector<int64_t>(
    const SlotHeights &live, const std::vector<int64_t> &begins)>;

/// Says for each step how many bytes outside of slots live through it without a
/// part in it. Asked once it is settled which values are in slots.
using BytesBeside = std::function<std::vector<int64_t>()>;

/// Gives every value in a slot its group and its offset behind the group's
/// base, every stage of the rank its slots, and every step its slot, all from
/// `base` upwards.
///
/// A group is what a block of the model keeps for the same time: from forward
/// to backward, from forward to the weight gradients, or from the backward of
/// inputs to these; a large value is one by itself. Each microbatch has its own
/// instance of every group, which lives from the op that writes its first value
/// to the one that releases its last, so that in an overlap a layer's bytes go
/// from one microbatch to the other while the layers around them are still in
/// use. The instances of all stages are packed together (TimeOrder.h) below
/// what `above` says; what programs need for themselves and is large goes where
/// they leave room at the time. None of that makes ops wait for each other,
/// but for copies to the host inside of slots of one layout
/// (SlotStack.h), which all are where a rank has one stage and whole backwards:
/// there other values of the microbatch lie where a copy is expected to have
/// ended. n log n in steps and groups, times the holes between groups.
SlotHeights placeSlots(plan::Plan &plan, plan::Rank &rank,
                       const Contexts &contexts, Reuse reuse, int64_t base,
                       const BytesAbove &above, const BytesBeside &beside);

} // namespace moe::optimize
