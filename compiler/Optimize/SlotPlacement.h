//===- SlotPlacement.h - where microbatches keep what they need -*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

namespace moe::optimize {

/// Gives every value in a slot its offset behind the slot's base, every stage
/// of the rank its slots, and every step its slot, all from `base` upwards;
/// returns the end of the highest.
///
/// A microbatch whose weight gradients are pending needs other bytes than one
/// that has only gone forward, and of those there are more. So slots are not
/// rows of equal size: each microbatch gets the lowest base at which its bytes
/// are free while it holds them, and slots may overlap, also those of different
/// stages. The lowest of six attempts is taken: microbatches by their begin, or
/// by their end backwards; the values of a slot
/// - in the order: added by backward_input for the weight gradients, kept on
///   for them, kept from forward to backward only; then a microbatch holds one
///   range at any time, and grows into the bytes of the one below it,
/// - the other way around,
/// - or with what is added in the place of what has been used up, which makes
///   the slot as a whole small.
/// None of them makes ops wait for each other. Linear in steps and in pairs of
/// microbatches that are in flight together.
int64_t placeSlots(plan::Plan &plan, plan::Rank &rank, int64_t base);

} // namespace moe::optimize
