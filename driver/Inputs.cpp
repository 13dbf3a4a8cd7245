//===- Inputs.cpp - a request in the compiler's own terms -----------------===//

#include "driver/Inputs.h"

#include "compiler/Cost/Profile.h"
#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/TorchCsv.h"
#include "support/Words.h"

#include <algorithm>
#include <variant>

namespace moe::driver {

namespace {

/// The most tokens of a microbatch: positions in it are 32-bit integers, with
/// room for the experts that a token is sent to.
constexpr int64_t kMostTokens = int64_t(1) << 26;

/// What divides `experts` next to `ranks`, which does not: "4 and 8 do".
std::string divisorsNear(int64_t experts, int64_t ranks) {
  int64_t below = std::min(ranks, experts), above = ranks;
  while (experts % below != 0)
    --below;
  while (above < experts && experts % above != 0)
    ++above;
  return above > experts
             ? std::to_string(below) + " does"
             : std::to_string(below) + " and " + std::to_string(above) + " do";
}

Status checkExpertRanks(int64_t ranks,
                        const std::vector<model::Layer> &layers) {
  for (const model::Layer &layer : layers)
    if (const auto *experts = std::get_if<model::Experts>(&layer.ffn);
        experts && experts->count % ranks != 0)
      return Error{"--layout ep=" + std::to_string(ranks) +
                   ": has to divide the " + std::to_string(experts->count) +
                   " experts of a layer, as " +
                   divisorsNear(experts->count, ranks)};
  return {};
}

Status checkLayout(const PlanRequest &request,
                   const model::ModelConfig &config) {
  const plan::Layout &layout = request.layout;
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
  MOE_RETURN_IF_ERROR(checkExpertRanks(layout.expert, config.layers));
  return request.mtp ? checkExpertRanks(layout.expert, config.mtpLayers)
                     : Status();
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
  return {};
}

/// Reads a list of --recompute or --offload, which is not left to the planner.
Status checkChoices(const std::string &option, const std::string &list,
                    policy::Leads leads) {
  Result<std::vector<policy::Choice>> choices =
      policy::parseChoices(list, leads);
  if (!choices)
    return Error{option + ": " + choices.error().message};
  for (const policy::Choice &choice : *choices)
    if (choice.name == kAuto)
      return Error{option + ": auto stands alone, since it decides about every "
                            "value; leave out auto, or the rest of the list"};
  return {};
}

Status checkOffload(const PlanRequest &request) {
  if (request.offload.empty() || request.offload == kAuto)
    return {};
  return checkChoices("--offload", request.offload, policy::Leads::taken);
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
  return checkChoices("--recompute", request.recompute, policy::Leads::refused);
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

Result<model::ModelConfig> readModel(const PlanRequest &request) {
  Result<model::ModelConfig> config = model::readHfConfig(request.modelPath);
  if (config && !request.reductions.empty())
    config = model::reduce(*config, request.reductions);
  if (config && request.mtp && config->mtpLayers.empty())
    return Error{"--mtp on: the configuration has no multi-token prediction "
                 "modules (num_nextn_predict_layers)"};
  return config;
}

/// Leaves out what the request does not plan, with a note.
void leaveOutModules(const PlanRequest &request, model::ModelConfig &config) {
  if (request.mtp || config.mtpLayers.empty())
    return;
  config.notes.push_back("the configuration has " +
                         counted(static_cast<int64_t>(config.mtpLayers.size()),
                                 "multi-token prediction module") +
                         ", which the plan leaves out; --mtp on plans " +
                         (config.mtpLayers.size() == 1 ? "it" : "them"));
  config.mtpLayers.clear();
}

} // namespace

Result<Inputs> readInputs(const PlanRequest &request) {
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
  Result<model::ModelConfig> config = readModel(request);
  if (!config)
    return config.error();
  int64_t budget =
      request.budgetBytes ? request.budgetBytes : machine->memoryBytes;
  Inputs inputs{request, std::move(*machine),   std::move(*config), budget, {},
                {},      request.stagesPerRank, request.placement};
  MOE_RETURN_IF_ERROR(readPartition(inputs));
  return inputs;
}

Result<Inputs> gatherInputs(const PlanRequest &request) {
  Result<Inputs> inputs = readInputs(request);
  if (!inputs)
    return inputs.error();
  MOE_RETURN_IF_ERROR(checkLayout(request, inputs->config));
  if (request.groupSize &&
      request.schedule.find("interleaved") == std::string::npos)
    return Error{"--group-size is for interleaved schedules, not for " +
                 request.schedule};
  if (request.pendingWeightGrads != schedule::kAnyPending &&
      request.schedule != kAuto && !schedule::usesCosts(request.schedule)) {
    std::string names;
    for (const schedule::GeneratorInfo &info : schedule::generators())
      if (info.usesCosts)
        names += (names.empty() ? "" : ", ") + std::string(info.name);
    return Error{"--pending-weight-grads is for schedules that go by costs (" +
                 names + "), not for " + request.schedule};
  }
  if (isCsv(request.schedule))
    MOE_RETURN_IF_ERROR(readStructure(*inputs));
  leaveOutModules(request, inputs->config);
  return inputs;
}

} // namespace moe::driver
