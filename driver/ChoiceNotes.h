//===- ChoiceNotes.h - what a plan says about its choices -------*- C++ -*-===//
#pragma once

#include "driver/Choose.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace moe::driver {

/// Of choices of effort exact, for the bytes that a plan was laid out for.
enum class Certainty : uint8_t {
  none,
  others, ///< certain to be best by the account, but not those of the plan
  own,    ///< those of the plan
};

/// Of `whole` bytes, what the account may fill, which leaves some out where
/// arenas are larger: both by rank.
std::vector<int64_t> roomBy(const Chosen &chosen,
                            const std::vector<int64_t> &arenaBytes,
                            int64_t whole);

/// Adds what was chosen for `whole` bytes, reserve left out, to the plan's
/// assumptions, and to its answer, where it fits, a way to find its distance
/// from the bound. `evaluatedNs`: of the order of steps, with what the plan's
/// programs take.
void describe(const std::shared_ptr<const Chooser> &chooser, int64_t whole,
              const Chosen &chosen, int64_t evaluatedNs, Certainty certainty,
              PlanAnswer &answer);

/// By how much the step of a plan that `chooser` chose for is longer than that
/// of any order of steps has to be.
plan::Assumption gapOfAnyOrder(const Chooser &chooser, const plan::Plan &plan);

} // namespace moe::driver
