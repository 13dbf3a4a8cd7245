//===- ChoiceSearch.h - better choices for a known capacity -----*- C++ -*-===//
//
// Private to compiler/Optimize.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Optimize/Policies.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace moe::optimize {

/// What a search comes to.
struct QuickerChoices {
  std::optional<Choices> choices; ///< none: none were found
  /// Whether no choices that fit take less than these, but for the tolerance;
  /// or, where there are none, than what was known.
  bool isCertain = false;
  /// No choices that fit take less.
  int64_t leastNs = 0;
};

/// Choices of a rank that fit `capacityBytes`, and the host, in less time than
/// `knownNs`. A front answers every capacity, of which it is thinned; this goes
/// for one: from layer to layer with the choices so far of which bounds
/// (ChoiceBounds.h) promise most, a few hundred (fast), or all that could be
/// quicker than what these lead to, up to some ten thousands (exact). What
/// would be quicker by `toleranceNs` or less is not looked for. O(layers * s *
/// (n * (moments + bounds) + s)) for n options and s states.
QuickerChoices quickerChoices(const PolicyProblem &problem,
                              int64_t capacityBytes, int64_t knownNs,
                              Effort effort, int64_t toleranceNs = 0);

/// Such a search with no more than `states` (2 or more) choices so far: for its
/// leastNs, to which what it leaves out counts with its bounds.
QuickerChoices narrowSearch(const PolicyProblem &problem, int64_t capacityBytes,
                            int64_t knownNs, size_t states);

} // namespace moe::optimize
