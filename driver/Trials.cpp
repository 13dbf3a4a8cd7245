//===- Trials.cpp - plans of one schedule ---------------------------------===//

#include "driver/Trials.h"

#include "driver/TrialPlanner.h"

#include <algorithm>
#include <optional>

namespace moe::driver {

Result<PlanAnswer> planTrial(const Inputs &inputs, Compiler &compiler,
                             const Trial &trial, bool writes) {
  if (!leavesChoices(inputs.request)) {
    Result<Draft> draft =
        compiler.draft(trial, decidedBy(inputs), inputs.budgetBytes, writes);
    return draft ? draft->finish() : Result<PlanAnswer>(draft.error());
  }
  const TrialPlanner planner(inputs, compiler, writes,
                             inputs.request.onProgress);
  Result<OrderedTrial> first = orderBy(inputs, compiler, trial);
  if (!first)
    return first.error();
  Result<Prepared> prepared = planner.prepare(std::move(*first));
  if (!prepared)
    return prepared.error();
  Result<std::optional<PlanAnswer>> fitting = planner.fitting(*prepared);
  if (!fitting)
    return fitting.error();
  return *fitting ? std::move(**fitting) : planner.least(prepared->first);
}

Result<int64_t> leastBudgetOf(const Inputs &inputs, Compiler &compiler,
                              const Trial &trial) {
  Result<int64_t> bytes = 0;
  if (leavesChoices(inputs.request)) {
    const TrialPlanner planner(inputs, compiler, /*writes=*/false, {});
    Result<OrderedTrial> first = orderBy(inputs, compiler, trial);
    bytes = first ? planner.leastArenaBytes(*first)
                  : Result<int64_t>(first.error());
  } else {
    Result<Draft> draft = compiler.draft(trial, decidedBy(inputs),
                                         inputs.budgetBytes, /*writes=*/false);
    bytes = draft ? *std::max_element(draft->arenaBytes.begin(),
                                      draft->arenaBytes.end())
                  : Result<int64_t>(draft.error());
  }
  return bytes ? *bytes + inputs.machine.reserveBytes : bytes;
}

} // namespace moe::driver
