//===- Inputs.cpp - a request in the compiler's own terms -----------------===//

#include "driver/Inputs.h"

#include "compiler/Cost/Profile.h"
#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/TorchCsv.h"

namespace moe::driver {

namespace {

/// The most tokens of a microbatch: positions in it are 32-bit integers, with
/// room for the experts that a token is sent to.
constexpr int64_t kMostTokens = int64_t(1) << 26;

Status checkLayout(const plan::Layout &layout) {
  if (layout.microbatchSize > kMostTokens / layout.sequenceLength)
    return Error{"a microbatch of " + std::to_string(layout.microbatchSize) +
                 " x " + std::to_string(layout.sequenceLength) +
                 " tokens is too large; at most " +
                 std::to_string(kMostTokens) +
                 " are possible (options --microbatch-size and --seq)"};
  for (auto [name, size] :
       {std::pair("tp", layout.tensor), std::pair("cp", layout.context)})
    if (size != 1)
      return Error{std::string("--layout ") + name + "=" +
                   std::to_string(size) +
                   ": must be 1; this parallelism is "
                   "not supported"};
  return {};
}

Status checkSchedule(const PlanRequest &request) {
  const std::string &name = request.schedule;
  std::string names;
  bool known = name == "auto" || isCsv(name);
  for (const schedule::GeneratorInfo &generator : schedule::generators()) {
    known |= generator.name == name;
    names += std::string(generator.name) + ", ";
  }
  if (!known)
    return Error{"unknown schedule '" + name +
                 "' (option --schedule); known: " + names +
                 "auto, or a file that ends in .csv"};
  if (!request.schedulePath.empty() &&
      !schedule::parseTorchCsvFormat(request.scheduleFormat))
    return Error{"unknown format of a schedule '" + request.scheduleFormat +
                 "'; known: compute_only, compute_comms"};
  if (request.groupSize && name.find("interleaved") == std::string::npos)
    return Error{"--group-size is for interleaved schedules, not for " + name};
  return {};
}

Status checkOffload(const PlanRequest &request) {
  if (request.offload.empty() || request.offload == kAuto)
    return {};
  Result<std::vector<policy::Choice>> choices =
      policy::parseChoices(request.offload, policy::Leads::taken);
  if (!choices)
    return Error{"--offload: " + choices.error().message};
  return {};
}

Status checkOverwrite(const PlanRequest &request) {
  for (auto [option, value] : {std::pair("--recompute", &request.recompute),
                               std::pair("--offload", &request.offload),
                               std::pair("--partition", &request.partition)})
    if (!request.overwrite && *value == kAuto)
      return Error{std::string("--no-overwrite is for comparison; ") + option +
                   " auto counts on bytes that are overwritten"};
  return {};
}

Status checkRecompute(const PlanRequest &request) {
  if (request.recompute == kAuto) {
    if (request.keepHandles)
      return Error{"--recompute-keep-handles needs --recompute with a list; "
                   "auto decides layer by layer whether handles stay"};
    return {};
  }
  if (request.recompute.empty()) {
    if (request.keepHandles)
      return Error{"--recompute-keep-handles is about replayed dispatches; it "
                   "needs --recompute"};
    return {};
  }
  Result<std::vector<policy::Choice>> choices =
      policy::parseChoices(request.recompute);
  if (!choices)
    return Error{"--recompute: " + choices.error().message};
  return {};
}

/// Stages and placement of the schedule in a file, unless the request says.
Status readStructure(Inputs &inputs) {
  const PlanRequest &request = inputs.request;
  schedule::ScheduleProblem base;
  base.ranks = request.layout.pipeline;
  base.microbatches = request.layout.microbatches;
  Result<schedule::Schedule> order =
      schedule::readTorchCsvFile(request.schedule, base);
  if (!order)
    return order.error();
  if (!inputs.stagesPerRank)
    inputs.stagesPerRank = order->problem.stagesPerRank;
  if (inputs.placement.empty())
    inputs.placement = schedule::name(order->problem.placement);
  return {};
}

Status readPartition(Inputs &inputs) {
  const PlanRequest &request = inputs.request;
  if (!request.partition.empty() && request.partition != kAuto &&
      request.partition != "uniform") {
    Result<std::vector<int64_t>> layers = parseLayers(request.partition);
    if (!layers)
      return Error{"--partition: " + layers.error().message};
    inputs.layers = std::move(*layers);
  }
  if (request.pins.empty())
    return {};
  if (request.partition != kAuto)
    return Error{"--pin says where layers have to lie when the planner "
                 "partitions the model; it needs --partition auto"};
  Result<std::vector<Pin>> pins = parsePins(request.pins);
  if (!pins)
    return Error{"--pin: " + pins.error().message};
  inputs.pins = std::move(*pins);
  return {};
}

} // namespace

Result<Inputs> gatherInputs(const PlanRequest &request) {
  MOE_RETURN_IF_ERROR(checkLayout(request.layout));
  MOE_RETURN_IF_ERROR(checkSchedule(request));
  MOE_RETURN_IF_ERROR(checkRecompute(request));
  MOE_RETURN_IF_ERROR(checkOffload(request));
  if (request.isExact && !leavesChoices(request))
    return Error{"--effort exact is about what is left to the planner; it "
                 "needs --recompute auto, --offload auto or --partition auto"};
  MOE_RETURN_IF_ERROR(checkOverwrite(request));
  Result<cost::Machine> machine =
      cost::loadMachine(request.machine, cost::machineDirectories());
  if (!machine)
    return machine.error();
  if (!request.profile.empty()) {
    Result<cost::Profile> profile = cost::readProfile(request.profile);
    if (!profile)
      return profile.error();
    machine = cost::calibrate(*machine, *profile);
    if (!machine)
      return machine.error();
  }
  Result<model::ModelConfig> config = model::readHfConfig(request.modelPath);
  if (!config)
    return config.error();
  if (!request.reductions.empty()) {
    config = model::reduce(*config, request.reductions);
    if (!config)
      return config.error();
  }
  int64_t budget =
      request.budgetBytes ? request.budgetBytes : machine->memoryBytes;
  Inputs inputs{request, std::move(*machine),   std::move(*config), budget, {},
                {},      request.stagesPerRank, request.placement};
  MOE_RETURN_IF_ERROR(readPartition(inputs));
  if (isCsv(request.schedule))
    MOE_RETURN_IF_ERROR(readStructure(inputs));
  return inputs;
}

} // namespace moe::driver
