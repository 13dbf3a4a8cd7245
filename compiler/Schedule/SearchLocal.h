//===- SearchLocal.h - small changes to a given order -----------*- C++ -*-===//
//
// Improves a schedule by moving forwards and backwards on one rank at a time,
// weight gradients falling into place behind them.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/SearchRecipe.h"

#include <functional>

namespace moe::schedule::search {

/// The order of a schedule, all backwards of it split.
Sequence splitSequenceOf(const std::vector<std::vector<Action>> &order);

/// Whether actions run one by one and backwards ascend: what a Sequence can
/// say.
bool isSequential(const std::vector<std::vector<Action>> &order);

/// Runs `start` and changes it (improveOrder) as long as `effort` lasts and the
/// makespan is above `boundNs`. After each run that scores less than `score`,
/// it updates that and calls `better`; the run is the kitchen's last.
void improve(Kitchen &kitchen, const Sequence &start, Score &score,
             int64_t effort, int64_t boundNs,
             const std::function<void()> &better);

} // namespace moe::schedule::search
