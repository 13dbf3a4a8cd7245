//===- Outcome.h - what a run leaves behind ---------------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <map>
#include <string>
#include <vector>

namespace moe::test {

struct Outcome {
  std::vector<double> losses;
  std::map<std::string, std::string> gradients; ///< file -> bytes
  bool operator==(const Outcome &) const = default;
};

/// Trains for two steps with freed bytes poisoned; the gradients are those of
/// the second. exec::run compares live bytes with the plan at every op.
Result<Outcome> runTwice(const plan::Plan &plan, int64_t threads);

} // namespace moe::test
