//===- Trials.cpp - plans of one schedule ---------------------------------===//

#include "driver/Trials.h"

#include "driver/TrialPlanner.h"

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
  Result<Prepared> prepared = planner.prepare(trial);
  if (!prepared)
    return prepared.error();
  Result<std::optional<PlanAnswer>> fitting = planner.fitting(*prepared);
  if (!fitting)
    return fitting.error();
  return *fitting ? std::move(**fitting) : planner.least(*prepared);
}

} // namespace moe::driver
