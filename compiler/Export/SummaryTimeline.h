//===- SummaryTimeline.h - a simulated step in words and numbers *- C++ -*-===//
#pragma once

#include "compiler/Simulate/Simulate.h"

#include <string>

namespace moe::report {

// `timeline` is the simulation of `plan`, with or without detail.

/// What moe-plan simulate prints: step time, bubble and utilization; what every
/// rank's lanes did, when it peaked and where; and what the step time consists
/// of along the critical path. At most 110 columns, unless a name is longer;
/// ends with a newline.
std::string summarizeTimeline(const plan::Plan &plan,
                              const simulate::Timeline &timeline);

/// The same for machines, and the critical path itself: JSON, described in
/// docs/simulation.md. Equal timelines give equal texts.
std::string printTimeline(const plan::Plan &plan,
                          const simulate::Timeline &timeline);

} // namespace moe::report
