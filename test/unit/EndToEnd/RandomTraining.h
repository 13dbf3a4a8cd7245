//===- RandomTraining.h - one model, trained in two ways --------*- C++ -*-===//
#pragma once

#include "driver/Driver.h"

#include <optional>

namespace moe::test {

/// A small model, layout and schedule, drawn at random, and two plans for it.
struct RandomTraining {
  /// Keeps on the device whatever backward needs, each value in bytes of its
  /// own.
  plan::Plan kept;
  /// Recomputes, offloads, keeps handles, splits layers: what was drawn, by
  /// name or left to the planner.
  plan::Plan treated;
  std::string text; ///< what was drawn, as options of moe-plan
};

/// The same for a seed. Nothing where what was drawn does not go together, such
/// as a schedule and an odd number of ranks; an error where a plan fails for
/// any other reason.
Result<std::optional<RandomTraining>> drawTraining(uint32_t seed);

} // namespace moe::test
