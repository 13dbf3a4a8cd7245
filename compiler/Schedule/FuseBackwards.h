//===- FuseBackwards.h - backwards that need not be split -------*- C++ -*-===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

namespace moe::schedule {

/// `schedule` with one backward for every backward_input that its weight_grad
/// follows directly, where that delays nothing: the gradient leaves when both
/// are done, and that is early enough for the stage before. Nothing is kept for
/// the weight gradient then. All other actions run as `evaluation`, that of
/// `schedule` under `costs`, says; no rank holds more.
Schedule fuseBackwards(const Schedule &schedule, const Costs &costs,
                       const Evaluation &evaluation);

/// The same order of each rank with every backward in one, where its input
/// gradient was.
void makeBackwardsWhole(std::vector<std::vector<Action>> &order);

} // namespace moe::schedule
