//===- ChoiceSearch.h - better choices for a known capacity -----*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include <cstdint>
#include <optional>

namespace moe::optimize {

/// Choices of a rank with one stage that fit `capacityBytes`, and the host, in
/// less time than `knownNs`; none: none were found. A front answers every
/// capacity, of which it is thinned; this goes for one: from layer to layer
/// with the few hundred choices so far of which a bound promises most. The
/// bound is that of a Lagrangian relaxation: the least time of the layers
/// above, with their bytes at a price, for the prices that say most. O(layers
/// n s (layers + s)) for n options and s states.
std::optional<Choices> quickerChoices(const PolicyProblem &problem,
                                      int64_t capacityBytes, int64_t knownNs);

} // namespace moe::optimize
