//===- Driver.cpp - from a configuration file to a plan -------------------===//

#include "driver/Driver.h"

#include "driver/Compile.h"
#include "driver/Levers.h"
#include "driver/ScheduleChoice.h"
#include "driver/Trials.h"

#include <utility>

namespace moe::driver {

Status checkRequest(const PlanRequest &request) {
  Result<Inputs> inputs = readInputs(request);
  return inputs ? Status() : inputs.error();
}

Result<PlanAnswer> makePlan(const PlanRequest &request) {
  Result<Inputs> inputs = gatherInputs(request);
  if (!inputs)
    return inputs.error();
  Result<Compiler> compiler = Compiler::make(*inputs);
  if (!compiler)
    return compiler.error();
  auto make = [&](const Trial &trial, bool writes) {
    return planTrial(*inputs, *compiler, trial, writes);
  };
  bool writes = !request.irPath.empty() || !request.schedulePath.empty();
  Result<PlanAnswer> answer =
      request.schedule != kAuto ? make({request.schedule}, true)
      : leavesChoices(request)
          ? chooseSchedule(*inputs, *compiler, writes)
          : searchPlans({inputs->budgetBytes, request.layout.pipeline, writes,
                         request.onProgress},
                        make);
  if (!answer)
    return answer.error();
  if (answer->plan.prediction.fits && answer->findGap)
    answer->plan.assumptions.push_back(std::exchange(answer->findGap, {})());
  if (!answer->plan.prediction.fits)
    describeLeastBudget(request, answer->plan);
  const std::vector<std::string> &notes = inputs->config.notes;
  answer->notes.insert(answer->notes.begin(), notes.begin(), notes.end());
  return answer;
}

} // namespace moe::driver
