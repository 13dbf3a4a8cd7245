//===- PhaseOrder.h - which programs ran for which microbatch ---*- C++ -*-===//
//
// A microbatch runs through a stage at most once: forward, and then its
// gradients, in one piece or in two. Private to runtime/Plan.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <set>

namespace moe::plan {

/// What has run on the stages of one rank.
class PhaseOrder {
public:
  /// Why the program of `phase` cannot run now; nothing when it can.
  std::optional<std::string> whyNot(int64_t stage, Phase phase,
                                    int64_t microbatch) const;

  void run(int64_t stage, Phase phase, int64_t microbatch);

  /// What a stage still lacks at the end: programs that never ran, microbatches
  /// without gradients where there are programs for them; nothing when it is
  /// complete. `index` is that of the stage.
  std::optional<std::string> whyIncomplete(const Stage &stage,
                                           int64_t index) const;

private:
  using Phases = std::array<bool, kPhaseCount>;

  std::map<std::pair<int64_t, int64_t>, Phases> ran; ///< stage, microbatch
  std::set<std::pair<int64_t, Phase>> used;
};

} // namespace moe::plan
